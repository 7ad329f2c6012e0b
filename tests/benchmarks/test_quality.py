"""The table of quality is made of what compare.json holds, and says who was better."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import quality
from benchmarks.measurement import Result
from benchmarks.quality import LOGS, Asked, aims, rows

METRICS = {
    "marginal": {"next_action": {"log_loss": 0.9}, "conversion_7d": {"average_precision": 0.2}},
    "markov_1": {"next_action": {"log_loss": 0.8}, "next_item": {"mrr_20": 0.1}},
    "item_mixture": {"next_item": {"mrr_20": 0.3}, "next_action": {"log_loss": None}},
    "lstm": {
        "next_action": {
            "rows": 10.0,
            "log_loss": 0.85,
            "log_loss_low": 0.8,
            "log_loss_high": 0.9,
            "ece": 0.05,
        },
        "next_action.cold_users": {"log_loss": 0.1},
        "next_item": {"mrr_20": 0.4},
        "conversion_7d": {"average_precision": 0.25, "log_loss": 0.3, "ece": 0.01, "base": 0.2},
    },
}


def test_each_task_is_judged_by_its_figures_against_the_best_baseline() -> None:
    found = {(row["task"], row["metric"]): row for row in rows("purchase_cards", METRICS)}
    assert list(found) == [
        ("conversion_7d", "average_precision"),
        ("conversion_7d", "log_loss"),
        ("next_action", "log_loss"),
        ("next_item", "mrr_20"),
    ]
    # Less is better of one, more of the other.
    action, item = found["next_action", "log_loss"], found["next_item", "mrr_20"]
    assert (action["which"], action["best baseline"]) == ("markov_1", 0.8)
    assert (item["which"], item["best baseline"]) == ("item_mixture", 0.3)
    assert action["95 %"] == "0.800 to 0.900"
    assert (action["to beat"], item["to beat"]) == (0.616, 0.377)
    assert found["conversion_7d", "log_loss"]["best baseline"] is None


def test_a_conversion_stands_beside_the_share_that_converted() -> None:
    (ours, theirs), *_ = (
        (row["converted"], row["of theirs"])
        for row in rows("moodle_courses", METRICS)
        if row["task"] == "conversion_7d"
    )
    assert (ours, theirs) == (0.2, 0.023)
    (action,) = (r for r in rows("moodle_courses", METRICS) if r["task"] == "next_action")
    assert (action["converted"], action["of theirs"]) == (None, None)


def test_aims_are_met_or_not_by_the_figure() -> None:
    (action,) = (r for r in rows("purchase_cards", METRICS) if r["task"] == "next_action")
    loss, calibration = aims(action)
    assert (loss.figure, loss.limit, loss.met) == (0.85, 0.616, False)
    assert (calibration.figure, calibration.limit, calibration.met) == (0.05, 0.03, False)
    (item,) = (r for r in rows("purchase_cards", METRICS) if r["task"] == "next_item")
    (reached,) = aims(item)
    assert (reached.at_most, reached.met) == (False, True)


def test_better_is_by_the_metric() -> None:
    assert Asked("t", "log_loss", at_most=True).better(0.1, 0.2)
    assert not Asked("t", "mrr_20").better(0.1, 0.2)


def measured(
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    logs: tuple[str, ...] = LOGS,
    seeds: int = 3,
    stops_at: str = "",
    resume: bool = True,
) -> tuple[list[str], Result]:
    """The logs that a resumed run compares, and its result; it may be stopped at one of them."""
    compared = []

    def compare(log: str, *_: object) -> quality.Metrics:
        if log == stops_at:
            raise KeyboardInterrupt
        compared.append(log)
        return METRICS

    monkeypatch.setattr(quality, "_compare", compare)
    monkeypatch.setattr(quality, "_events", lambda log: results)
    asked = argparse.Namespace(
        logs=logs, seeds=seeds, seed=7, resume=resume, work=None, results=results
    )
    return compared, quality.measure(asked)


def test_a_run_goes_on_where_another_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, monkeypatch, stops_at=LOGS[2])
    # One log more, and the table says which are missing; the rest makes it whole.
    compared, result = measured(tmp_path, monkeypatch, logs=("movielens",))
    assert (compared, result.trial) == (["movielens"], False)
    assert result.title == f"{quality.TITLE} (without {', '.join(LOGS[2:-1])})"
    result.finish(tmp_path)
    compared, result = measured(tmp_path, monkeypatch)
    assert (compared, result.trial, result.title) == (list(LOGS[2:-1]), False, quality.TITLE)
    per_log = len(list(rows("cdnow", METRICS)))
    assert [row["log"] for row in result.rows] == [log for log in LOGS for _ in range(per_log)]
    assert result.aims == [aim for log in LOGS for row in rows(log, METRICS) for aim in aims(row)]


def test_a_part_of_a_run_replaces_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured(tmp_path, monkeypatch)[1].finish(tmp_path).read_text()
    part = measured(tmp_path, monkeypatch, logs=LOGS[:1], resume=False)[1].finish(tmp_path)
    assert part.name == "quality-trial.json"
    assert (tmp_path / "quality.json").read_text() == whole
    assert not measured(tmp_path, monkeypatch, resume=False)[1].trial  # all logs, at once


def test_what_other_settings_gave_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(tmp_path, monkeypatch)[1].finish(tmp_path)
    assert measured(tmp_path, monkeypatch)[0] == []
    compared, result = measured(tmp_path, monkeypatch, seeds=1)
    assert (compared, result.trial) == (list(LOGS), True)
    monkeypatch.setattr(quality, "OVERRIDES", ("tasks.conversion=1", "encoder.cell=gru"))
    assert measured(tmp_path, monkeypatch)[0] == list(LOGS)


def test_a_stopped_write_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(tmp_path, monkeypatch, logs=LOGS[:1])[1].finish(tmp_path)
    whole = json.loads((tmp_path / "quality.json").read_text())["rows"]
    with monkeypatch.context() as broken, pytest.raises(OSError):
        broken.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        measured(tmp_path, monkeypatch, logs=LOGS[:2])
    assert json.loads((tmp_path / "quality.json").read_text())["rows"] == whole
