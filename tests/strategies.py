"""Small nasty event logs, instants worth asking about, and the files that dbt reads.

One generator serves both kinds of test: a seed makes it repeatable, and Hypothesis drives the same
code through its own `Random`, so that a failing log shrinks.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from oracle import (
    DAY,
    DEFAULT_SCALES,
    FIRST_LANDMARK,
    HOUR,
    MINUTE,
    Event,
    OracleConfig,
)

RawLog = list[dict[str, Any]]

WIDTHS = [width for width in DEFAULT_SCALES.values() if width is not None]
SPANS = {name: width for name, width in DEFAULT_SCALES.items() if width is not None}
STARTS = [
    1_577_836_800_000_000,  # 2020-01-01 00:00:00
    1_583_020_799_999_999,  # 2020-02-29 23:59:59.999999
    946_684_800_000_000,  # 2000-01-01 00:00:00
    0,
]
LONGEST_LOG = 4 * 365 * DAY
FAR_FUTURE = 4_070_908_800_000_000  # 2099-01-01
# Names that a careless reader turns into numbers, nulls or two columns.
USERS = ["007", "7", 'o"hara, x', "ü–ł"]
ITEMS = ["i1", "1", "01", "NULL", "a,b", None, None]
CATEGORIES = ["red", "blue", "Blue", None]
LOCATIONS = ["north", "south", None]
DURATIONS = [None, None, 0, 1, 999, 60_000, 10**12, -1, -500]
BAD_TIMESTAMPS = [None, "yesterday", "2023-02-29 10:00:00"]
FOREIGN_ACTIONS = ["frobnicate", "leave", "BROWSE", None]
TAXONOMIES: list[tuple[list[str], dict[str, str]]] = [
    (
        ["browse", "search", "cart", "purchase"],
        {"search": "search", "cart": "intent", "purchase": "conversion"},
    ),
    (
        ["view", "ask", "like", "donate", "buy"],
        {"ask": "search", "like": "intent", "donate": "conversion", "buy": "conversion"},
    ),
    (["open", "shut"], {}),
]
# Raw names unlike ours, so that a column which was not mapped is noticed.
RAW_NAMES = {
    "user_id": "who",
    "action_type": "what",
    "event_timestamp": "time_stamp",
    "event_id": "key",
    "ingested_at": "learned",
    "item_id": "thing",
    "category_id": "kind",
    "location": "place",
    "duration_ms": "lasted",
}
TIMESTAMPS = ("event_timestamp", "ingested_at")


# Logs ---------------------------------------------------------------------------------------------


def random_config(rng: random.Random) -> OracleConfig:
    """Draw the settings of a dataset, of those that ask for different code."""
    actions, roles = rng.choice(TAXONOMIES)
    return OracleConfig(
        actions=actions,
        action_roles=roles,
        # A day is a scale too, so that sessions close exactly where events expire.
        session_gap_us=rng.choice([30 * MINUTE, HOUR, 4 * HOUR, DAY]),
        measures=rng.choice([{}, {"amount": 2}, {"amount": 2, "score": 0}]),
        count_simultaneous=rng.random() < 0.3,
        transition_prior=rng.choice([1, 1, 0.5, 3]),
        horizons={name: SPANS[name] for name in rng.choice([["1d"], ["1h", "7d"], ["1d", "30d"]])},
        unknown_actions=rng.choice(["reject", "reject", actions[0]]),
        tie_order=rng.choice(
            [
                [],
                [("file_position", False)],
                [("file_position", True)],
                [("batch", False), ("file_position", False)],
                [("batch", True)],
            ]
        ),
        action_map={"Raw First": actions[0]},
    )


def build_log(
    rng: random.Random,
    events: int = 120,
    users: int = 4,
    dirty: bool = True,
    config: OracleConfig | None = None,
) -> tuple[RawLog, OracleConfig]:
    """Make a raw log and the settings to read it with.

    Parameters
    ----------
    rng
        The source of every choice.
    events
        Number of distinct rows before copies and dirt are added.
    users
        Number of users, at most four; the first has half of the events.
    dirty
        Whether to add copies, repeated ids, rejects and foreign actions.
    config
        Settings to use. Without them they are drawn, and the optional columns too.

    Returns
    -------
    tuple
        Rows in file order, as `oracle.account` takes them, and the settings. The total order never
        hangs on a derived ``event_id``: a row has an id, or ``file_position`` breaks ties.
    """
    columns = {"item_id", "category_id", "location", "duration_ms", "ingested_at", "event_id"}
    if config is None:
        config = random_config(rng)
        columns = rng.choice([columns, columns, columns - {"ingested_at"}, columns - {"event_id"}])
        if rng.random() < 0.1:
            columns = set()
    names = USERS[:users]
    times = _random_times(rng, config, rng.choices(names, [3, 1, 1, 1][:users], k=events))

    tie_columns = [column for column, _ in config.tie_order]
    id_style = rng.choice(["{}", "e{}"])  # "9" comes after "10": an id is a text
    if "file_position" not in tie_columns and "event_id" not in columns:
        config = replace(config, tie_order=[*config.tie_order, ("file_position", False)])
        tie_columns.append("file_position")
    rows: RawLog = []
    for number, (user, ts) in enumerate(times):
        row: dict[str, Any] = {
            "user_id": user,
            "action_type": rng.choice([*config.actions, *config.actions, *config.action_map]),
            "event_timestamp": ts,
        }
        if "event_id" in columns:
            lost = dirty and "file_position" in tie_columns and rng.random() < 0.1
            row["event_id"] = None if lost else id_style.format(number)
        if "ingested_at" in columns:
            row["ingested_at"] = rng.choice([ts, ts, ts + 1, ts + 40 * DAY, None])
        if "item_id" in columns:
            row["item_id"] = rng.choice(ITEMS)
        if "category_id" in columns:
            row["category_id"] = rng.choice(CATEGORIES)
        if "location" in columns:
            row["location"] = rng.choice(LOCATIONS)
        if "duration_ms" in columns:
            row["duration_ms"] = rng.choice(DURATIONS)
        for name, decimals in config.measures.items():
            row[name] = rng.choice(
                [None, Decimal(0), Decimal(rng.randint(-9_999, 9_999)).scaleb(-decimals)]
            )
        for column in tie_columns:
            if column != "file_position" and column not in row:
                row[column] = f"b{rng.randint(0, 2)}"
        rows.append(row)

    rng.shuffle(rows)
    if dirty and rows:
        _add_foreign_actions(rng, rows)
        _add_rejects(rng, rows)
        _add_copies(rng, rows, config)
    return rows, config


def random_log(
    seed: int,
    events: int = 120,
    users: int = 4,
    dirty: bool = True,
    config: OracleConfig | None = None,
) -> tuple[RawLog, OracleConfig]:
    """Make the log of a seed; see `build_log`."""
    return build_log(random.Random(seed), events, users, dirty, config)


def logs(
    max_events: int = 40, dirty: bool = True
) -> st.SearchStrategy[tuple[RawLog, OracleConfig]]:
    """Make logs for Hypothesis, as ``(rows, config)``; see `build_log`."""
    return st.builds(
        build_log,
        st.randoms(use_true_random=False),
        st.integers(0, max_events),
        st.integers(1, len(USERS)),
        st.just(dirty),
    )


def _random_times(
    rng: random.Random, config: OracleConfig, owners: Sequence[str]
) -> list[tuple[str, int]]:
    """Give each event an instant that is, as often as not, an exact distance from another one."""
    start = rng.choice(STARTS)
    times: list[tuple[str, int]] = []
    for user in owners:
        own = [ts for name, ts in times if name == user]
        anyone = [ts for _, ts in times]
        if not anyone:
            anchor, step = start, 0
        elif not own or rng.random() < 0.1:
            anchor, step = rng.choice(anyone), rng.choice([0, 0, HOUR, 5 * DAY])
        elif rng.random() < 0.6:
            anchor, step = max(own), _ordinary_step(rng, config)
        else:
            anchor, step = rng.choice(own), _exact_step(rng, config)
        ts = anchor + step
        if ts > start + LONGEST_LOG:
            ts = rng.choice(anyone)
        times.append((user, ts))
    if times and rng.random() < 0.5:
        # The log's end exactly at a session's close, or 1 µs beside it: is its `leave` observed?
        close = max(ts for _, ts in times) + config.session_gap_us
        times.append((rng.choice(owners), close + rng.choice([-1, 0, 1])))
    return times


def _ordinary_step(rng: random.Random, config: OracleConfig) -> int:
    return rng.choice(
        [
            0,
            0,
            rng.randint(1, 2_000),
            rng.randint(1, 90) * 1_000_000,
            rng.randint(1, config.session_gap_us),
            config.session_gap_us + rng.randint(1, 10 * HOUR),
            rng.randint(1, 5 * DAY),
            rng.choice([0, 0, 0, rng.randint(20, 400)]) * DAY,
        ]
    )


def _exact_step(rng: random.Random, config: OracleConfig) -> int:
    distances = [
        0,
        1_000,
        config.session_gap_us,
        config.session_gap_us,
        FIRST_LANDMARK * rng.choice([1, 4, 16]),
        *WIDTHS,
        # The close of a session exactly one width before an event.
        rng.choice(WIDTHS) + config.session_gap_us,
    ]
    distance = rng.choice(distances)
    return distance + rng.choice([-1, 0, 0, 1]) if distance else 0


def _add_foreign_actions(rng: random.Random, rows: RawLog) -> None:
    for _ in range(1 + len(rows) // 30):
        rng.choice(rows)["action_type"] = rng.choice(FOREIGN_ACTIONS)


def _add_rejects(rng: random.Random, rows: RawLog) -> None:
    for number in range(2 + len(rows) // 20):
        row = dict(rng.choice(rows))
        if row.get("event_id") is not None:
            row["event_id"] = f"bad{number}"
        flaws = rng.sample(["user", "timestamp", "future", "action"], k=rng.choice([1, 1, 1, 2]))
        if "action" in flaws:
            row["action_type"] = rng.choice(FOREIGN_ACTIONS)
        if "future" in flaws:
            row["event_timestamp"] = FAR_FUTURE + number
        if "timestamp" in flaws:
            row["event_timestamp"] = rng.choice(BAD_TIMESTAMPS)
        if "user" in flaws:
            row["user_id"] = None
        rows.insert(rng.randint(0, len(rows)), row)


def _add_copies(rng: random.Random, rows: RawLog, config: OracleConfig) -> None:
    """Add rows equal to another, and rows that are equal but for one thing."""
    for _ in range(2 + len(rows) // 10):
        row = dict(rng.choice(rows))
        change = rng.choice(["none", "none", "action", "time", "user", "arrival", "duration"])
        if change == "action":
            row["action_type"] = rng.choice(config.actions)
        if change == "time" and isinstance(row["event_timestamp"], int):
            row["event_timestamp"] += rng.choice([-1, 1, HOUR])
        if change == "user":
            row["user_id"] = rng.choice([row["user_id"], None, USERS[0]])
        if change == "arrival" and row.get("ingested_at") is not None:
            row["ingested_at"] += rng.choice([-1, 1, -DAY])
        if change == "duration" and "duration_ms" in row:
            row["duration_ms"] = rng.choice(DURATIONS)
        rows.insert(rng.randint(0, len(rows)), row)


# Instants -----------------------------------------------------------------------------------------


def probe_instants(
    log: Sequence[Event], config: OracleConfig, rng: random.Random, per_user: int = 40
) -> list[tuple[str, int]]:
    """Choose ``(user, instant)`` pairs at which a wrong value would show.

    Half of them are at an exact distance (nothing, a scale, a horizon, the session gap, a session's
    close and a scale) from an event or 1 µs beside it, the others anywhere from a day before the
    user's first event to long after the last.

    Parameters
    ----------
    log
        The accepted events.
    config
        The dataset.
    rng
        The source of every choice.
    per_user
        How many for each user, before repeats are dropped.
    """
    widths = [width for width in config.scales.values() if width is not None]
    gap = config.session_gap_us
    probes = set()
    for user in sorted({event.user_id for event in log}):
        own = sorted(event.ts for event in log if event.user_id == user)
        for _ in range(per_user):
            if rng.random() < 0.5:
                distance = rng.choice(
                    [
                        0,
                        0,
                        0,
                        gap,
                        gap,
                        *widths,
                        *config.horizons.values(),
                        gap + rng.choice(widths),
                    ]
                )
                instant = rng.choice(own) + distance + rng.choice([-1, 0, 1])
            elif rng.random() < 0.8:
                earlier = rng.choice([own[0] - DAY, *own])
                later = min((ts for ts in own if ts > earlier), default=earlier + DAY)
                instant = rng.randint(earlier, later)
            else:
                instant = rng.randint(own[0] - DAY, own[-1] + 500 * DAY)
            probes.add((user, instant))
    return sorted(probes)


def probe_period_ends(
    instants: Mapping[str, Sequence[int]],
    period: int,
    config: OracleConfig,
    rng: random.Random,
    per_key: int = 20,
) -> list[tuple[str, int]]:
    """Choose ``(key, instant)`` pairs at which a wrong value of closed hours or days would show.

    Half of them are at the end of a period with an event, or a scale after it, or 1 µs beside it;
    the others at an event, or anywhere from a day before the first to long after the last.

    Parameters
    ----------
    instants
        The instants of each key's events.
    period
        The hour or the day, in microseconds.
    config
        The dataset.
    rng
        The source of every choice.
    per_key
        How many for each key, before repeats are dropped.
    """
    widths = [width for width in config.scales.values() if width is not None]
    probes = set()
    for key, own in sorted(instants.items()):
        for _ in range(per_key if own else 0):
            kind = rng.random()
            if kind < 0.5:
                end = (rng.choice(own) // period + 1) * period
                instant = end + rng.choice([0, 0, *widths]) + rng.choice([-1, 0, 1])
            elif kind < 0.75:
                instant = rng.choice(own) + rng.choice([-1, 0, 1])
            else:
                instant = rng.randint(min(own) - DAY, max(own) + 500 * DAY)
            probes.add((key, instant))
    return sorted(probes)


# Files --------------------------------------------------------------------------------------------


def write_log(
    rows: Sequence[dict[str, Any]],
    folder: Path,
    config: OracleConfig,
    form: Literal["csv", "parquet"] = "csv",
    timestamps: Literal["naive", "offset", "epoch_us"] = "naive",
) -> tuple[Path, dict[str, Any]]:
    """Write a raw log in file order and describe it.

    Parameters
    ----------
    rows
        The rows, all with the same keys. Without rows the file has the three required columns.
    folder
        Where to write; made if absent.
    config
        The dataset.
    form
        The file's form.
    timestamps
        How instants are written: UTC without an offset (a typed column in Parquet, unless a row
        holds a text that is no timestamp), ISO texts with mixed offsets, or epoch microseconds.

    Returns
    -------
    tuple
        Path of the events, and the content of the dataset file, usable as dbt's ``--vars``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / f"events.{form}").resolve()
    keys = list(rows[0]) if rows else ["user_id", "action_type", "event_timestamp"]
    names = {key: RAW_NAMES.get(key, key) for key in keys}
    columns = {names[key]: [_written(key, row[key], timestamps) for row in rows] for key in keys}
    if form == "csv":
        _write_csv(path, columns)
    else:
        _write_parquet(path, columns, config)

    dataset: dict[str, Any] = {
        "dataset": "random_log",
        "events_path": str(path),
        "columns": {key: names[key] for key in keys if key in RAW_NAMES},
        "measures": {
            name: {"sql": name, "decimals": decimals} for name, decimals in config.measures.items()
        },
        "source_timezone": "UTC",
        "actions": list(config.actions),
        "action_map": dict(config.action_map),
        "action_roles": dict(config.action_roles),
        "unknown_actions": config.unknown_actions,
        "tie_order": [
            RAW_NAMES.get(column, column) + (" desc" if descending else "")
            for column, descending in config.tie_order
        ],
        "session_gap_minutes": _minutes(config.session_gap_us),
        "horizons": {"conversion": list(config.horizons)},
        "count_simultaneous": config.count_simultaneous,
        "transition_prior": config.transition_prior,
    }
    if config.events_per_hour is not None:
        dataset["bots"] = {"events_per_hour": config.events_per_hour}
    if timestamps == "epoch_us":
        dataset["timestamp_unit"] = "us"
    return path, dataset


