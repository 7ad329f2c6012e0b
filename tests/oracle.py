"""The naive truth: every feature and label, recomputed from the events for each (entity, instant).

Nothing here is clever, because this is what the SQL is compared with. Every value starts again from
the whole list of events, so a mistake cannot hide in shared running totals. Instants are integer
microseconds since the epoch (UTC), and integers stay integers: a division or a square root is the
last step of a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

MILLISECOND = 1_000
MINUTE = 60 * 1_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

LEAVE = "leave"
REJECT_REASONS = ("null_user", "bad_timestamp", "future_timestamp", "unknown_action", "bot")
DEFAULT_SCALES: dict[str, int | None] = {
    "1h": HOUR,
    "1d": DAY,
    "7d": 7 * DAY,
    "30d": 30 * DAY,
    "90d": 90 * DAY,
    "365d": 365 * DAY,
    "all": None,
}
LAST_GAPS = (1, 3, 5, 7)
REPEAT_EVENTS = 7
SEQUENCE_EVENTS = 50
DAYPARTS = (range(0, 6), range(6, 12), range(12, 18), range(18, 24))
SATURDAY, SUNDAY = 5, 6
FIRST_LANDMARK = 2 * HOUR
LANDMARK_GROWTH = 4

RawRow = Mapping[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class OracleConfig:
    """What a dataset file says, in the oracle's units.

    Parameters
    ----------
    actions
        The taxonomy in its declared order.
    action_roles
        Action to role (``search``, ``intent``, ``conversion``).
    session_gap_us
        A longer gap than this starts a new session.
    scales
        Name to width in microseconds, None for no lower end.
    measures
        Name to number of decimals.
    count_simultaneous
        Whether a pair of states within one instant is a transition.
    transition_prior
        Alpha of the smoothed transition row.
    horizons
        Name to width in microseconds, of the conversion labels.
    unknown_actions
        ``reject``, or the action that an action outside the taxonomy becomes.
    tie_order
        ``(column, descending)`` in order of weight; ``file_position`` or a key of the raw rows.
    action_map
        Raw action to action.
    events_per_hour
        A user with more accepted events in some hour is a bot; None for no such rule.
    """

    actions: Sequence[str]
    action_roles: Mapping[str, str] = field(default_factory=dict)
    session_gap_us: int = 30 * MINUTE
    scales: Mapping[str, int | None] = field(default_factory=lambda: dict(DEFAULT_SCALES))
    measures: Mapping[str, int] = field(default_factory=dict)
    count_simultaneous: bool = False
    transition_prior: float = 1
    horizons: Mapping[str, int] = field(default_factory=dict)
    unknown_actions: str = "reject"
    tie_order: Sequence[tuple[str, bool]] = ()
    action_map: Mapping[str, str] = field(default_factory=dict)
    events_per_hour: int | None = None

    @property
    def states(self) -> list[str]:
        """The actions in declared order, then ``leave``."""
        return [*self.actions, LEAVE]


@dataclass(frozen=True)
class Event:
    """One accepted event; ``tie_values`` holds the raw values of the columns that break ties."""

    user_id: str
    action: str
    ts: int
    event_id: str | None = None
    ingested_at: int | None = None
    item: str | None = None
    category: str | None = None
    location: str | None = None
    duration_ms: int | None = None
    measures: Mapping[str, Decimal | None] = field(default_factory=dict)
    file_position: int = 0
    tie_values: Mapping[str, Any] = field(default_factory=dict)


# From raw rows to accepted events -----------------------------------------------------------------


def account(
    raw_rows: Sequence[RawRow], config: OracleConfig, build_clock_us: int
) -> tuple[list[Event], int, dict[str, int]]:
    """Tell duplicates apart first, then rejects, and bots among the users of what is left.

    Parameters
    ----------
    raw_rows
        The log in file order. Keys: ``user_id``, ``action_type``, ``event_timestamp``, and those
        that the log has of ``event_id``, ``ingested_at``, ``item_id``, ``category_id``,
        ``location``, ``duration_ms``, the measures and any other column. A timestamp is
        microseconds, None, or a text that is no timestamp.
    config
        The dataset.
    build_clock_us
        The build's clock.

    Returns
    -------
    tuple
        Accepted events in file order; the number of duplicates; the number of rejects of each
        reason (every reason is present).
    """
    copies: dict[Any, list[int]] = {}
    for position, row in enumerate(raw_rows):
        copies.setdefault(_identity(row), []).append(position)
    first_arrived = [
        min(positions, key=lambda position: (*_arrival(raw_rows[position]), position))
        for positions in copies.values()
    ]
    duplicates = len(raw_rows) - len(first_arrived)

    accepted = []
    rejected = dict.fromkeys(REJECT_REASONS, 0)
    for position in sorted(first_arrived):
        reason = _reject_reason(raw_rows[position], config, build_clock_us)
        if reason is None:
            accepted.append(_event(raw_rows[position], position, config))
        else:
            rejected[reason] += 1
    quarantined = bots(accepted, config)
    rejected["bot"] = sum(event.user_id in quarantined for event in accepted)
    accepted = [event for event in accepted if event.user_id not in quarantined]
    return accepted, duplicates, rejected


def bots(events: Sequence[Event], config: OracleConfig) -> dict[str, tuple[int, int, int]]:
    """Find the users with more than `events_per_hour` events in some hour (t - 1h, t].

    Returns
    -------
    dict
        User to the most events of an hour, the first t of such an hour, and the first t at which
        the limit was exceeded.
    """
    found: dict[str, tuple[int, int, int]] = {}
    if config.events_per_hour is None:
        return found
    times: dict[str, list[int]] = {}
    for event in events:
        times.setdefault(event.user_id, []).append(event.ts)
    for user, own in times.items():
        counts = {t: sum(_in_window(ts, t, HOUR) for ts in own) for t in sorted(own)}
        above = [t for t, count in counts.items() if count > config.events_per_hour]
        if above:
            peak = max(counts.values())
            found[user] = peak, min(t for t in above if counts[t] == peak), min(above)
    return found


def _identity(row: RawRow) -> Any:
    event_id = _text(row.get("event_id"))
    return ("id", event_id) if event_id is not None else ("row", frozenset(row.items()))


def _arrival(row: RawRow) -> tuple[bool, int]:
    """When the row arrived; unknown arrivals come last."""
    for column in ("ingested_at", "event_timestamp"):
        value = row.get(column)
        if isinstance(value, int):
            return False, value
    return True, 0


def _reject_reason(row: RawRow, config: OracleConfig, build_clock_us: int) -> str | None:
    if _text(row["user_id"]) is None:
        return "null_user"
    if not isinstance(row["event_timestamp"], int):
        return "bad_timestamp"
    if row["event_timestamp"] > build_clock_us + DAY:
        return "future_timestamp"
    if _action(row, config) is None:
        return "unknown_action"
    return None


def _action(row: RawRow, config: OracleConfig) -> str | None:
    raw = row["action_type"]
    action = config.action_map.get(raw, raw)
    if action in config.actions:
        return action
    return None if config.unknown_actions == "reject" else config.unknown_actions


def _event(row: RawRow, position: int, config: OracleConfig) -> Event:
    action = _action(row, config)
    assert action is not None
    duration = row.get("duration_ms")
    ingested_at = row.get("ingested_at")
    return Event(
        user_id=row["user_id"],
        action=action,
        ts=row["event_timestamp"],
        event_id=_text(row.get("event_id")),
        ingested_at=row["event_timestamp"] if ingested_at is None else ingested_at,
        item=_text(row.get("item_id")),
        category=_text(row.get("category_id")),
        location=_text(row.get("location")),
        duration_ms=duration if duration is not None and 0 <= duration <= 2**40 else None,
        measures={
            name: _rounded(row.get(name), decimals) for name, decimals in config.measures.items()
        },
        file_position=position,
        tie_values={
            column: row[column] for column, _ in config.tie_order if column != "file_position"
        },
    )


def _text(value: str | None) -> str | None:
    return None if value == "" else value


def _rounded(value: Decimal | None, decimals: int) -> Decimal | None:
    if value is None:
        return None
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


# The total order ----------------------------------------------------------------------------------


def in_total_order(events: Iterable[Event], tie_order: Sequence[tuple[str, bool]]) -> list[Event]:
    """Sort one user's events by ``(ts, tie_order, event_id)``; nulls sort last.

    Raises
    ------
    ValueError
        If the order hangs on an ``event_id`` that the log does not have: that one is derived by the
        product, and the oracle does not repeat the derivation.
    """
    # A stable sort by each key, the lightest first, is the order by all of them.
    ordered = sorted(events, key=lambda event: event.event_id or "")
    for column, descending in reversed(tie_order):
        ordered = _sorted_by(ordered, column, descending)
    ordered.sort(key=lambda event: event.ts)

    columns = [column for column, _ in tie_order]
    for one, other in zip(ordered, ordered[1:], strict=False):
        tied = one.ts == other.ts and all(_tie(one, c) == _tie(other, c) for c in columns)
        if tied and (None in (one.event_id, other.event_id) or one.event_id == other.event_id):
            raise ValueError(
                f"no total order between rows {one.file_position} and {other.file_position}: "
                "add file_position to tie_order"
            )
    return ordered


def _sorted_by(events: list[Event], column: str, descending: bool) -> list[Event]:
    known = [event for event in events if _tie(event, column) is not None]
    unknown = [event for event in events if _tie(event, column) is None]
    known.sort(key=lambda event: _tie(event, column), reverse=descending)
    return known + unknown


def _tie(event: Event, column: str) -> Any:
    return event.file_position if column == "file_position" else event.tie_values[column]


# Every published value ----------------------------------------------------------------------------


class Oracle:
    """Every published value, for any user, item or state and any instant.

    A method that takes ``(user, t)`` returns a dict with exactly the published columns of its view
    (without ``user_id`` and ``event_timestamp``), or None where the user has no event at or
    before t; likewise for an item in the hours, and for a state in the days, that closed at or
    before t. Timestamps are microseconds and None is null.

    Parameters
    ----------
    events
        The accepted events, in any order.
    config
        The dataset.
    """

    def __init__(self, events: Iterable[Event], config: OracleConfig) -> None:
        self.config = config
        every = list(events)
        self.log_start = min((event.ts for event in every), default=None)
        self.log_end = max((event.ts for event in every), default=None)
        self.every = every
        self.events_of: dict[str, list[Event]] = {
            user: in_total_order((e for e in every if e.user_id == user), config.tie_order)
            for user in sorted({event.user_id for event in every})
        }

    @property
    def users(self) -> list[str]:
        """Every user with an accepted event, sorted."""
        return list(self.events_of)

    @property
    def items(self) -> list[str]:
        """Every known item of an accepted event, sorted."""
        return sorted({event.item for event in self.every if event.item is not None})

    # Features

    def activity(self, user: str, t: int, scale: str) -> Row | None:
        """`user_activity_<scale>` at t."""
        history = self._history(user, t)
        if not history:
            return None
        width = self.config.scales[scale]
        inside = [event for event in history if _in_window(event.ts, t, width)]

        row: Row = {"event_count": len(inside)}
        for action in self.config.actions:
            row[f"{action}_count"] = sum(event.action == action for event in inside)

        durations = [event.duration_ms for event in inside if event.duration_ms is not None]
        row["duration_ms_sum"] = sum(durations)
        row["duration_ms_mean"] = _mean(durations)

        for name, decimals in self.config.measures.items():
            units = [
                int(value.scaleb(decimals))
                for event in inside
                if (value := event.measures.get(name)) is not None
            ]
            row[f"{name}_sum"] = float(Fraction(sum(units), 10**decimals))
            row[f"{name}_mean"] = (
                float(Fraction(sum(units), 10**decimals * len(units))) if units else None
            )

        # The earlier instant of a gap may lie before the window: only the later one decides.
        gaps = [gap for later, gap in _instant_gaps(history) if _in_window(later, t, width)]
        row["gap_ms_mean"] = _mean(gaps)
        row["gap_ms_std"] = _deviation(gaps)

        row["distinct_items"] = len({e.item for e in inside if e.item is not None})
        row["distinct_categories"] = len({e.category for e in inside if e.category is not None})
        row["active_days"] = len({event.ts // DAY for event in inside})
        row["category_change_count"] = sum(
            _in_window(event.ts, t, width)
            for event in _changes(history, lambda event: event.category)
        )
        row["session_count"] = sum(
            _in_window(session[0].ts, t, width) for session in self._sessions(history)
        )
        return {f"{name}_{scale}": value for name, value in row.items()}

    def transitions(self, user: str, t: int, scale: str) -> Row | None:
        """`user_transitions_<scale>` at t."""
        history = self._history(user, t)
        if not history:
            return None
        width = self.config.scales[scale]
        names = self.config.states

        counts = {(a, b): 0 for a in names for b in names}
        for a, b, ts in self._transitions(history, t):
            if _in_window(ts, t, width):
                counts[a, b] += 1

        current = self._states(history, t)[-1][0]
        probabilities = self._smoothed([counts[current, b] for b in names])
        entropy = None
        if probabilities is not None:
            entropy = -sum(p * math.log(p) for p in probabilities if p > 0)
        return {
            f"transition_counts_{scale}": [counts[a, b] for a in names for b in names],
            f"transition_total_{scale}": sum(counts.values()),
            f"next_probabilities_{scale}": probabilities,
            f"transition_entropy_{scale}": entropy,
        }

    def rhythm(self, user: str, t: int, scale: str) -> Row | None:
        """`user_rhythm_<scale>` at t."""
        history = self._history(user, t)
        if not history:
            return None
        width = self.config.scales[scale]
        inside = [event for event in history if _in_window(event.ts, t, width)]
        hours = [_hour(event.ts) for event in inside]
        weekdays = [_weekday(event.ts) for event in inside]

        row: Row = {
            "hour_histogram": [hours.count(hour) for hour in range(24)],
            "weekday_histogram": [weekdays.count(weekday) for weekday in range(7)],
            "daypart_shares": [
                sum(hour in part for hour in hours) / len(inside) if inside else 0.0
                for part in DAYPARTS
            ],
            "weekend_share": (
                (weekdays.count(SATURDAY) + weekdays.count(SUNDAY)) / len(inside)
                if inside
                else None
            ),
            "distinct_locations": len({e.location for e in inside if e.location is not None}),
            "location_change_count": sum(
                _in_window(event.ts, t, width)
                for event in _changes(history, lambda event: event.location)
            ),
        }
        return {f"{name}_{scale}": value for name, value in row.items()}

    def item(self, item: str, t: int, scale: str) -> Row | None:
        """`item_activity_<scale>` at t: the hours that had closed by then."""
        closed = t // HOUR * HOUR
        history = [event for event in self.every if event.item == item and event.ts < closed]
        if not history:
            return None
        width = self.config.scales[scale]
        inside = [event for event in history if width is None or event.ts >= closed - width]
        row: Row = {"event_count": len(inside)}
        for action in self.config.actions:
            row[f"{action}_count"] = sum(event.action == action for event in inside)
        row["distinct_users"] = len({event.user_id for event in inside})
        return {f"item_{name}_{scale}": value for name, value in row.items()}

    def population(self, state: str, t: int, scale: str) -> Row | None:
        """`action_transitions_<scale>` at t: the days that had closed by then."""
        closed = t // DAY * DAY
        if self.log_start is None or self.log_start >= closed:
            return None
        width = self.config.scales[scale]
        last = closed - 1  # the last microsecond that had closed
        counts = dict.fromkeys(self.config.states, 0)
        for user in self.users:
            for a, b, ts in self._transitions(self._history(user, last), last):
                if a == state and (width is None or ts >= closed - width):
                    counts[b] += 1
        row = list(counts.values())
        return {
            f"population_transition_counts_{scale}": row,
            f"population_transition_total_{scale}": sum(row),
            f"population_probabilities_{scale}": self._smoothed(row),
        }

    def recency(self, user: str, t: int) -> Row | None:
        """`user_recency` at t."""
        history = self._history(user, t)
        if not history:
            return None
        row: Row = {"last_action_type": history[-1].action, "last_action_at": history[-1].ts}
        row["last_item_id"], row["last_item_at"] = _last_known((e.item, e.ts) for e in history)
        row["last_category_id"], row["last_category_at"] = _last_known(
            (e.category, e.ts) for e in history
        )
        row["last_location"], row["last_location_at"] = _last_known(
            (e.location, e.ts) for e in history
        )

        gaps = [gap for _, gap in _instant_gaps(history)]
        for count in LAST_GAPS:
            row[f"gap_ms_mean_last_{count}"] = _mean(gaps[-count:])
        for count in LAST_GAPS:
            row[f"gap_ms_std_last_{count}"] = _deviation(gaps[-count:])

        items = [event.item for event in history[-REPEAT_EVENTS:]]
        row[f"item_repeat_count_last_{REPEAT_EVENTS}"] = sum(
            item is not None and item in items[:position] for position, item in enumerate(items)
        )
        return row

    def session(self, user: str, t: int) -> Row | None:
        """`user_session` at t."""
        history = self._history(user, t)
        if not history:
            return None
        sessions = self._sessions(history)
        current = sessions[-1]
        closed = [session for session in sessions if self._close(session) <= t]
        return {
            "session_ordinal": len(sessions),
            "session_started_at": current[0].ts,
            "session_event_count": len(current),
            "session_conversion_count": sum(self._role(e) == "conversion" for e in current),
            "session_is_open": self._close(current) > t,
            "last_closed_session_pattern": self._pattern(closed[-1]) if closed else None,
        }

    def sequence(self, user: str, t: int) -> Row | None:
        """`user_sequence` at t."""
        history = self._history(user, t)
        if not history:
            return None
        gaps = [-1 if gap is None else gap for gap in _event_gaps(history)]
        last = history[-SEQUENCE_EVENTS:]
        return {
            "sequence_actions": [event.action for event in last],
            "sequence_items": [event.item or "" for event in last],
            "sequence_categories": [event.category or "" for event in last],
            "sequence_locations": [event.location or "" for event in last],
            "sequence_gaps_ms": gaps[-SEQUENCE_EVENTS:],
            "sequence_durations_ms": [
                -1 if event.duration_ms is None else event.duration_ms for event in last
            ],
            "sequence_hours": [_hour(event.ts) for event in last],
            "sequence_weekdays": [_weekday(event.ts) for event in last],
        }

    # Labels

    def labels(self, user: str, t: int) -> Row | None:
        """`label_next` and `label_conversion` at t, in one row."""
        history = self._history(user, t)
        if not history:
            return None
        assert self.log_end is not None
        future = [event for event in self.events_of[user] if event.ts > t]
        following = future[0] if future else None
        close = self._close(self._sessions(history)[-1])

        next_state: tuple[str | None, int | None] = (None, None)
        leaves = close > t and (following is None or following.ts > close)
        if leaves and close <= self.log_end:
            next_state = (LEAVE, close)
        elif not leaves and following is not None:
            next_state = (following.action, following.ts)

        row: Row = {
            "next_action": next_state[0],
            "next_state_at": next_state[1],
            "next_item_id": following.item if following else None,
            "next_category_id": following.category if following else None,
            "next_gap_ms": (following.ts - t) // MILLISECOND if following else None,
        }
        for name, horizon in self.config.horizons.items():
            converted = any(self._role(e) == "conversion" for e in future if e.ts <= t + horizon)
            row[f"converted_within_{name}"] = converted if t + horizon <= self.log_end else None
        return row

    def spine(self) -> list[tuple[str, int, bool, int]]:
        """`spine`: ``(user, t, is_landmark, event_position)``, sorted by user and instant."""
        rows = []
        for user in self.users:
            instants = _instants(self.events_of[user])
            for instant, following in zip(instants, [*instants[1:], None], strict=True):
                position = len(self._history(user, instant))
                rows.append((user, instant, False, position))
                for landmark in self._landmarks(instant, following):
                    rows.append((user, landmark, True, position))
        return rows

    def event_rows(self, user: str) -> list[Row]:
        """`events` of a user, in total order."""
        events = self.events_of.get(user, [])
        rows = []
        for position, (event, gap) in enumerate(
            zip(events, _event_gaps(events), strict=True), start=1
        ):
            row: Row = {
                "event_position": position,
                "event_timestamp": event.ts,
                "event_id": event.event_id,
                "action_type": event.action,
                "item_id": event.item,
                "category_id": event.category,
                "location": event.location,
                "duration_ms": event.duration_ms,
                "gap_ms": gap,
                "hour": _hour(event.ts),
            }
            for name in self.config.measures:
                value = event.measures.get(name)
                row[name] = None if value is None else float(value)
            rows.append(row)
        return rows

    # Grain

    def change_instants(self, view: str, scale: str | None, entity: str) -> list[int]:
        """All instants at which a view must have a row for an entity, sorted.

        Parameters
        ----------
        view
            ``user_activity``, ``user_transitions``, ``user_rhythm``, ``user_recency``,
            ``user_session``, ``user_sequence``, ``item_activity`` or ``action_transitions``.
        scale
            Name of the scale; None for a view without one.
        entity
            The user, the item or the state.
        """
        events = self.events_of.get(entity, [])
        instants = set(_instants(events))
        closes = {self._close(session) for session in self._sessions(events)}
        if view in ("user_recency", "user_sequence"):
            return sorted(instants)
        if view == "user_session":
            return sorted(instants | closes)
        if view in ("user_activity", "user_rhythm"):
            entries = instants
        elif view == "user_transitions":
            entries = instants | closes
        elif view == "item_activity":
            entries = {_end_of(HOUR, event.ts) for event in self.every if event.item == entity}
        elif view == "action_transitions":
            entries = self._days_of(entity)
        else:
            raise ValueError(f"unknown view: {view}")
        if scale is None:
            raise ValueError(f"{view} has scales: name one")
        width = self.config.scales[scale]
        expiries = set() if width is None else {instant + width for instant in entries}
        return sorted(entries | expiries)

    def _days_of(self, state: str) -> set[int]:
        """Ends of the log's first day and of every day on which somebody left the state."""
        if self.log_start is None or state not in self.config.states:
            return set()
        days = {_end_of(DAY, self.log_start)}
        for events in self.events_of.values():
            everything = self._transitions(events, self._close(events))
            days |= {_end_of(DAY, ts) for a, _, ts in everything if a == state}
        return days

    # Parts

    def _history(self, user: str, t: int) -> list[Event]:
        return [event for event in self.events_of.get(user, []) if event.ts <= t]

    def _sessions(self, events: list[Event]) -> list[list[Event]]:
        sessions: list[list[Event]] = []
        for event in events:
            if sessions and event.ts - sessions[-1][-1].ts <= self.config.session_gap_us:
                sessions[-1].append(event)
            else:
                sessions.append([event])
        return sessions

    def _close(self, session: list[Event]) -> int:
        return session[-1].ts + self.config.session_gap_us

    def _states(self, history: list[Event], t: int) -> list[tuple[str, int]]:
        states = []
        for session in self._sessions(history):
            states += [(event.action, event.ts) for event in session]
            if self._close(session) <= t:
                states.append((LEAVE, self._close(session)))
        return states

    def _transitions(self, history: list[Event], t: int) -> list[tuple[str, str, int]]:
        """Each counted pair of states and the instant of the second."""
        states = self._states(history, t)
        return [
            (a, b, b_ts)
            for (a, a_ts), (b, b_ts) in zip(states, states[1:], strict=False)
            if a_ts < b_ts or self.config.count_simultaneous
        ]

    def _smoothed(self, counts: list[int]) -> list[float] | None:
        prior = self.config.transition_prior
        if sum(counts) + prior == 0:
            return None
        return [(count + prior / len(counts)) / (sum(counts) + prior) for count in counts]

    def _role(self, event: Event) -> str | None:
        return self.config.action_roles.get(event.action)

    def _pattern(self, session: list[Event]) -> str:
        roles = {self._role(event) for event in session}
        if "conversion" in roles:
            return "conversion"
        if "intent" in roles:
            return "abandoned"
        if "search" in roles:
            return "search_led"
        return "browse_only"

    def _landmarks(self, instant: int, following: int | None) -> list[int]:
        assert self.log_end is not None
        landmarks = []
        offset = FIRST_LANDMARK
        while instant + offset <= self.log_end and (
            following is None or instant + offset < following
        ):
            landmarks.append(instant + offset)
            offset *= LANDMARK_GROWTH
        return landmarks


