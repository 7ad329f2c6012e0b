"""Feed a log through the stream, and compare with what a build says of each step."""

from __future__ import annotations

import math
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml

from dbt_runner import ROOT
from dbt_session import DbtSession
from trainer.streaming import compiled
from trainer.streaming.compiled import compile_statements
from trainer.streaming.computation import read_log
from trainer.streaming.engine import Engine
from trainer.streaming.events import Arrival, Verdict

Row = dict[str, Any]
CLOCK = datetime(2024, 5, 1, 12, tzinfo=UTC)  # after the bundled log's end


class OnlineRowsInMemory:
    """An online store that keeps what was in force last of each view and user."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {}
        self._since: dict[tuple[str, str], datetime] = {}
        self.writes = 0

    def write(self, views: Sequence[tuple[str, pa.Table]], now: datetime) -> int:
        self.writes += 1
        for view, rows in views:
            kept = self.rows.setdefault(view, {})
            for row in rows.drop_columns(["computed_at"]).to_pylist():
                key = view, row["user_id"]
                if now >= self._since.get(key, now):
                    kept[row["user_id"]], self._since[key] = row, now
        return sum(rows.num_rows for _, rows in views)

    def tidy(self) -> None:
        pass


@dataclass
class Event:
    """A row of a log on its way into a stream."""

    values: dict[str, str | None]
    user: str | None
    at: datetime | None
    arrived: datetime | None


@dataclass
class Comparison:
    """Cells compared, and what differed."""

    cells: int = 0
    steps: int = 0
    differences: list[str] = field(default_factory=list)

    def rows(self, view: str, user: str, expected: Row | None, found: Row | None) -> None:
        """Compare one user's rows in force, bit for bit, null and zero and NaN apart."""
        if expected is None or found is None:
            if expected is not found:
                self.differences.append(f"{view} of {user}: {expected} in dbt, {found} online")
            return
        assert set(expected) - {"computed_at"} == set(found)
        for name, value in found.items():
            if name == "user_id":
                continue
            self.cells += 1
            if not _same(expected[name], value):
                self.differences.append(
                    f"{view} of {user} at {found['event_timestamp']}: {name} is "
                    f"{expected[name]!r} in dbt and {value!r} online"
                )


def _same(expected: Any, found: Any) -> bool:
    if type(expected) is not type(found):
        return False
    if isinstance(expected, float):
        same_sign = math.copysign(1, expected) == math.copysign(1, found)
        return expected == found and same_sign or expected != expected and found != found
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(_same, expected, found))
    return bool(expected == found)


class Published:
    """The user views of a build, asked as readers do."""

    def __init__(self, home: Path, views: Iterable[str]):
        self.views = list(views)
        self._connection = duckdb.connect()
        self._connection.execute("set TimeZone = 'UTC'")
        for view in self.views:
            self._connection.execute(
                f"create table {view} as from read_parquet('{home}/features/{view}.parquet')"
            )

    def in_force(self, view: str, users: Iterable[str], at: datetime) -> dict[str, Row]:
        """The latest row at or before an instant of each of some users."""
        found = self._connection.sql(
            f"select * from {view} where user_id in (select unnest(?)) and event_timestamp <= ? "
            "qualify row_number() over (partition by user_id order by event_timestamp desc) = 1",
            params=[list(users), at.replace(tzinfo=None)],
        ).to_arrow_table()
        return {row["user_id"]: row for row in found.to_pylist()}


def split_log(
    variables: dict[str, Any], folder: Path, head_rows: int
) -> tuple[dict[str, Any], list[Event]]:
    """Write the first rows of a log, in order of arrival, as a log of its own.

    Returns
    -------
    variables
        The dataset file of that log.
    events
        The rest, as text, in order of arrival: by ``ingested_at``, else by their own instant.
    """
    path = ROOT / variables["events_path"]
    names = variables["columns"]
    is_csv = path.suffix == ".csv"
    reader = f"read_csv('{path}', all_varchar = true)" if is_csv else f"read_parquet('{path}')"
    learned = names.get("ingested_at", names["event_timestamp"])
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(
            f"create table log as select *, row_number() over () as place from {reader}"
        )
        instant = 'try_cast("{}" as timestamp)'
        connection.execute(
            "create table ordered as select *, row_number() over (order by coalesce("
            f"{instant.format(learned)}, {instant.format(names['event_timestamp'])}) nulls first, "
            "place) as turn from log"
        )
        head = folder / f"head{path.suffix}"
        form = "format csv, header" if is_csv else "format parquet"
        connection.execute(
            "copy (select * exclude (place, turn) from ordered where "
            f"turn <= {head_rows} order by turn) to '{head}' ({form})"
        )
        rows = connection.sql(
            "select columns(* exclude (place, turn))::varchar, "
            f'"{names["user_id"]}"::varchar as __user, '
            f"{instant.format(names['event_timestamp'])} as __at, "
            f"coalesce({instant.format(learned)}, {instant.format(names['event_timestamp'])}) "
            f"as __arrived from ordered where turn > {head_rows} order by turn"
        ).to_arrow_table()
    events = []
    for row in rows.to_pylist():
        user, at, arrived = row.pop("__user"), row.pop("__at"), row.pop("__arrived")
        events.append(
            Event(
                row,
                user,
                at and at.replace(tzinfo=UTC),
                arrived and arrived.replace(tzinfo=UTC),
            )
        )
    return {**variables, "events_path": str(head)}, events


