"""Configuration of a fit: one validated object, from a file and dotted overrides."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from feature_repo.errors import BadInput

ModelName = Literal[
    "recurrent",
    "marginal",
    "recent_popularity",
    "repeat_last",
    "markov_1",
    "markov_2",
    "user_row",
    "column",
    "logistic",
    "boosting",
    "item_popularity",
    "user_frequency",
    "item_transition",
    "v_sknn",
    "item_mixture",
]


DeviceName = Literal["auto", "cpu", "cuda"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderConfig(_Frozen):
    """The recurrent network over the events."""

    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    layers: int = Field(default=2, ge=1, le=8)
    hidden: int = Field(default=50, ge=1, le=2048)
    action_size: int = Field(default=8, ge=1, le=256)
    category_size: int = Field(default=16, ge=1, le=256)
    categories: int = Field(
        default=500, ge=0, description="most frequent ones kept; 0 ignores categories"
    )
    # On the logs tried, the three below told the network no more than the rest did, and let it
    # learn the training part by heart (docs/decisions.md): a log decides whether to bring them in.
    item_size: int = Field(default=8, ge=1, le=256)
    items: int = Field(default=0, ge=0, description="most frequent ones kept; 0 ignores items")
    location_size: int = Field(default=8, ge=1, le=256)
    locations: int = Field(
        default=0, ge=0, description="most frequent ones kept; 0 ignores locations"
    )
    calendar: list[Literal["hour", "weekday"]] = Field(
        default=["hour"], description="what of an event's instant (UTC) is read"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1)
    unknown: float = Field(
        default=0.4,
        ge=0,
        lt=1,
        description="share of items, categories and locations hidden in training",
    )
    window: int = Field(default=50, ge=1, le=50, description="events that a prediction sees")
    coarse: list[Literal["day", "week"]] = Field(
        default=[], description="roll-ups of closed periods that have a network of their own"
    )
    coarse_hidden: int = Field(default=16, ge=1, le=256, description="width of each of them")

    @field_validator("calendar", "coarse")
    @classmethod
    def _once_each(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a period can be named once")
        return value


class FeatureConfig(_Frozen):
    """Which features enter: patterns over a view, ``view:feature``, a family or ``@scale``."""

    include: list[str] = ["*"]
    # The hour and weekday of the instant enter anyway. On the logs tried, a user's histograms of
    # them cost the network more than they told it, and his pattern told it nothing;
    # `features.exclude=[]` brings both in.
    exclude: list[str] = ["user_rhythm", "user_pattern"]
    user_row: bool = Field(
        default=True, description="the user's own transitions, backed off to the population's"
    )
    vocabulary: int = Field(
        default=32, ge=1, description="most frequent values kept of a text feature"
    )
    clip: float = Field(
        default=4.0, gt=0, description="largest distance from the mean, in deviations"
    )


class ColumnConfig(_Frozen):
    """One feature alone as a model."""

    name: str | None = Field(default=None, description="the best one on held-out rows without it")
    bins: int = Field(default=20, ge=2, le=1000)


class LogisticConfig(_Frozen):
    """Logistic regression on the context."""

    strengths: list[float] = Field(
        default=[0.003, 0.03, 0.3], min_length=1, description="inverse penalties to choose from"
    )
    iterations: int = Field(default=200, ge=1)


class BoostingConfig(_Frozen):
    """Gradient boosting on the context."""

    iterations: int = Field(default=300, ge=1, description="at most; held-out rows stop it")
    learning_rate: float = Field(default=0.06, gt=0)
    leaves: int = Field(default=15, ge=2)
    leaf_rows: int = Field(default=40, ge=1, description="fewest training rows in a leaf")
    columns: float = Field(
        default=0.5, gt=0, le=1, description="share of the columns that a split chooses from"
    )
    penalty: float = Field(default=1.0, ge=0)


class HeadConfig(_Frozen):
    """What turns the encoder's output and the features into logits."""

    context: int = Field(default=32, ge=1, description="width that the features are brought to")
    additive: int = Field(
        default=8, ge=1, description="width of each scale's own layer in additive fusion"
    )
    hidden: int = Field(
        default=0, ge=0, description="width of a layer before the logits; 0 has none"
    )
    dropout: float = Field(default=0.2, ge=0, lt=1)


class FusionConfig(_Frozen):
    """How the scales join the encoded sequence."""

    kind: Literal["concat", "weighted", "gated", "additive"] = "weighted"
    scale_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="chance that a row trains without a scale"
    )
    row_skip: float = Field(
        default=1.0,
        ge=0,
        description="factor on the user's own row that training starts from; 0 adds it not at all",
    )


