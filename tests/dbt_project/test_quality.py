"""The quality of a log: measured right, written only with a publication, readable by people."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dbt_runner import Build
from dbt_session import PROJECT, DbtSession
from oracle import OracleConfig, account
from published import published_bytes
from strategies import random_log, write_log

CLOCK = 1_767_225_600_000_000  # 2026-01-01: after every accepted event, before every reject
CONFIG = OracleConfig(
    actions=["view", "buy"],
    action_roles={"buy": "conversion"},
    measures={"amount": 2},
    horizons={"1d": 86_400_000_000},
)


@pytest.fixture(scope="module")
def project(staging_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Staging and quality alone."""
    folder = tmp_path_factory.mktemp("quality_project") / "dbt_project"
    shutil.copytree(staging_project, folder, symlinks=True)
    shutil.copytree(PROJECT / "models" / "quality", folder / "models" / "quality")
    return folder


@pytest.fixture
def measure(dbt_session: DbtSession, project: Path, tmp_path: Path) -> Callable[..., Build]:
    """Build the quality of a log, always in the same home."""

    def build(variables: dict[str, Any]) -> Build:
        return dbt_session(tmp_path / "home", variables, project=project)

    return build


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function that renders a report, as dbt loads it."""
    monkeypatch.syspath_prepend(str(PROJECT / "plugins"))
    import scalespace_quality_page

    yield scalespace_quality_page.page
    del sys.modules["scalespace_quality_page"]


def report(build: Build) -> dict[str, Any]:
    assert build.returncode == 0, build.output
    return json.loads((build.home / "reports" / "quality.json").read_text())


def line(build: Build) -> str:
    (said,) = [text for text in build.output.splitlines() if "scalespace: quality: " in text]
    return said.split("scalespace: quality: ")[1]


def log(folder: Path, *actions: str, name: str = "log.csv") -> dict[str, Any]:
    rows = [f"u,{what},2024-01-01 10:0{place}:00" for place, what in enumerate(actions)]
    (folder / name).write_text("\n".join(["who,what,at", *rows]) + "\n")
    return {
        "dataset": "toy",
        "events_path": str(folder / name),
        "columns": {"user_id": "who", "action_type": "what", "event_timestamp": "at"},
        "actions": ["view", "buy", "ask"],
    }


def test_the_measures_of_a_random_log(measure: Callable[..., Build], tmp_path: Path) -> None:
    # A seed whose log says when its rows arrived.
    rows, _ = random_log(12, events=300, config=CONFIG)
    assert "ingested_at" in rows[0]
    events, duplicates, rejected = account(rows, CONFIG, CLOCK)
    found = report(measure(write_log(rows, tmp_path, CONFIG)[1]))

    assert found["raw_rows"] == len(rows)
    assert found["accepted_rows"] == len(events)
    assert found["duplicate_rows"] == duplicates
    assert found["rejected_rows"] == {reason: n for reason, n in rejected.items() if n}
    assert sum(found["unknown_action_rows"].values()) == rejected["unknown_action"] > 0
    assert found["user_count"] == len({event.user_id for event in events})
    instants = [event.ts for event in events]
    assert found["first_event_at"] == min(instants) / 1e6
    assert found["last_event_at"] == max(instants) / 1e6
    assert found["span_days"] == (max(instants) - min(instants)) / 86_400e6

    arrived = {id(e): e.ts if e.ingested_at is None else e.ingested_at for e in events}
    late = sum(
        any(
            other.user_id == e.user_id and other.ts > e.ts and arrived[id(other)] < arrived[id(e)]
            for other in events
        )
        for e in events
    )
    assert 0 < late < len(events)
    assert found["late_share"] == late / len(events)
    lags = sorted((arrived[id(e)] - e.ts) / 1e6 for e in events)
    assert found["lag_seconds"]["max"] == lags[-1]
    assert found["lag_seconds"]["p50"] == lags[(len(lags) + 1) // 2 - 1]

    shared = Counter((event.user_id, event.ts) for event in events)
    ties = sum(n for n in shared.values() if n > 1)
    assert ties > 0
    assert found["ties_share"] == ties / len(events)
    assert found["action_share"] == {
        action: sum(event.action == action for event in events) / len(events)
        for action in CONFIG.actions
    }
    # An empty text is none, a time that cannot be read is none; a key that the log lacks is absent.
    nulls = found["null_share"]
    assert set(nulls) == {key for key in rows[0] if key not in ("batch", "raw_order")}
    for column in ("user_id", "item_id", "duration_ms", "amount"):
        assert nulls[column] == sum(row[column] in (None, "") for row in rows) / len(rows), column
    bad = sum(not isinstance(row["event_timestamp"], int) for row in rows)
    assert nulls["event_timestamp"] == bad / len(rows)


def test_the_drift_is_against_the_build_before(
    measure: Callable[..., Build], tmp_path: Path
) -> None:
    first = measure(log(tmp_path, "view", "view", "view", "buy"))
    assert report(first)["action_mix_drift"] is None
    assert report(first)["previous_action_share"] is None
    assert line(first) == "1 user over 0.0 days; 0.0% ties; reports/quality.html"

    # view 3/4 -> 1/2, buy 1/4 -> 1/4, ask 0 -> 1/4: a quarter of the events do something else.
    second = measure(log(tmp_path, "view", "view", "ask", "buy"))
    assert report(second)["action_mix_drift"] == 0.25
    assert report(second)["previous_action_share"] == {"view": 0.75, "buy": 0.25, "ask": 0.0}
    assert "action mix 25.0% off the build before" in line(second)

    # The same log again is no other build to compare with: the same bytes.
    before = published_bytes(second.home)
    assert published_bytes(measure(log(tmp_path, "view", "view", "ask", "buy")).home) == before
    assert {"reports/quality.json", "reports/quality.html"} <= set(before)

    # A log without events has no mix, and after it nothing can be compared.
    empty = measure(log(tmp_path))
    assert report(empty)["action_mix_drift"] is None
    assert report(empty)["late_share"] is None
    assert line(empty) == "no event was accepted"
    assert report(measure(log(tmp_path, "ask")))["action_mix_drift"] is None


def test_a_build_that_is_not_published_leaves_the_reports(
    measure: Callable[..., Build], project: Path, tmp_path: Path
) -> None:
    before = published_bytes(measure(log(tmp_path, "view", "buy")).home)
    failing = project / "models" / "quality" / "broken.sql"
    failing.write_text("select error('no') as x from {{ ref('quality') }}")
    try:
        build = measure(log(tmp_path, "buy", "buy"))
    finally:
        failing.unlink()
    assert build.returncode == 1
    assert "scalespace: quality: " not in build.output
    assert published_bytes(build.home) == before


class Page(HTMLParser):
    """Collects what a page holds, and that every element is closed."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        assert not {"src", "href"} & {name for name, _ in attrs}, tag
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