def write_dataset(variables: dict[str, Any], file: Path) -> str:
    """Write a dataset file and return its path."""
    file.write_text(yaml.safe_dump(variables), encoding="utf-8")
    return str(file)


def compile_in(session: DbtSession, dataset: str, home: Path) -> None:
    """Compile a stream's statements in a session, and leave them where the stream looks for them.

    As `trainer stream` does it in a process of its own, which ``shop_statements`` is made by.
    """

    def run(variables: dict[str, Any], folder: Path) -> tuple[int, list[str]]:
        arguments = ("--quiet", "--select", *compiled.COMPILED)
        build = session(folder, variables, *arguments, command="compile")
        return build.returncode, build.output.splitlines()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_run_dbt", run)
        compile_statements(dataset, home)


def home_beside(built: Path, folder: Path, statements: Path | None = None) -> Path:
    """A home that reads what another one has built, with a journal of its own."""
    home = folder / "home"
    home.mkdir()
    if statements is not None:
        shutil.copytree(statements, home / statements.name)
    for name in ("features", "labels", ".published", "target", "warehouse.duckdb", "reports"):
        os.symlink(built / name, home / name)
    return home


def replay(
    engine: Engine,
    clock: list[datetime],
    online: OnlineRowsInMemory,
    events: list[Event],
    full: Published,
    sizes: Callable[[int], int],
    settle_every: int,
) -> tuple[Comparison, list[Verdict]]:
    """Feed events in order of arrival, and compare rows in force after each batch.

    A full build knows events that the stream does not know yet. They make no difference to a row at
    an instant before them, so a user is compared unless one of his events up to now is still to
    come. After a batch these are the users with an accepted event in it; at times, when the engine
    has followed the time, all whom it has put online.

    Parameters
    ----------
    engine, clock, online
        The engine, the one instant that is its now, and the store that it writes to.
    events
        In order of arrival.
    full
        A build of the whole log.
    sizes
        The size of the batch with this number.
    settle_every
        After so many batches everybody is compared.
    """
    to_come: dict[str | None, list[datetime]] = {}
    for event in events:
        if event.at is not None:
            to_come.setdefault(event.user, []).append(event.at)
    comparison, verdicts = Comparison(), []
    batches = 0
    while len(verdicts) < len(events):
        batch = events[len(verdicts) : len(verdicts) + sizes(batches)]
        batches += 1
        clock[0] = max(clock[0], *(e.arrived for e in batch if e.arrived is not None), clock[0])
        answers = engine.take([Arrival(event.values) for event in batch])
        verdicts += answers
        assert engine.waiting == 0
        for event in batch:
            if event.at is not None:
                to_come[event.user].remove(event.at)
        users = {e.user for e, v in zip(batch, answers, strict=True) if v.verdict == "accepted"}
        if batches % settle_every == 0:
            settle(engine, clock, clock[0])
            users = {user for rows in online.rows.values() for user in rows}
        compared = sorted(
            user
            for user in users
            if user is not None and all(at > clock[0] for at in to_come.get(user, ()))
        )
        comparison.steps += len(compared)
        for view in full.views:
            expected = full.in_force(view, compared, clock[0])
            for user in compared:
                found = online.rows.get(view, {}).get(user)
                comparison.rows(view, user, expected.get(user), found)
    return comparison, verdicts


def settle(engine: Engine, clock: list[datetime], now: datetime) -> None:
    """Let time pass until `now`, and the engine follow it."""
    clock[0] = now
    while engine.idle():
        pass
    assert engine.overdue == 0
    assert engine.waiting == 0


def tail_begins(events: list[Event]) -> datetime:
    """The clock before the first event."""
    first = min(e.arrived for e in events if e.arrived is not None)
    return first - timedelta(microseconds=1)


def shop_events(count: int, users: int, seed: int = 1) -> list[dict[str, str | None]]:
    """New events of the bundled log, in order, with ids of their own."""
    rng = random.Random(seed)
    return [
        {
            "user_id": f"u{rng.randrange(users):03}",
            "action_type": rng.choice(["browse", "search", "cart", "purchase"]),
            "time_stamp": (CLOCK - timedelta(seconds=count - number)).isoformat(),
            "event_id": f"new-{seed}-{number}",
            "item_id": rng.choice(["i001", "i002", None]),
        }
        for number in range(count)
    ]


def known_events(home: Path, prefix: str) -> Counter[str]:
    """How often staging counts each new event of the journal."""
    statements = compile_statements(str(ROOT / "data" / "shop.yml"), home)
    rows, _ = read_log(statements, sorted((home / "journal").glob("events-*")), datetime.now(UTC))
    return Counter(
        row["event_id"]
        for row in rows.select(["event_id", "verdict"]).to_pylist()
        if row["verdict"] == "accepted" and row["event_id"].startswith(prefix)
    )
