"""What keeps a stream in order: the bot rule, a journal that is pruned, a graceful stop."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from dbt_runner import ROOT
from dbt_session import DbtSession
from streaming_replay import (
    CLOCK,
    OnlineRowsInMemory,
    compile_in,
    home_beside,
    known_events,
    settle,
    shop_events,
    write_dataset,
)
from trainer.streaming.compiled import FOLDER
from trainer.streaming.engine import Engine
from trainer.streaming.events import Arrival, Verdict
from trainer.streaming.journal import Journal
from trainer.streaming.pruning import prune
from trainer.terminal import journal_lines
from warm_python import WarmPython

LIMIT = 8


@pytest.fixture(scope="module")
def ruled(
    dbt_session: DbtSession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """A log of its own with the bot rule: its dataset file, the log, the compiled statements."""
    folder = tmp_path_factory.mktemp("ruled")
    shop = yaml.safe_load((ROOT / "data" / "shop.yml").read_text(encoding="utf-8"))
    lines = (ROOT / "data" / "shop.csv").read_text(encoding="utf-8").splitlines(True)
    log = folder / "log.csv"
    log.write_text("".join(lines[:200]), encoding="utf-8")
    rule = {"events_path": str(log), "bots": {"events_per_hour": LIMIT}}
    dataset = Path(write_dataset({**shop, **rule}, folder / "log.yml"))
    compile_in(dbt_session, str(dataset), folder / "home")
    return dataset, log, folder / "home" / FOLDER


def visit(user: str, number: int, at: datetime) -> Arrival:
    return Arrival(
        {
            "user_id": user,
            "action_type": "browse",
            "time_stamp": at.isoformat(),
            "event_id": f"{user}-{number}",
        }
    )


def test_a_bot_is_told_from_the_event_on_that_makes_him_one(
    ruled: tuple[Path, Path, Path], shop_home: Path, tmp_path: Path
) -> None:
    """The verdicts that a build at each instant would give, and what has become of his events."""
    dataset, _, statements = ruled
    home = home_beside(shop_home, tmp_path, statements)
    online, clock = OnlineRowsInMemory(), [CLOCK]
    engine = Engine(str(dataset), home, online, clock=lambda: clock[0])
    begin = CLOCK - timedelta(hours=2)
    ok, bot = Verdict("accepted"), Verdict("rejected", "bot")

    def send(user: str, numbers: range, minutes: float) -> list[Verdict]:
        step = timedelta(minutes=minutes)
        return engine.take([visit(user, n, begin + n * step) for n in numbers])

    # Eight in an hour are no more than eight; the ninth is exactly an hour after the first.
    assert send("human", range(LIMIT + 1), 60 / LIMIT) == [ok] * (LIMIT + 1)
    assert send("robot", range(LIMIT), 1) == [ok] * LIMIT
    assert online.rows["user_activity_all"]["robot"]["event_count_all"] == LIMIT
    # In one batch with an event of his that would be none too many by itself.
    assert send("robot", range(LIMIT, LIMIT + 2), 1) == [bot, bot]
    assert send("robot", range(LIMIT, LIMIT + 1), 1) == [Verdict("duplicate")]
    # From then on none of his events counts, however long he pauses.
    assert send("robot", range(100, 101), 1) == [bot]
    assert send("human", range(LIMIT + 1, LIMIT + 2), 60 / LIMIT) == [ok]
    settle(engine, clock, CLOCK)
    engine.close()

    # A start judges the log and the journal at once, as a build does.
    again = Engine(str(dataset), home, OnlineRowsInMemory(), clock=lambda: clock[0])
    judged = {verdict for n, verdict in again._judged.items() if n > LIMIT + 1}
    assert list(again._judged.values()).count("bot") == LIMIT + 3
    assert judged == {"bot", "accepted"}
    assert again.take([visit("robot", 200, CLOCK)]) == [bot]
    again.close()


def test_what_the_log_has_as_well_can_go_and_nothing_else(
    ruled: tuple[Path, Path, Path], shop_home: Path, tmp_path: Path
) -> None:
    dataset, log, statements = ruled
    home = home_beside(shop_home, tmp_path, statements)
    first, second, third = (shop_events(6, users=3, seed=seed) for seed in (21, 22, 23))

    def stream(events: list[dict[str, str | None]]) -> None:
        engine = Engine(str(dataset), home, OnlineRowsInMemory(), clock=lambda: CLOCK)
        assert {v.verdict for v in engine.take([Arrival(e) for e in events])} == {"accepted"}
        engine.close()

    def a_build_is_published() -> None:
        """As far as the stream sees it: its last line is older than the publication."""
        for path in (home / "journal").glob("events-*"):
            os.utime(path, (0, 0))

    stream(first)
    stream(second[:1])
    a_build_is_published()
    stream(second[1:])
    a_build_is_published()
    stream(third)
    found = prune(str(dataset), home, remove=True, now=CLOCK)
    assert [(file.lines, file.only_here) for file in found.files] == [(7, 7), (5, 5), (6, 6)]
    assert found.spare == ()

    # The log is exported with the events of the first file, and all but one of the second's.
    before = log.read_text(encoding="utf-8")
    with log.open("a", newline="", encoding="utf-8") as file:
        names = before.splitlines()[0].split(",")
        writer = csv.DictWriter(file, names, restval="")
        writer.writerows([*first, *second[:-1], *third])
    try:
        looked = prune(str(dataset), home, remove=False, now=CLOCK)
        assert [(file.lines, file.only_here) for file in looked.files] == [(7, 0), (5, 1), (6, 0)]
        # The last file stays, whatever the log has.
        assert [file.path.name for file in looked.spare] == ["events-000000000001.ndjson"]
        assert len(list((home / "journal").glob("events-*"))) == 3
        assert journal_lines(looked, removed=False) == [
            "files: 3, with 18 events; the log does not have 1 of them",
            "files that can be removed with --prune, because the log has all of their events: 1 "
            f"(7 events, {looked.spare[0].size:,} bytes)",
        ]
        assert prune(str(dataset), home, remove=True, now=CLOCK).spare == looked.spare
        left = sorted(path.name for path in (home / "journal").glob("events-*"))
        assert left == ["events-000000000008.ndjson", "events-000000000013.ndjson"]

        # Each event still counts once, comes again as a duplicate, and the numbers go on.
        engine = Engine(str(dataset), home, OnlineRowsInMemory(), clock=lambda: CLOCK)
        everything = [Arrival(event) for event in [*first, *second, *third]]
        assert {v.verdict for v in engine.take(everything)} == {"duplicate"}
        assert engine.journal.last == 18 + 18
        engine.close()
    finally:
        log.write_text(before, encoding="utf-8")


def test_a_stream_that_is_told_to_stop_answers_what_it_took(
    shop_home: Path, shop_statements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM to a real process, with events on their way in: answered are those that it kept."""
    from feature_repo.store import apply

    home = home_beside(shop_home, tmp_path, shop_statements)
    monkeypatch.setenv("SCALESPACE_HOME", str(home))
    apply(home)
    pipe = subprocess.PIPE
    process = WarmPython("-m", "trainer", "stream", stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    events = shop_events(300, users=20, seed=31)
    lines = [json.dumps(event).encode() + b"\n" for event in events]
    process.stdin.write(b"".join(lines[:20]))
    process.stdin.flush()
    answers = [json.loads(process.stdout.readline())]
    process.stdin.write(b"".join(lines[20:]))
    process.stdin.flush()
    process.send_signal(signal.SIGTERM)
    answers += [json.loads(line) for line in process.stdout]
    said = process.stderr.read().decode()
    assert process.wait(60) == 0, said
    assert "Traceback" not in said
    assert [answer["line"] for answer in answers] == list(range(1, len(answers) + 1))
    assert {answer["verdict"] for answer in answers} == {"accepted"}
    counted = known_events(home, "new-31-")
    assert set(counted) == {str(event["event_id"]) for event in events[: len(answers)]}
    assert set(counted.values()) == {1}
    journal = Journal(home)  # the lock is free, and everything is online
    assert journal.applied == journal.last == len(answers)
    journal.close()