def test_the_page_can_be_read_without_anything_else(page: Any) -> None:
    text = page(
        {
            "dataset": "<b>&",
            "raw_rows": 2_000,
            "accepted_rows": 1_500,
            "duplicate_rows": 300,
            "rejected_rows": {"null_user": 200},
            "user_count": 12,
            "first_event_at": datetime(2024, 1, 1).timestamp(),
            "last_event_at": None,
            "span_days": 3.25,
            "late_share": None,
            "lag_seconds": {"p50": 3.0, "p90": 600.0, "p99": 7_200.0, "max": 259_200.0},
            "ties_share": 0.5,
            "action_share": {"view": 0.25, "buy": 0.75},
            "null_share": {"item_id": 0.125},
            "previous_action_share": {"view": 0.5, "ask": 0.5},
            "action_mix_drift": 0.75,
        }
    )
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert "http" not in text and "<script" not in text
    read = Page()
    read.feed(text)
    assert read.open == []
    assert read.tags["table"] == read.tags["caption"] == 4
    shown = read.texts
    assert shown.count("Quality of the log <b>&") == 2  # title and heading

    def row(name: str, cells: int) -> list[str]:
        return shown[shown.index(name) + 1 :][:cells]

    assert row("accepted", 2) == ["1,500", "75.00%"]
    assert row("rejected: null_user", 2) == ["200", "10.00%"]
    assert row("last event", 1) == ["unknown"]
    assert row("from event to arrival, p50", 1) == ["3.0 s"]
    assert row("from event to arrival, p90", 1) == ["10.0 min"]
    assert row("from event to arrival, p99", 1) == ["2.0 h"]
    assert row("from event to arrival, max", 1) == ["3.0 days"]
    # The most frequent first, and what is no action any more last.
    assert [shown.index(action) for action in ("buy", "view", "ask")] == sorted(
        shown.index(action) for action in ("buy", "view", "ask")
    )
    assert row("view", 2) == ["25.00%", "50.00%"]
    assert row("ask", 2) == ["unknown", "50.00%"]
    assert row("item_id", 1) == ["12.50%"]
    assert "75.00% of the events would have to be of another action" in text