def _in_window(ts: int, t: int, width: int | None) -> bool:
    """Whether ts lies in (t - width, t]."""
    return ts <= t and (width is None or ts > t - width)


def _instants(events: Iterable[Event]) -> list[int]:
    return sorted({event.ts for event in events})


def _instant_gaps(events: Iterable[Event]) -> list[tuple[int, int]]:
    """Each instant but the first, with the whole milliseconds since the one before."""
    instants = _instants(events)
    return [
        (later, (later - earlier) // MILLISECOND)
        for earlier, later in zip(instants, instants[1:], strict=False)
    ]


def _event_gaps(events: list[Event]) -> list[int | None]:
    """For each event the whole milliseconds since the one before; None for the first."""
    gaps: list[int | None] = []
    for position, event in enumerate(events):
        if position == 0:
            gaps.append(None)
        else:
            gaps.append((event.ts - events[position - 1].ts) // MILLISECOND)
    return gaps


def _changes(history: list[Event], kind: Callable[[Event], str | None]) -> list[Event]:
    """Return the events whose known kind differs from the last known one."""
    changes = []
    last_known = None
    for event in history:
        if kind(event) is None:
            continue
        if last_known is not None and kind(event) != last_known:
            changes.append(event)
        last_known = kind(event)
    return changes


def _last_known(pairs: Iterable[tuple[str | None, int]]) -> tuple[str | None, int | None]:
    last: tuple[str | None, int | None] = (None, None)
    for value, ts in pairs:
        if value is not None:
            last = (value, ts)
    return last


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _deviation(values: Sequence[int]) -> float | None:
    """Compute the population deviation from exact integer sums."""
    if not values:
        return None
    n, total, squares = len(values), sum(values), sum(value * value for value in values)
    return math.sqrt(n * squares - total * total) / n


def _hour(ts: int) -> int:
    return ts % DAY // HOUR


def _weekday(ts: int) -> int:
    """Weekday in UTC, Monday 0."""
    return (datetime(1970, 1, 1) + timedelta(microseconds=ts)).weekday()


def _end_of(period: int, ts: int) -> int:
    """End of the hour or day that holds ts; the start belongs to it and the end does not."""
    return (ts // period + 1) * period


# Comparing ----------------------------------------------------------------------------------------


def micros(instant: datetime) -> int:
    """Microseconds since the epoch, exactly; a naive datetime is read as UTC."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def differences(expected: Row | None, actual: Mapping[str, Any] | None) -> list[str]:
    """Describe every column in which a published row differs from the oracle's.

    Columns beyond the expected ones (the keys) are ignored. Where the oracle has no history, the
    published row must be absent or all null. Integers, texts, booleans and zeros are compared
    exactly, other floats to 1e-12 of their size; a value of another type differs.
    """
    if expected is None:
        known = [name for name, value in (actual or {}).items() if value is not None]
        return [f"{name}: expected no history" for name in known]
    if actual is None:
        return ["expected a row, found none"]
    found = []
    for name, value in expected.items():
        if name not in actual:
            found.append(f"{name}: missing")
        elif not _same(value, actual[name]):
            found.append(f"{name}: expected {value!r}, found {actual[name]!r}")
    return found


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(actual, datetime):
        actual = micros(actual)
    if type(expected) is not type(actual):
        return False
    if isinstance(expected, list):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    if isinstance(expected, float):
        return math.isclose(expected, actual, rel_tol=1e-12, abs_tol=0.0)
    return expected == actual
