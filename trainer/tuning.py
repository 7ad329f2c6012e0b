"""``tune``: fits of one training set that differ in their configuration, and the best of them.

Notes
-----
A trial is ranked by the log-loss of the next action on the validation part, at event instants. It
is given up while it trains where its held-out loss, epoch by epoch, is behind the median of the
trials before it: the validation part is looked at once a trial, at its end.

The parameters of a trial depend on the seed, on its number among the finished ones, and on what
those found, and on nothing else. So a search that was stopped goes on to the same end.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from feature_repo.manifest import fingerprint
from trainer import metrics
from trainer.config import FitConfig
from trainer.examples import Examples
from trainer.fitting import TrainingSet, read_training_set
from trainer.models.base import Report, silent, write_json
from trainer.models.recurrent import Recurrent
from trainer.progress import Track, untracked
from trainer.search_space import SPACE, distributions, is_inside, value_of
from trainer.training import Epoch, reproducible

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

FOLDER, STUDY, REPORT = "tuning", "study.db", "tune.json"
_STARTUP = 5  # trials at random, and trials that are not given up
_WARM_UP = 3  # epochs after which one may be

MakeConfig = Callable[[Sequence[str]], FitConfig]


@dataclass(frozen=True)
class Winner:
    """The best trial.

    Attributes
    ----------
    number
        Which, from 0; 0 is the configuration that was searched around.
    value
        Its log-loss on the validation part.
    overrides
        What to fit with, as ``key=value``.
    """

    number: int
    value: float
    overrides: tuple[str, ...]

    def command(self, *more: str) -> str:
        """The line that fits it; ``more`` are options and overrides that every trial had."""
        return shlex.join(["trainer", "fit", *more, *self.overrides])


def tune(
    home: Path,
    make_config: MakeConfig,
    fixed: Sequence[str],
    trials: int,
    report: Report,
    track: Track = untracked,
) -> Winner:
    """Search until so many trials are finished, and write ``reports/tune.json``.

    Parameters
    ----------
    home
        Home of a build whose features were applied.
    make_config
        The configuration with some overrides more than those that every trial has.
    fixed
        Overrides of every trial, as ``key=value``: their keys are not searched.
    trials
        Finished trials, those of earlier calls included.
    report
        Takes a line a trial.
    track
        Shows how far an epoch is.

    Raises
    ------
    BadInput
        Where there is nothing to rank by, nothing to search, or another process at it.
    """
    base = make_config(())
    if base.model != "recurrent" or not base.tasks.next_action:
        raise BadInput("trainer tune is for model=recurrent with tasks.next_action above 0")
    named = {override.partition("=")[0].strip() for override in fixed}
    keys = tuple(key for key in SPACE if key not in named)
    if not keys:
        raise BadInput("the overrides leave nothing to search: each key of the space is fixed")
    # The next item has a fit of its own that no key of the space reaches.
    data = read_training_set(home, base.without_rankings, ("recurrent",), report)
    valid = data.dataset.valid
    valid = valid.take((valid.labels >= 0) & ~valid.landmarks)
    if not len(valid):
        raise BadInput("the validation part has no labelled event, and trials are ranked by it")
    with _alone(home / FOLDER):
        study = _open_study(home, base, keys, data)
        search = _Search(study, base.seed, keys, make_config, data, valid, track)
        while len(finished := _finished(study)) < trials:
            report(search.run(len(finished)))
        winner = search.winner()
        content = {
            "study": study.study_name,
            "fixed": list(fixed),
            "searched": list(keys),
            "trials": [search.record(trial) for trial in _finished(study)],
            "best": {
                "trial": winner.number,
                "log_loss": winner.value,
                "overrides": list(winner.overrides),
            },
        }
        with replacing(home / "reports" / REPORT) as fresh:
            write_json(fresh, content)
    return winner


class _Search:
    def __init__(
        self,
        study: Study,
        seed: int,
        keys: tuple[str, ...],
        make_config: MakeConfig,
        data: TrainingSet,
        valid: Examples,
        track: Track,
    ) -> None:
        self.study = study
        self.seed = seed
        self.space = distributions(keys)
        self.make_config = make_config
        self.data = data
        self.valid = valid
        self.track = track

    def run(self, number: int) -> str:
        """Finish one trial; ``number`` counts the finished ones before it."""
        import optuna

        # A sampler for each trial: one that goes on drawing would draw anew after a stop.
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_STARTUP, seed=(self.seed + 1) * 100_003 + number
        )
        trial = self.study.ask(self.space)
        overrides = _overrides(trial.params)
        config = self.make_config(overrides)
        model = Recurrent(config, self.data.features)

        def watch(epoch: Epoch) -> None:
            if epoch.stop_loss is not None:
                trial.report(epoch.stop_loss, epoch.number)
                if trial.should_prune():
                    raise optuna.TrialPruned

        training = replace(self.data.training, report=silent, track=self.track, watch=watch)
        try:
            with reproducible(config.seed, config.threads):
                model.fit(training)
                chances = model.predict_proba(self.valid)
        except optuna.TrialPruned:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return f"trial {number}: given up  {' '.join(overrides)}"
        loss = metrics.log_loss(chances, self.valid.labels)
        trial.set_user_attr("epochs", len(model.curve))
        self.study.tell(trial, loss)
        return f"trial {number}: log-loss {loss:.4f}  {' '.join(overrides)}"

    def winner(self) -> Winner:
        """The best of the trials that were trained to their end."""
        best = self.study.best_trial
        number = [trial.number for trial in _finished(self.study)].index(best.number)
        assert best.value is not None
        return Winner(number, best.value, tuple(_overrides(best.params)))

    def record(self, trial: FrozenTrial) -> dict[str, Any]:
        """A trial as ``tune.json`` has it."""
        return {
            "log_loss": trial.value if trial.user_attrs else None,
            "epochs": trial.user_attrs.get("epochs", len(trial.intermediate_values)),
            "held_out": [trial.intermediate_values[k] for k in sorted(trial.intermediate_values)],
            "overrides": _overrides(trial.params),
        }


def _open_study(home: Path, base: FitConfig, keys: tuple[str, ...], data: TrainingSet) -> Study:
    """The study of this configuration on this data, begun with the configuration itself."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    identity = {
        "config": base.model_dump(),
        "space": {key: repr(SPACE[key]) for key in keys},
        "data": data.dataset.examples.sequences.digest(),
        "manifest": fingerprint(home),
    }
    content = json.dumps(identity, sort_keys=True, default=str)
    study = optuna.create_study(
        storage=f"sqlite:///{home / FOLDER / STUDY}",
        study_name=hashlib.sha256(content.encode()).hexdigest()[:16],
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(_STARTUP, n_warmup_steps=_WARM_UP),
    )
    # What a killed process was at is no result.
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    if not _finished(study):
        default = {key: value_of(base, key) for key in keys}
        inside = {key: value for key, value in default.items() if is_inside(key, value)}
        study.enqueue_trial(inside, skip_if_exists=True)
    return study


def _finished(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _overrides(params: dict[str, Any]) -> list[str]:
    """In the order of the space; numbers are written so that they read back as they are."""
    return [f"{key}={_text(params[key])}" for key in SPACE if key in params]


def _text(value: Any) -> str:
    # YAML takes 1e-05 for a text: it wants a point.
    return np.format_float_positional(value, trim="0") if isinstance(value, float) else str(value)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a second search of one home: it would take the first one's trial for a killed one."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{folder}: another trainer tune is running on this home") from None
        yield
