"""Compare everything that a build published with the naive oracle."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterable
from typing import Any

from dbt_runner import Build
from oracle import DAY, HOUR, Event, Oracle, OracleConfig, differences, micros
from strategies import probe_instants, probe_period_ends

# Family of windowed views: its entity, its method of the oracle, and its narrowest scale.
WINDOWED = {
    "user_activity": ("user", "activity", HOUR),
    "user_transitions": ("user", "transitions", HOUR),
    "user_rhythm": ("user", "rhythm", 7 * DAY),
    "item_activity": ("item", "item", HOUR),
    "action_transitions": ("action", "population", DAY),
}
UNSCALED = ("user_recency", "user_session", "user_sequence")


class StepFunction:
    """A published view, asked as readers do: the latest row at or before t is the value at t."""

    def __init__(self, rows: Iterable[dict[str, Any]], key: str = "user_id") -> None:
        self.instants: dict[str, list[int]] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            self.instants.setdefault(row[key], []).append(micros(row["event_timestamp"]))
            self.rows.setdefault(row[key], []).append(row)

    def at(self, entity: str, t: int) -> dict[str, Any] | None:
        place = bisect.bisect_right(self.instants.get(entity, []), t)
        return self.rows[entity][place - 1] if place else None


def views(config: OracleConfig) -> list[tuple[str, str, str | None]]:
    """(view, family, scale) of every view that the project publishes."""
    windowed = [
        (f"{family}_{scale}", family, scale)
        for family, (_, _, narrowest) in WINDOWED.items()
        for scale, width in config.scales.items()
        if width is None or width >= narrowest
    ]
    return [*windowed, *((family, family, None) for family in UNSCALED)]


def entity_of(family: str) -> str:
    """Whose values a family holds: ``user``, ``item`` or ``action``."""
    return WINDOWED[family][0] if family in WINDOWED else "user"


def expected(oracle: Oracle, family: str, scale: str | None, entity: str, t: int) -> Any:
    """The oracle's row of a view at (entity, t)."""
    if scale is None:
        return getattr(oracle, family.removeprefix("user_"))(entity, t)
    return getattr(oracle, WINDOWED[family][1])(entity, t, scale)


def probe_entities(
    oracle: Oracle, config: OracleConfig, rng: random.Random, per_user: int
) -> dict[str, list[tuple[str, int]]]:
    """(key, instant) pairs to ask at, for each kind of entity."""
    events = oracle.every
    of_item = {item: [e.ts for e in events if e.item == item] for item in oracle.items}
    # A leave is a state too, and can lie on a later day than every event.
    moments = [e.ts + late for e in events for late in (0, config.session_gap_us)]
    return {
        "user": probe_instants(events, config, rng, per_user=per_user),
        "item": probe_period_ends(of_item, HOUR, config, rng),
        "action": probe_period_ends(dict.fromkeys(config.states, moments), DAY, config, rng),
    }


def feature_differences(
    build: Build, events: list[Event], config: OracleConfig, rng: random.Random, per_user: int = 40
) -> tuple[int, list[str]]:
    """Cells compared and what differs, over every view at random, exact and near exact instants."""
    oracle = Oracle(events, config)
    entities = {"user": oracle.users, "item": oracle.items, "action": config.states}
    probes = probe_entities(oracle, config, rng, per_user)
    cells, found = 0, []
    for view, family, scale in views(config):
        entity = entity_of(family)
        steps = StepFunction(build.rows(f"features/{view}"), f"{entity}_id")
        for key in entities[entity]:
            wanted = oracle.change_instants(family, scale, key)
            if steps.instants.get(key, []) != wanted:
                found.append(f"{view}: the rows of {key!r} lie at other instants than the changes")
        if unknown := set(steps.rows) - set(entities[entity]):
            found.append(f"{view}: rows of unknown entities {unknown}")
        for key, t in probes[entity]:
            row = expected(oracle, family, scale, key, t)
            cells += len(row or [None])
            found += [f"{view} {key!r} at {t}: {d}" for d in differences(row, steps.at(key, t))]
    return cells, found


def label_differences(build: Build, events: list[Event], config: OracleConfig) -> list[str]:
    """What differs in the spine, in every label of it and in the ordered events."""
    oracle = Oracle(events, config)
    found = []
    spine = [
        (r["user_id"], micros(r["event_timestamp"]), r["is_landmark"], r["event_position"])
        for r in build.rows("labels/spine")
    ]
    if sorted(spine) != sorted(oracle.spine()):
        found.append(f"spine: {set(spine) ^ set(oracle.spine())}")
    tables = [build.rows("labels/label_next"), build.rows("labels/label_conversion")]
    if any(len(table) != len(spine) for table in tables):
        found.append("labels: not as many rows as the spine")
    for following, conversion in zip(*tables, strict=True):
        user, t = following["user_id"], micros(following["event_timestamp"])
        row = oracle.labels(user, t)
        found += [f"label {user!r} at {t}: {d}" for d in differences(row, following | conversion)]
    published = build.rows("labels/events")
    place = 0
    for user in sorted(oracle.users):
        for row in oracle.event_rows(user):
            if row["event_id"] is None:  # derived from the row: the oracle does not say how
                del row["event_id"]
            found += [f"events of {user!r}: {d}" for d in differences(row, published[place])]
            place += 1
    if place != len(published):
        found.append("events: not as many rows as accepted events")
    return found
