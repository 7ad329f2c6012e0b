"""What a private fit may not do, and why.

The guarantee is of everything that a run takes out of its training users, not of the gradients
alone: a mean, a vocabulary or an epoch that was chosen by their data without noise breaks it. So
each of these is switched off where the configuration leaves it at its default, and refused where
somebody asked for it.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from feature_repo.errors import BadInput
from trainer.config import FitConfig
from trainer.dataset import Taxonomy

PRIVATE_MODELS = ("recurrent", "marginal", "markov_1")
_COUNTED = "a vocabulary is counted from everybody's events without noise"
# Key, the value that it has in private training, and what would break the guarantee.
_FITTED: tuple[tuple[str, Any, str], ...] = (
    (
        "stopping.share",
        0.0,
        "held-out users would choose the epoch by their losses, without noise",
    ),
    ("tasks.conversion", 0.0, "its base rates and calibration are fitted without noise"),
    ("tasks.next_time", 0.0, "its starting quantiles are fitted without noise"),
    ("tasks.next_item", 0.0, "it counts everybody's items without noise"),
    ("tasks.next_category", 0.0, "it counts everybody's categories without noise"),
    ("encoder.coarse", [], "the record that the noise is made for is one sequence of events"),
    ("federated.by", "none", "clients would fit without noise"),
    ("encoder.items", 0, _COUNTED),
    ("encoder.locations", 0, _COUNTED),
)
# Better where each step costs privacy: a step over many users, and fewer of them.
_SUITED: tuple[tuple[str, Any], ...] = (("epochs", 30), ("learning_rate", 0.01))


def private_config(config: FitConfig, taxonomy: Taxonomy) -> FitConfig:
    """The configuration of a private fit: what breaks the guarantee is off, or refused.

    Parameters
    ----------
    config
        As it was asked for; ``privacy.epsilon`` is set.
    taxonomy
        What the dataset file says.

    Raises
    ------
    BadInput
        When the configuration asks for what would break the guarantee, or the dataset file leaves
        to the events what must not depend on them.
    """
    privacy = config.privacy
    if config.model not in PRIVATE_MODELS:
        raise _broken(
            f"model={config.model}",
            "its statistics are fitted without noise",
            f"private models are {', '.join(PRIVATE_MODELS)}",
        )
    if privacy.records != 1:
        raise _broken(
            f"privacy.records={privacy.records}",
            "a user with several records has several times the say that the noise is made for",
            "leave it at 1: a record is the user's last `chunk` events",
        )
    if taxonomy.train_end is None:
        raise _broken(
            "split.train_end is not in the dataset file",
            "the cut would be a quantile of everybody's events",
            "write split: {train_end: ..., valid_end: ...}",
        )
    content = config.model_dump()
    categories = ("encoder.categories", len(privacy.categories))
    for key, value, why in (*_FITTED, (*categories, _COUNTED)):
        if _asked(config, key) and _get(content, key) != value:
            hint = "declare them in privacy.categories" if key == categories[0] else "leave it out"
            raise _broken(f"{key}={_get(content, key)}", why, hint)
        _set(content, key, value)
    for key, value in _SUITED:
        if not _asked(config, key):
            _set(content, key, value)
    return FitConfig.model_validate(content)


def require_public(config: FitConfig) -> None:
    """Refuse a private configuration where it would be fitted several times.

    Raises
    ------
    BadInput
        When ``privacy.epsilon`` is set.
    """
    if config.privacy.epsilon is not None:
        raise _broken(
            f"privacy.epsilon={config.privacy.epsilon:g}",
            "this command fits several models, and each fit would spend that much anew",
            "use trainer fit",
        )


def _broken(what: str, why: str, hint: str) -> BadInput:
    return BadInput(f"{what}: not in private training, because {why}; {hint}")


def _asked(config: BaseModel, key: str) -> bool:
    """Whether a key was written by somebody, and is no default."""
    *parents, last = key.split(".")
    place = config
    for parent in parents:
        if parent not in place.model_fields_set:
            return False
        place = getattr(place, parent)
    return last in place.model_fields_set


def _get(content: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        content = content[part]
    return content


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        content = content[parent]
    content[last] = value
