"""Logs through the stream, event by event, against what dbt says at every step."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbt_runner import ROOT
from dbt_session import DbtSession
from streaming_replay import (
    Comparison,
    Event,
    OnlineRowsInMemory,
    Published,
    compile_in,
    home_beside,
    replay,
    settle,
    split_log,
    tail_begins,
    write_dataset,
)
from trainer.streaming.engine import Engine
from trainer.streaming.events import Arrival, Verdict

SHOP = yaml.safe_load((ROOT / "data" / "shop.yml").read_text(encoding="utf-8"))


EVERY_VIEW = 23  # of users


@dataclass
class Replay:
    """A finished replay; its engine is still open."""

    comparison: Comparison
    verdicts: list[Verdict]
    engine: Engine
    online: OnlineRowsInMemory
    clock: list[datetime]
    events: list[Event]

    @property
    def accounting(self) -> Counter[str]:
        return Counter(verdict.reason or verdict.verdict for verdict in self.verdicts)


def replay_tail(
    session: DbtSession,
    variables: dict[str, Any],
    built: Path,
    folder: Path,
    head_rows: int,
    sizes: Callable[[int], int],
    settle_every: int,
    stop: int | None = None,
) -> Replay:
    """Start from the first rows of a log, and stream the rest of it (or its first `stop`)."""
    head, events = split_log(variables, folder, head_rows)
    online, clock = OnlineRowsInMemory(), [tail_begins(events)]
    dataset, home = write_dataset(head, folder / "head.yml"), home_beside(built, folder)
    compile_in(session, dataset, home)
    engine = Engine(dataset, home, online, clock=lambda: clock[0])
    full = Published(built, sorted(view.name for view in engine.views))
    comparison, verdicts = replay(engine, clock, online, events[:stop], full, sizes, settle_every)
    return Replay(comparison, verdicts, engine, online, clock, events)


def mixed_sizes(seed: int) -> Callable[[int], int]:
    """Mostly single events, and batches of all sizes up to a hundred."""
    rng = random.Random(seed)
    return lambda _: rng.choice([1, 1, 1, 1, 2, 5, 20, 100])


def test_the_end_of_the_bundled_log(
    dbt_session: DbtSession, shop_home: Path, tmp_path: Path
) -> None:
    """Late, duplicate and broken rows are among them; the first eight come one by one."""
    replayed = replay_tail(
        dbt_session, SHOP, shop_home, tmp_path, 29_263, lambda batch: 1 if batch < 8 else 60, 5
    )
    replayed.engine.close()
    assert replayed.comparison.differences == []
    assert len(replayed.engine.views) == EVERY_VIEW
    assert len(replayed.verdicts) == 600
    assert replayed.comparison.cells > 40_000
    assert replayed.accounting["accepted"] > 500
    assert replayed.accounting["duplicate"] > 0


@pytest.mark.slow
def test_what_came_late_against_a_build_of_what_was_known_then(
    dbt_session: DbtSession, shop_home: Path, tmp_path: Path
) -> None:
    """Twice in the middle of the stream: everything that is online, late events and all."""
    folder = tmp_path / "replay"
    folder.mkdir()
    head, events = split_log(SHOP, folder, 28_463)
    online, clock = OnlineRowsInMemory(), [tail_begins(events)]
    dataset = write_dataset(head, folder / "head.yml")
    home = home_beside(shop_home, folder)
    engine = Engine(dataset, home, online, clock=lambda: clock[0])
    # Patterns are those of the last build, and a build as of then fits others.
    views = sorted(view.name for view in engine.views if view.name != "user_pattern")
    seen: dict[str | None, datetime] = {}
    late = 0
    for known in (250, 500):
        batch = events[known - 250 : known]
        for event in batch:
            if event.at is not None and event.arrived is not None:
                late += event.at < seen.get(event.user, event.at)
                seen[event.user] = max(event.at, seen.get(event.user, event.at))
                clock[0] = max(clock[0], event.arrived)
        engine.take([Arrival(event.values) for event in batch])
        settle(engine, clock, clock[0])
        build = dbt_session(tmp_path / str(known), {**SHOP, "known_at": clock[0].isoformat()})
        assert build.returncode == 0, build.output
        then, comparison = Published(build.home, views), Comparison()
        for view in views:
            expected = then.in_force(view, online.rows[view], clock[0])
            for user, row in online.rows[view].items():
                comparison.rows(view, user, expected.get(user), row)
        assert comparison.differences == []
        assert comparison.cells > 5_000
    engine.close()
    assert late > 0


@pytest.mark.slow
def test_a_million_cells_of_the_bundled_log(
    dbt_session: DbtSession, shop_home: Path, tmp_path: Path
) -> None:
    replayed = replay_tail(dbt_session, SHOP, shop_home, tmp_path, 26_263, mixed_sizes(1), 4)
    replayed.engine.close()
    assert replayed.comparison.differences == []
    assert len(replayed.verdicts) == 3_600
    print(f"{replayed.comparison.cells:,} cells at {replayed.comparison.steps:,} steps")
    assert replayed.comparison.cells > 1_000_000


@pytest.mark.slow
def test_the_end_of_a_real_log(dbt_session: DbtSession, tmp_path: Path) -> None:
    """A log without ids and without arrivals, in which the place in the file breaks ties."""
    variables = yaml.safe_load((ROOT / "data" / "news_reactions.yml").read_text(encoding="utf-8"))
    if not (ROOT / variables["events_path"]).exists():
        pytest.skip("the real logs lie outside the repository")
    # The full build reads what the stream will have read, in the order in which it came.
    arrived, _ = split_log(variables, tmp_path, 10**9)
    built = dbt_session(tmp_path / "built", arrived)
    assert built.returncode == 0, built.output
    folder = tmp_path / "replay"
    folder.mkdir()
    replayed = replay_tail(dbt_session, arrived, built.home, folder, 30_000, mixed_sizes(2), 8)
    replayed.engine.close()
    assert replayed.comparison.differences == []
    print(f"{replayed.comparison.cells:,} cells at {replayed.comparison.steps:,} steps")
    assert replayed.comparison.cells > 1_000_000
    assert replayed.accounting["duplicate"] > 0