class TaskConfig(_Frozen):
    """Weight of each task's loss; a task of weight 0 has no head."""

    next_action: float = Field(default=1.0, ge=0)
    conversion: float = Field(
        default=0.0, ge=0, description="shared by the declared horizons; 0 leaves the head out"
    )
    next_time: float = Field(
        default=0.0, ge=0, description="quantiles of the time to the next event"
    )
    next_item: float = Field(
        default=1.0,
        ge=0,
        description="which item comes next, where the dataset maps item_id; 0 leaves it out",
    )
    next_category: float = Field(default=1.0, ge=0, description="the same of category_id")
    together: bool = Field(
        default=False,
        description="conversion moves the encoder too; else its head is trained on the encoder "
        "that the next action made",
    )


class SplitConfig(_Frozen):
    """Who is held out of training, beside what comes later."""

    by: Literal["time", "users", "location"] = Field(
        default="time",
        description="users: some are held out whole; location: so are the users of some locations",
    )
    share: float = Field(
        default=0.2, gt=0, lt=1, description="share of the users, or of the locations, held out"
    )


class RankingConfig(_Frozen):
    """The next item and the next category."""

    neural: bool = Field(
        default=False,
        description="mix in a softmax over tied embeddings, by what held-out rows say it is worth",
    )
    content: bool = Field(
        default=True,
        description="where the dataset says what items are like, mix in embeddings that read it",
    )
    width: int = Field(default=48, ge=1, le=1024, description="of an embedding")
    epochs: int = Field(default=10, ge=1, description="of the embeddings, at most")


class StoppingConfig(_Frozen):
    """How training decides that it is done, by rows of the training part alone."""

    by: Literal["time", "user"] = "time"
    share: float = Field(default=0.15, ge=0, lt=0.9)
    patience: int = Field(default=5, ge=1)
    refit: bool = Field(
        default=True,
        description="when the epochs are known, learn anew from all rows, also those that chose",
    )


class FederatedConfig(_Frozen):
    """Clients that learn from users of their own, and whose weights are averaged."""

    by: Literal["none", "location", "users"] = Field(
        default="none", description="a client a location, or a share of the users; none is central"
    )
    rounds: int = Field(default=20, ge=1, description="at most; held-out rows choose the best")
    epochs: int = Field(default=1, ge=1, description="of each client in a round")
    clients: int = Field(default=8, ge=1, le=10_000, description="where users are parted by a hash")
    fewest: int = Field(
        default=20, ge=1, description="users of a client; smaller ones are one together"
    )
    user_clip: float = Field(
        default=0.0, ge=0, description="largest norm of one user's part of a step; 0 clips nothing"
    )


class MonitorConfig(_Frozen):
    """What a fit keeps for ``trainer monitor``, and what raises its alarm."""

    period: str = Field(
        default="7d",
        pattern=r"^[1-9]\d*[hdw]$",
        description="compared at a time; of the fit",
    )
    bins: int = Field(default=10, ge=2, le=100, description="quantiles of a number; of the fit")
    reference: str = Field(
        default="all",
        pattern=r"^(all|[1-9]\d*[hdw])$",
        description="compare with the whole training part, or with its last 90d",
    )
    psi: float = Field(default=0.2, gt=0, description="population stability index of a column")
    js: float = Field(default=0.05, gt=0, le=1, description="its divergence, in bits")
    log_loss: float = Field(default=0.1, gt=0, description="nats above the validation part's")
    calibration: float = Field(
        default=0.05, gt=0, description="probability of an outcome less its share, beside before"
    )
    unknown: float = Field(
        default=0.02, ge=0, le=1, description="share of events outside the taxonomy, beside before"
    )
    cold: float = Field(
        default=0.2, ge=0, le=1, description="share of users new to it, beside what is usual"
    )
    users: int = Field(default=30, ge=2, description="fewest users of a period that is judged")
    chance: float = Field(
        default=0.001, gt=0, lt=1, description="of a false alarm in a period, all columns together"
    )


