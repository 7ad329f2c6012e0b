"""Seeded logs, feature rows and entity rows, written a row group at a time.

``python -m benchmarks.data`` writes them in a process of its own.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.settings import ACTIONS, HOUR_US

START_US = 1_672_531_200_000_000  # 2023-01-01 UTC
DAY_US = 24 * HOUR_US
SPAN_US = 730 * DAY_US  # twice the longest scale, so that every window has entries and expiries
ROW_GROUP = 1_000_000

LOG_SCHEMA = pa.schema(
    {
        "event_id": pa.string(),
        "user_id": pa.string(),
        "action_type": pa.string(),
        "event_timestamp": pa.timestamp("us"),
        "ingested_at": pa.timestamp("us"),
        "item_id": pa.string(),
        "category_id": pa.string(),
        "location": pa.string(),
        "duration_ms": pa.int64(),
    }
)


def write_log(path: Path, events: int, users: int, seed: int, late: int = 0) -> None:
    """Write a log in the order of its time.

    Users come in sessions of 1 to 9 events, minutes apart; one event in fifty shares the instant of
    the one before. So the number of sessions depends on the number of events alone, and a log of
    few users and one of many differ in nothing but the length of a history.

    Parameters
    ----------
    path : Path
    events : int
    users : int
    seed : int
    late : int
        So many more events are known to have happened in the first tenth of the span, and became
        known at its end.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 10, size=events // 4 + 10)
    session = np.repeat(np.arange(len(sizes)), sizes)[:events]
    assert len(session) == events
    user = rng.integers(users, size=len(sizes))[session]
    # From the session's first event; in milliseconds, like the clocks of most logs.
    steps = np.rint(rng.exponential(120_000, size=events)).astype(np.int64)
    steps[rng.random(events) < 0.02] = 0
    elapsed = np.cumsum(steps)
    first = np.searchsorted(session, np.arange(session[-1] + 1))
    elapsed -= elapsed[first][session]
    begin = rng.integers((SPAN_US - DAY_US) // 1000, size=len(sizes))
    instant = START_US + (begin[session] + elapsed) * 1000
    order = np.argsort(instant, kind="stable")
    user, instant = user[order], instant[order]
    learned = instant + rng.integers(60_000_000, size=events)
    if late:
        user = np.append(user, rng.integers(users, size=late))
        instant = np.append(instant, START_US + rng.integers(SPAN_US // 10, size=late))
        learned = np.append(learned, np.full(late, learned.max()))

    def group(start: int, stop: int, rng: np.random.Generator) -> pa.Table:
        rows = stop - start
        item = (rng.random(rows) ** 2 * 5000).astype(np.int64)
        action = (rng.random(rows) ** 2 * len(ACTIONS)).astype(np.int64)
        return pa.table(
            [
                _named("e", np.arange(start, stop)),
                _named("u", user[start:stop]),
                pa.array(ACTIONS).take(pa.array(action)),
                pa.array(instant[start:stop], pa.timestamp("us")),
                pa.array(learned[start:stop], pa.timestamp("us")),
                _named("i", item),
                _named("c", item % 40),
                pa.array(("DE", "FR", "IN", "US")).take(pa.array(rng.integers(4, size=rows))),
                pa.array(rng.integers(100_000, size=rows), mask=rng.random(rows) < 0.1),
            ],
            schema=LOG_SCHEMA,
        )

    # Late events in row groups of their own: the others are the same with and without them.
    _write(path, LOG_SCHEMA, (events, late), group, seed)


def head(source: Path, path: Path, rows: int) -> None:
    """Write the first `rows` of a log: what it was earlier."""
    with pq.ParquetWriter(path, LOG_SCHEMA, compression="zstd") as writer:
        for batch in pq.ParquetFile(source).iter_batches(ROW_GROUP):
            part = batch.slice(0, min(rows, batch.num_rows))
            writer.write_batch(part)
            rows -= part.num_rows
            if not rows:
                return
    raise ValueError(f"{source} has {rows} rows too few")


def write_features(
    path: Path, rows: int, users: int, prefix: str, features: int, seed: int
) -> None:
    """Write a feature view: unique by user and instant, in that order, each user from the start.

    Every other feature is an integer, every other a double; names are ``<prefix>_<number>``.
    """
    user, instant = _unique_instants(rows, users, seed, opened=True)
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("event_timestamp", pa.timestamp("us")),
            *((f"{prefix}_{n}", pa.float64() if n % 2 else pa.int64()) for n in range(features)),
        ]
    )

    def group(start: int, stop: int, rng: np.random.Generator) -> pa.Table:
        size = stop - start
        values = [
            pa.array(rng.random(size) if n % 2 else rng.integers(1000, size=size))
            for n in range(features)
        ]
        keys = [
            _named("u", user[start:stop]),
            pa.array(instant[start:stop], pa.timestamp("us")),
        ]
        return pa.table([*keys, *values], schema=schema)

    _write(path, schema, (rows,), group, seed)


def write_entities(path: Path, rows: int, users: int, seed: int) -> None:
    """Write entity rows: unique by user and instant, shuffled, numbered in the column ``row``.

    All lie after the first row of a feature view: Feast's default store drops those before.
    """
    user, instant = _unique_instants(rows, users, seed, opened=False)
    order = np.random.default_rng(seed).permutation(rows)
    user, instant = user[order], instant[order]
    schema = pa.schema(
        {"user_id": pa.string(), "event_timestamp": pa.timestamp("us"), "row": pa.int64()}
    )

    def group(start: int, stop: int, _: np.random.Generator) -> pa.Table:
        return pa.table(
            [
                _named("u", user[start:stop]),
                pa.array(instant[start:stop], pa.timestamp("us")),
                pa.array(np.arange(start, stop)),
            ],
            schema=schema,
        )

    _write(path, schema, (rows,), group, seed)


def _unique_instants(
    rows: int, users: int, seed: int, opened: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return users and instants of `rows` different pairs, sorted.  # [rows], [rows]

    With `opened` each user has a row at the start of time; without, none has.
    """
    if rows < users:
        raise SystemExit(f"{rows} rows are too few for {users} users")
    rng = np.random.default_rng([seed, 1])
    user = np.sort(np.append(np.arange(users), rng.integers(users, size=rows - users)))
    instant = rng.integers(1, SPAN_US, size=rows)
    order = np.lexsort((instant, user))
    instant = instant[order]
    if opened:
        instant[np.searchsorted(user, np.arange(users))] = 0
    # A repeated instant moves on by a microsecond, and pushes those behind it. Each user is put on
    # a stretch of his own, so that one pass does it for all.
    number = np.arange(rows)
    stretch = user * (SPAN_US + rows)
    if users * (SPAN_US + rows) > np.iinfo(np.int64).max:
        raise ValueError(f"{users} users are too many")
    instant = np.maximum.accumulate(stretch + instant - number) + number - stretch
    return user, START_US + instant


def _named(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pc.cast(pa.array(numbers), pa.string()), "")


def _write(
    path: Path,
    schema: pa.Schema,
    parts: tuple[int, ...],
    group: Callable[[int, int, np.random.Generator], pa.Table],
    seed: int,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for number, (start, stop) in enumerate(_ranges(parts)):
            writer.write_table(group(start, stop, np.random.default_rng([seed, 2, number])))


def _ranges(parts: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    end = 0
    for part in parts:
        begin, end = end, end + part
        for start in range(begin, end, ROW_GROUP):
            yield start, min(start + ROW_GROUP, end)


def main() -> None:
    """Write what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("log", "head", "features", "entities"):
        command = commands.add_parser(name)
        command.add_argument("path", type=Path)
        if name == "head":
            command.add_argument("--source", type=Path, required=True)
            command.add_argument("--rows", type=int, required=True)
            continue
        command.add_argument("--users", type=int, required=True)
        command.add_argument("--seed", type=int, required=True)
        command.add_argument("--events" if name == "log" else "--rows", type=int, required=True)
        if name == "log":
            command.add_argument("--late", type=int, default=0)
        if name == "features":
            command.add_argument("--prefix", required=True)
            command.add_argument("--features", type=int, required=True)
    arguments = vars(parser.parse_args())
    write: dict[str, Callable[..., None]] = {
        "log": write_log,
        "head": head,
        "features": write_features,
        "entities": write_entities,
    }
    write[arguments.pop("what")](**arguments)


if __name__ == "__main__":
    main()
