"""Encoders that were fitted on nobody: fixed transforms instead of means of everybody's data."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.config import FitConfig
from trainer.context import NOW, ContextEncoder, population_rows
from trainer.event_inputs import EventEncoder
from trainer.features import Feature
from trainer.inputs import FeatureCode, FeatureEncoder, kind_of
from trainer.models.base import Training
from trainer.user_rows import UserRows

# Centre and one over the width of log1p of what is measured so: an hour and its e-folds for
# milliseconds, a few for counts. They are written here and come from no log.
_MILLISECONDS = (15.0, 0.2)
_COUNTS = (1.0, 0.5)
_OTHER = (0.0, 0.25)  # measures, whose unit only the dataset knows
_AS_THEY_ARE = (0.0, 1.0)
# Whose values are made of other users' events.
_OF_OTHERS = {"user_pattern": "its clusters are fitted on everybody's days"}
# Texts whose values are known without looking at the log.
_SESSION_PATTERNS = ("conversion", "abandoned", "search_led", "browse_only")


def fixed_events(training: Training, config: FitConfig) -> EventEncoder:
    """Events with declared vocabularies and fixed moments."""
    return EventEncoder(
        actions=training.states[:-1],
        items=(),
        categories=tuple(config.privacy.categories),
        locations=(),
        gap=_MILLISECONDS,
        duration=_MILLISECONDS,
        calendar=tuple(config.encoder.calendar),
    )


def fixed_context(
    training: Training, features: Sequence[Feature], config: FitConfig
) -> ContextEncoder:
    """The context by fixed transforms, with the user's own row backed off to noised counts.

    Texts without a declared vocabulary stay out: a place or an item that stands in a vocabulary
    says that somebody in the training part was there.

    Raises
    ------
    BadInput
        When a feature is made of other users' events.
    """
    for feature in features:
        why = _OF_OTHERS.get(feature.family or "") or _OF_OTHERS.get(feature.view)
        if why:
            raise BadInput(
                f"{feature.reference}: not in private training, because {why}, without noise; "
                f"leave {feature.view} in features.exclude"
            )
    words = {
        C.LAST_ACTION: training.states[:-1],
        "last_closed_session_pattern": _SESSION_PATTERNS,
    }
    read = [
        feature
        for feature in features
        if feature.name != C.TRANSITION_COUNTS
        and (feature.type != "VARCHAR" or feature.name in words)
    ]
    table = training.examples.features
    encoder = FeatureEncoder(
        [_fixed(feature, table, words.get(feature.name, ())) for feature in read],
        config.features.clip,
    )
    rows = (
        UserRows(population_rows(training), config.privacy.strength)
        if config.features.user_row
        else None
    )
    return ContextEncoder(encoder, [feature.scale or NOW for feature in read], rows)


def _fixed(feature: Feature, table: pa.Table, words: tuple[str, ...]) -> FeatureCode:
    kind = kind_of(feature.name, feature.type)
    width = len(words) if kind == "text" else 1
    if kind in ("numbers", "plains"):
        # As wide as the schema makes it for everyone: no value of anybody is read.
        width = int(pc.max(pc.list_value_length(table[feature.name])).as_py() or 0)
    centre, scale = _moments(feature, kind)
    return FeatureCode(
        name=feature.name,
        kind=kind,
        width=width,
        mean=(centre,) * width,
        scale=(scale,) * width,
        # Whether anybody had a null is a statistic too; a mean over nothing stands beside a count
        # of 0, which says the same.
        indicator=False,
        vocabulary=words,
    )


def _moments(feature: Feature, kind: str) -> tuple[float, float]:
    if kind not in ("number", "numbers", "elapsed"):
        return _AS_THEY_ARE
    if kind == "elapsed" or "_ms" in feature.name:
        return _MILLISECONDS
    return _COUNTS if feature.type.startswith("BIGINT") else _OTHER
