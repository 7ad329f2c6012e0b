"""The models by name: how one is made from a configuration, and how one is read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from trainer.config import FitConfig, ModelName
from trainer.features import Feature
from trainer.models.base import Model
from trainer.models.item_mixture import ItemMixture
from trainer.models.item_popularity import ItemPopularity
from trainer.models.item_transition import ItemTransition
from trainer.models.marginal import Marginal
from trainer.models.markov import Markov
from trainer.models.markov_2 import Markov2
from trainer.models.recent_popularity import RecentPopularity
from trainer.models.repeat_last import RepeatLast
from trainer.models.user_frequency import UserFrequency
from trainer.models.user_row import UserRow
from trainer.models.v_sknn import VSknn

BASELINES: tuple[ModelName, ...] = ("marginal", "markov_1")  # beside every model, in every table
# Baselines first, as tables show them.
COMPARED: tuple[ModelName, ...] = tuple(
    sorted(get_args(ModelName), key=lambda name: name == "recurrent")
)
SEEDED: tuple[ModelName, ...] = ("boosting", "item_mixture", "recurrent")
# Those that say which item or category comes next, and nothing of the next action.
RANKS: tuple[ModelName, ...] = (
    *("item_popularity", "user_frequency", "item_transition", "v_sknn"),
    "item_mixture",
)
READS_FEATURES: tuple[ModelName, ...] = ("column", "logistic", "boosting", "recurrent")


def make_model(name: ModelName, config: FitConfig, features: Sequence[Feature]) -> Model:
    """A model that is to be fitted.

    Parameters
    ----------
    name
        Which.
    config
        The fit's configuration.
    features
        The features that it may read, in order.
    """
    kind = model_kind(name)
    if name == "column":
        return kind(config.column, features)
    if name == "item_mixture":
        return kind(config)
    return kind(config, tuple(features)) if name in READS_FEATURES else kind()


def is_ranking(config: FitConfig, name: ModelName | None = None) -> bool:
    """Whether a model, by default the configured one, says which item or category comes next.

    None does where clients keep their rows: how popular a value is counts everybody's events.
    """
    if config.federated.by != "none":
        return False
    name = name or config.model
    tasks = config.tasks
    return name in RANKS or (name == "recurrent" and tasks.next_item + tasks.next_category > 0)


def load_model(name: ModelName, folder: Path) -> Model:
    """The model that was saved in a run's folder."""
    return model_kind(name).load(folder)


def model_kind(name: ModelName) -> type[Any]:
    """The model's class; torch and scikit-learn are imported with the classes that need them."""
    simple: dict[str, type[Any]] = {
        kind.name: kind
        for kind in (
            *(Marginal, RecentPopularity, RepeatLast, Markov, Markov2, UserRow),
            *(ItemPopularity, UserFrequency, ItemTransition, VSknn, ItemMixture),
        )
    }
    if name in simple:
        return simple[name]
    if name == "column":
        from trainer.models.column import Column

        return Column
    if name == "logistic":
        from trainer.models.logistic import Logistic

        return Logistic
    if name == "boosting":
        from trainer.models.boosting import Boosting

        return Boosting
    from trainer.models.recurrent import Recurrent

    return Recurrent
