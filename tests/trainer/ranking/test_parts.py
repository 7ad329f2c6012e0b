"""What is counted, against the words of its definition on a log with ties and gaps."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta

import numpy as np
import pytest
import synthetic_log as synthetic
from ranking_logs import START, instant, item_log, nasty_log, rows_at, table_of

from trainer.ranking import entries, scoring
from trainer.ranking.popularity import Popularity
from trainer.ranking.rankers import BackedOff
from trainer.ranking.scoring import PARTS, Parts

Counts = dict[str, float]
WINDOWS = {"1h": 1, "1d": 24, "7d": 168, "30d": 720, "all": 10**6}


def naive(log: synthetic.Log, user: str, at: datetime) -> dict[str, Counts]:
    """Weights of every part at an instant, one event at a time."""
    found: dict[str, Counts] = {name: defaultdict(float) for name in PARTS}
    own = [event for event in log.users.get(user, []) if event.at <= at]
    for place, event in enumerate(own):
        if event.item is None:
            continue
        back = len(own) - place
        opening = place == 0 or own[place - 1].at < event.at
        found["own_all"][event.item] += 1
        found["own_recent"][event.item] += 1 / back if back <= 50 else 0
        found["own_7d"][event.item] += event.at > at - timedelta(days=7)
        found["own_opening"][event.item] += opening
    last = next((event.item for event in reversed(own) if event.item is not None), None)
    everybody = [
        (event.at, name, place, event)
        for name, events in log.users.items()
        for place, event in enumerate(events)
        if event.at <= at
    ]
    hour = at.replace(minute=0, second=0, microsecond=0)
    for when, name, place, event in everybody:
        if event.item is None:
            continue
        history = log.users[name]
        opening = place == 0 or history[place - 1].at < when
        before = next((e.item for e in reversed(history[:place]) if e.item is not None), None)
        if opening and before is not None and before == last:
            found["step"][event.item] += 1
            found["own_step"][event.item] += name == user
        for scale, length in WINDOWS.items():
            if hour - timedelta(hours=length) <= when < hour if scale != "all" else when < hour:
                found[f"popular_{scale}"][event.item] += 1
                if scale == "30d":
                    found["opening_30d"][event.item] += opening
    return found


@pytest.fixture(scope="module")
def asked() -> tuple[synthetic.Log, list[tuple[str, datetime]]]:
    log, rng = nasty_log(), random.Random(1)
    instants = [event.at for events in log.users.values() for event in events]
    pairs = []
    for _ in range(60):
        at = rng.choice(instants) + timedelta(minutes=rng.choice([0, 0, 30, 100_000]))
        pairs.append((rng.choice(list(log.users)), at.replace(microsecond=0)))
    return log, sorted(pairs, key=lambda pair: pair[1])


def test_every_part_is_what_its_definition_says(
    asked: tuple[synthetic.Log, list[tuple[str, datetime]]],
) -> None:
    log, pairs = asked
    table = table_of(log)
    rows = rows_at(table, [u for u, _ in pairs], [np.datetime64(at, "us") for _, at in pairs])
    parts = Parts(table)
    counted = parts.count(rows)
    judged = [name for name in PARTS if name not in ("live", "newest", "uniform")]
    for place, name in enumerate(PARTS):
        if name not in judged:
            continue
        # A part alone gives its shares, of every value at once and of one target.
        weights = np.zeros((len(rows), len(PARTS)))
        weights[:, place] = 1.0
        table_found = parts.mix(counted, weights)
        for row, (user, at) in enumerate(pairs):
            expected = naive(log, user, at)[name]
            total = sum(expected.values())
            shares = [expected[item] / total if total else 0.0 for item in table.names]
            assert table_found[row] == pytest.approx(shares, abs=1e-12), (name, user, at)
            assert counted.totals[row, place] == pytest.approx(total)


def test_a_target_has_the_score_that_the_table_has(
    asked: tuple[synthetic.Log, list[tuple[str, datetime]]],
) -> None:
    log, pairs = asked
    table = table_of(log)
    rows = rows_at(table, [u for u, _ in pairs], [np.datetime64(at, "us") for _, at in pairs])
    random_weights = np.random.default_rng(0).dirichlet(np.ones(len(PARTS)), len(rows))
    parts = Parts(table)
    counted = parts.count(rows)
    scores = parts.mix(counted, random_weights)
    known = rows.known
    for code in range(table.values):
        asking = scoring.Counted(
            type(rows)(table, rows.owners, rows.ends, rows.instants, np.full(len(rows), code)),
            counted.entries,
            counted.totals,
        )
        found = (random_weights * parts.of_targets(asking)).sum(axis=1)
        assert found == pytest.approx(np.where(code < known, scores[:, code], 0.0), abs=1e-12)
    assert (scores[np.arange(table.values) >= known[:, None]] == 0).all()


def test_live_and_newest_look_back_from_the_instant() -> None:
    log = item_log(u=[(0, "a"), (2, "b")], v=[(1, "b"), (3, "c")])
    found = entries.live_entries(rows_at(log, ["u"], [instant(2)]))
    live, newest = found["live"], found["newest"]
    assert live.codes.tolist() == [0, 1, 1]
    assert live.weights.tolist() == pytest.approx([1 / 13, 1 / 12, 1 / 11])
    assert newest.codes.tolist() == [0, 1]  # c is not seen yet
    assert newest.weights.tolist() == [1 / 2, 1]


def test_popularity_does_not_depend_on_how_it_is_asked(
    asked: tuple[synthetic.Log, list[tuple[str, datetime]]],
) -> None:
    table = table_of(asked[0])
    instants = np.sort(np.array([at for _, at in asked[1]], dtype="datetime64[us]"))
    for scale in WINDOWS:
        at_once = Popularity(table).counts(scale, instants)
        again = Popularity(table)
        for size in (1, 7):  # the second round goes back in time
            parted = [
                again.counts(scale, instants[begin : begin + size])
                for begin in range(0, len(instants), size)
            ]
            assert np.array_equal(np.concatenate(parted), at_once), scale
        for code in range(table.values):
            one = again.of(scale, instants, np.full(len(instants), code))
            assert np.array_equal(one, at_once[:, code])


def test_an_event_counts_from_the_end_of_its_hour() -> None:
    log = item_log(u=[(10.5, "a"), (11, "a")])
    popular = Popularity(log)
    asked = np.array([instant(10.9), instant(11), instant(11.9), instant(12), instant(13)])
    assert popular.counts("1h", asked)[:, 0].tolist() == [0, 1, 1, 1, 0]
    assert popular.counts("all", asked)[:, 0].tolist() == [0, 1, 1, 2, 2]


def test_nothing_later_changes_a_score(
    asked: tuple[synthetic.Log, list[tuple[str, datetime]]],
) -> None:
    log, _ = asked
    cut = START + timedelta(days=4)
    scores = []
    for known in (log, log.until(cut)):
        table = table_of(known)
        rows = rows_at(table, ["u0", "u3"], [np.datetime64(cut, "us")] * 2)
        ((_, found),) = BackedOff("own_recent", "popular_7d", 1.0).scores(rows)
        now = int(rows.known[0])
        scores.append((table.names[:now].tolist(), found[:, :now].tolist()))
    assert scores[0] == scores[1]


def test_the_same_scores_in_blocks_of_any_size(
    asked: tuple[synthetic.Log, list[tuple[str, datetime]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, pairs = asked
    table = table_of(log)
    rows = rows_at(table, [u for u, _ in pairs], [np.datetime64(at, "us") for _, at in pairs])
    tables = []
    for cells in (1, 7 * table.values, 10**6):
        monkeypatch.setattr(scoring, "_CELLS", cells)
        found = np.zeros((len(rows), table.values))
        for chosen, scores in BackedOff("step", "popular_1d", 3.0).scores(rows):
            found[chosen] = scores
        tables.append(found)
    assert np.array_equal(tables[0], tables[1])
    assert np.array_equal(tables[0], tables[2])
