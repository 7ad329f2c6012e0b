"""Charts: marks stand where the numbers say, and any text stays text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from trainer.features import Feature
from trainer.serving import charts
from trainer.serving.history import Series
from trainer.serving.schemas import Event

START = datetime(2024, 3, 1, tzinfo=UTC)
HOSTILE = '"><script>alert(1)</script>&amp;'


def parse(svg: str) -> ElementTree.Element:
    """An SVG is XML: what was not escaped does not parse, or is an element of its own."""
    return ElementTree.fromstring(svg)


def texts(svg: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in svg.iter("text")]


def test_bars_are_as_long_as_the_shares() -> None:
    svg = parse(charts.distribution({"a": 0.25, "b": 0.75, "c": 0.0}))
    bars = [e for e in svg.iter("rect") if "bar" in e.get("class", "")]
    track = next(e for e in svg.iter("rect") if e.get("class") == "track")
    shares = [float(bar.get("width", "")) / float(track.get("width", "")) for bar in bars]
    assert shares == pytest.approx([0.25, 0.75, 0.0])
    assert [bar.get("class") for bar in bars] == ["bar", "bar top", "bar"]
    assert svg.find("desc").text == "a 0.250, b 0.750, c 0.000"


def test_a_timeline_has_a_mark_an_event_in_its_lane() -> None:
    events = [
        Event(action_type=action, event_timestamp=START + timedelta(hours=hours))
        for action, hours in (("b", 0), ("a", 5), ("b", 10))
    ]
    svg = parse(charts.timeline(events, ("a", "b", "c", "leave"), START + timedelta(hours=20)))
    marks = [(float(e.get("cx", "")), float(e.get("cy", ""))) for e in svg.iter("circle")]
    left, right = marks[0][0], max(float(e.get("x2", "")) for e in svg.iter("line"))
    assert [x for x, _ in marks] == pytest.approx(
        [left, left + (right - left) / 4, (left + right) / 2]
    )
    assert marks[0][1] == marks[2][1] != marks[1][1]
    assert texts(svg)[:2] == ["a", "b"]  # no lane for what never happened
    assert svg.find("desc").text == (
        "3 events from 2024-03-01 00:00 UTC to 2024-03-01 10:00 UTC: 1 a, 2 b."
    )


def test_events_of_one_instant_draw() -> None:
    event = Event(action_type="a", event_timestamp=START)
    svg = parse(charts.timeline([event, event], ("a",), START))
    assert len(list(svg.iter("circle"))) == 2


def line_of(values: list[float | None]) -> Series:
    instants = np.datetime64("2024-03-01", "us") + np.arange(len(values)) * np.timedelta64(1, "D")
    return Series(Feature("view_7d", "n_7d", "BIGINT", "view", "7d"), instants, values)


def test_a_series_is_made_of_steps() -> None:
    svg = parse(charts.series(line_of([None, 0.0, 10.0, 5.0, None, 5.0]), "s"))
    path = svg.find("path").get("d")
    # From 44 to 330 in five steps of 57.2; 0 at 90 and 10 at 12.
    assert path == "M101.2 90.0H158.4V12.0H215.6V51.0M330.0 51.0"
    assert texts(svg) == ["0", "10", "2024-03-01", "2024-03-06"]
    assert svg.find("desc").text == "5 at the end, highest 10 at 2024-03-03 00:00 UTC, lowest 0."


@pytest.mark.parametrize("values", [[None] * 3, [0.0] * 3, [-2.0, -1.0, -3.0], [4.0] * 3])
def test_a_series_without_any_change_draws(values: list[float | None]) -> None:
    svg = parse(charts.series(line_of(values), "s"))
    numbers = re.findall(r"-?\d+\.\d", (svg.find("path") or {}).get("d", "") if values[0] else "")
    assert all(12 <= float(number) <= 330 for number in numbers)
    assert svg.find("title").text == "n_7d"


def test_no_text_becomes_markup() -> None:
    events = [Event(action_type=HOSTILE, event_timestamp=START)]
    feature = Feature("v", HOSTILE, "BIGINT", "v", HOSTILE)
    days = np.array(["2024-03-01", "2024-03-02"], dtype="datetime64[us]")
    for drawn, said in (
        (charts.distribution({HOSTILE: 1.0}), f"{HOSTILE} 1.000"),
        (charts.timeline(events, (HOSTILE,), START), f"1 {HOSTILE}."),
        (charts.series(Series(feature, days, [1.0, 2.0]), "s"), HOSTILE),
    ):
        assert "<script" not in drawn
        svg = parse(drawn)
        assert said in f"{svg.findtext('title')} {svg.findtext('desc')}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0, "0"), (7, "7"), (0.25, "0.25"), (1 / 3, "0.333"), (-12.5, "-12.5")),
        *((9999, "9999"), (12_345, "12.3k"), (1_239_000, "1.24M"), (5e9, "5G"), (-20_000, "-20k")),
    ],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert charts.number(value) == shown