class PrivacyConfig(_Frozen):
    """Differentially private training, see :mod:`trainer.private`; off without an epsilon."""

    epsilon: float | None = Field(
        default=None, gt=0, description="what the run may cost each user; without it, not private"
    )
    delta: float = Field(
        default=1e-5, gt=0, lt=1, description="chance that it costs more; below 1 / users"
    )
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="length that each user's gradient is cut to"
    )
    accountant: Literal["prv", "rdp"] = "prv"
    users: int = Field(default=256, ge=1, description="users in a step, on average")
    records: int = Field(default=1, ge=1, description="of a user; more than one is refused")
    counts: float = Field(
        default=0.2, gt=0, lt=1, description="share of the budget for the population's transitions"
    )
    transitions: float = Field(
        default=10.0, gt=0, description="length that each user's counts of transitions are cut to"
    )
    strength: float = Field(
        default=10.0, gt=0, description="own transitions that the population's row counts as"
    )
    categories: list[str] = Field(
        default=[], description="a declared vocabulary of categories: a counted one would leak"
    )


class FitConfig(_Frozen):
    """Everything that decides the weights, beside the data."""

    model: ModelName = Field(
        default="recurrent", description="the sequence model, or one of its baselines"
    )
    encoder: EncoderConfig = EncoderConfig()
    features: FeatureConfig = FeatureConfig()
    head: HeadConfig = HeadConfig()
    fusion: FusionConfig = FusionConfig()
    tasks: TaskConfig = TaskConfig()
    ranking: RankingConfig = RankingConfig()
    column: ColumnConfig = ColumnConfig()
    logistic: LogisticConfig = LogisticConfig()
    boosting: BoostingConfig = BoostingConfig()
    split: SplitConfig = SplitConfig()
    stopping: StoppingConfig = StoppingConfig()
    monitor: MonitorConfig = MonitorConfig()
    federated: FederatedConfig = FederatedConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    epochs: int = Field(default=40, ge=1)
    batch: int = Field(default=16, ge=1, description="chunks in a batch")
    chunk: int = Field(default=100, ge=1, description="positions of a chunk that may be scored")
    burn_in: int = Field(
        default=50, ge=0, description="positions before them that only warm the state"
    )
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    landmark_weight: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="weight of an instant between events beside one at an event; 0 leaves them out",
    )
    seed: int = 0
    device: DeviceName = Field(
        default="auto", description="where the network is trained; auto is CUDA where there is one"
    )
    threads: int = Field(
        default=1, ge=1, description="the weights depend on it; small networks gain little by more"
    )

    @property
    def without_rankings(self) -> FitConfig:
        """The same fit without the next item and category, which move nothing of the rest."""
        tasks = self.tasks.model_copy(update={"next_item": 0.0, "next_category": 0.0})
        return self.model_copy(update={"tasks": tasks})


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> FitConfig:
    """The configuration in ``path`` with ``key=value`` overrides applied, validated as a whole.

    Parameters
    ----------
    path
        A YAML file of the keys that differ from the defaults, or ``None``.
    overrides
        ``encoder.cell=gru``, ``epochs=5``: dotted keys, values as YAML.

    Raises
    ------
    BadInput
        For a missing file, an unknown key (the nearest known one is named) or a bad value.
    """
    content: dict[str, Any] = {}
    if path is not None:
        content = _read(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise BadInput(
                f"{override!r} is not an override; write key=value, as in encoder.cell=gru"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise BadInput(f"{key}: {text!r} cannot be read as a value") from None
        _set(content, key.strip(), value)
    return _validate(content, str(path) if path is not None else "fit")


def save_config(config: FitConfig, path: Path) -> None:
    """Write every key, defaults too, so that a later version's defaults change no old run."""
    path.write_text(yaml.safe_dump(config.model_dump(), sort_keys=False), encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise BadInput(f"{path}: cannot read the configuration: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise BadInput(f"{path}{line}: this is not YAML") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: a configuration is a list of keys, as in 'epochs: 5'")
    return content


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise BadInput(f"{key}: {parent!r} holds a value and no keys")
        place = inner
    place[last] = value


def _validate(content: dict[str, Any], source: str) -> FitConfig:
    try:
        return FitConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = list(_known_keys(FitConfig))
            leaf = {name.rpartition(".")[2]: name for name in known}
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            by_leaf = difflib.get_close_matches(key.rpartition(".")[2], leaf, n=1, cutoff=0.8)
            nearest = leaf[by_leaf[0]] if by_leaf else near[0]
            raise BadInput(
                f"{source}: unknown key {key!r}; the nearest known key is {nearest!r}"
            ) from None
        raise BadInput(f"{source}: {key}={first['input']!r}: {first['msg'].lower()}") from None


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _known_keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