def _written(key: str, value: Any, timestamps: str) -> Any:
    if key not in TIMESTAMPS or not isinstance(value, int) or timestamps == "epoch_us":
        return value
    if timestamps == "naive":
        return _naive(value)
    # The offset follows from the instant, so that equal rows stay equal as text.
    offset = timedelta(minutes=[0, -300, 330][value % 3])
    return (_naive(value) + offset).replace(tzinfo=timezone(offset)).isoformat(" ")


def _naive(ts: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(microseconds=ts)


def _minutes(microseconds: int) -> int:
    minutes, rest = divmod(microseconds, MINUTE)
    if rest:
        raise ValueError("a dataset file gives the session gap in whole minutes")
    return minutes


def _write_csv(path: Path, columns: dict[str, list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_parquet(path: Path, columns: dict[str, list[Any]], config: OracleConfig) -> None:
    arrays = {}
    for name, values in columns.items():
        kinds = {type(value) for value in values if value is not None}
        if name in config.measures:
            # As most public logs have it; the declared decimals bring the exact value back.
            arrays[name] = pa.array([None if v is None else float(v) for v in values], pa.float64())
        elif kinds == {datetime}:
            arrays[name] = pa.array(values, pa.timestamp("us"))
        elif kinds == {int} or name == RAW_NAMES["duration_ms"]:
            arrays[name] = pa.array(values, pa.int64())
        else:
            texts = [None if value is None else str(value) for value in values]
            arrays[name] = pa.array(texts, pa.string())
    pq.write_table(pa.table(arrays), path)
