"""What the store holds of one user, in the forms that the API and the page show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from trainer.columns import Columns as C
from trainer.examples import Examples
from trainer.features import Feature, scale_order
from trainer.instants import show_instant
from trainer.prediction import Predictor
from trainer.serving.schemas import Event, User

OTHER = "other"  # the group of features without a scale


def read_user(
    predictor: Predictor, user: str, at: np.datetime64 | None = None
) -> tuple[User, Examples]:
    """Read everything of a user, now from the online store, or at an instant from the offline one.

    Returns
    -------
    user, examples
        What people read, and the one example that the model reads.
    """
    examples = predictor.examples([user], at, predictor.published)
    values = {name: examples.features[name][0].as_py() for name in examples.features.column_names}
    known = bool(examples.lengths[0] > 0)
    state = predictor.run.states[examples.states[0]] if known else None
    shown = User(
        user_id=user,
        now=show_instant(examples.instants[0]),
        known=known,
        state=state,
        session=_of_view(predictor.published, values, C.SESSION_VIEW),
        features=by_scale(predictor.published, values),
        events=last_events(values),
    )
    return shown, examples


def by_scale(published: Sequence[Feature], values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by scale and name, from the shortest scale up; events and session are shown apart."""
    found = {feature.scale for feature in published if feature.scale}
    scales: dict[str, dict[str, Any]] = {scale: {} for scale in sorted(found, key=scale_order)}
    for feature in published:
        if feature.view not in (C.SESSION_VIEW, C.SEQUENCE_VIEW):
            group = scales.setdefault(feature.scale or OTHER, {})
            group[feature.name] = plain(values[feature.name])
    return scales


def _of_view(published: Sequence[Feature], values: dict[str, Any], view: str) -> dict[str, Any]:
    return {f.name: plain(values[f.name]) for f in published if f.view == view}


def last_events(values: dict[str, Any]) -> list[Event]:
    """The events of the user's sequence, oldest first.

    The sequence holds gaps, of which the instants follow backwards from the last event's; online
    that one has whole seconds, and so all of them are as exact as that.
    """
    actions, gaps = values[C.SEQUENCE_ACTIONS] or [], values[C.SEQUENCE_GAPS] or []
    columns = {
        "category_id": values.get(C.SEQUENCE_CATEGORIES),
        "item_id": values.get(C.SEQUENCE_ITEMS),
        "duration_ms": values.get(C.SEQUENCE_DURATIONS),
    }
    events: list[Event] = []
    at = values[C.LAST_ACTION_AT]
    if at is None:
        return events
    for place in reversed(range(len(actions))):
        gap = None if gaps[place] < 0 else gaps[place]
        # In the arrays, an empty text and -1 stand for unknown.
        rest = {
            name: None if column is None or column[place] in ("", -1) else column[place]
            for name, column in columns.items()
        }
        events.append(
            Event(
                action_type=actions[place],
                event_timestamp=at.replace(tzinfo=UTC),
                gap_ms=gap,
                **rest,
            )
        )
        at -= timedelta(milliseconds=gap or 0)
    return events[::-1]


def plain(value: Any) -> Any:
    """A value as JSON can hold it, with what JSON has no number for as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, datetime):
        return show_instant(np.datetime64(value, "us"))
    return value
