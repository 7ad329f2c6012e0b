"""Compare everything that a build published with the naive oracle."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterable
from typing import Any

from dbt_runner import Build
from oracle import Event, Oracle, OracleConfig, differences, micros
from strategies import probe_instants

WINDOWED = ("user_activity", "user_transitions")
UNSCALED = ("user_recency", "user_session", "user_sequence")


class StepFunction:
    """A published view, asked as readers do: the latest row at or before t is the value at t."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.instants: dict[str, list[int]] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            self.instants.setdefault(row["user_id"], []).append(micros(row["event_timestamp"]))
            self.rows.setdefault(row["user_id"], []).append(row)

    def at(self, user: str, t: int) -> dict[str, Any] | None:
        place = bisect.bisect_right(self.instants.get(user, []), t)
        return self.rows[user][place - 1] if place else None


def views(config: OracleConfig) -> list[tuple[str, str, str | None]]:
    """(view, family, scale) of every view that the project publishes."""
    windowed = [
        (f"{family}_{scale}", family, scale) for family in WINDOWED for scale in config.scales
    ]
    return [*windowed, *((family, family, None) for family in UNSCALED)]


def expected(oracle: Oracle, family: str, scale: str | None, user: str, t: int) -> Any:
    """The oracle's row of a view at (user, t)."""
    method = getattr(oracle, family.removeprefix("user_"))
    return method(user, t) if scale is None else method(user, t, scale)


def feature_differences(
    build: Build, events: list[Event], config: OracleConfig, rng: random.Random, per_user: int = 40
) -> tuple[int, list[str]]:
    """Cells compared and what differs, over every view at random, exact and near exact instants."""
    oracle = Oracle(events, config)
    probes = probe_instants(events, config, rng, per_user=per_user)
    cells, found = 0, []
    for view, family, scale in views(config):
        steps = StepFunction(build.rows(f"features/{view}"))
        for user in oracle.users:
            wanted = oracle.change_instants(family, scale, user)
            if steps.instants.get(user, []) != sorted(wanted):
                found.append(f"{view}: the rows of {user!r} lie at other instants than the changes")
        if set(steps.rows) - set(oracle.users):
            found.append(f"{view}: rows of unknown users {set(steps.rows) - set(oracle.users)}")
        for user, t in probes:
            row = expected(oracle, family, scale, user, t)
            cells += len(row or [None])
            found += [f"{view} {user!r} at {t}: {d}" for d in differences(row, steps.at(user, t))]
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
