"""``report``: what a home knows of a run, read and drawn, as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.ablation import source_worth
from trainer.backtesting import REPORT as BACKTESTED
from trainer.backtesting import SPLITS as FOLDS
from trainer.comparing import REPORT as COMPARED
from trainer.conversion_evaluation import conversion_task, is_conversion_task
from trainer.early_stopping import best_epoch
from trainer.evaluation import TASK, Metrics
from trainer.examples import Dataset, Examples
from trainer.fitting import read_dataset
from trainer.instants import show_duration, show_instant
from trainer.models.base import ConversionModel, Report, read_json
from trainer.models.markov import Markov
from trainer.models.recurrent import Recurrent
from trainer.monitoring.monitor import REPORT as MONITORED
from trainer.reliability import reliability, top_reliability
from trainer.report import charts, source_charts
from trainer.report.files import write_page
from trainer.report.measured import SLICES, by_slice, with_intervals
from trainer.report.pictures import Picture, span
from trainer.report.rankings import ranking_sections
from trainer.report.users import ShownUser, shown_users
from trainer.report.waits import waits_section
from trainer.runs import Run
from trainer.shuffling import EVENTS_ALONE, OrderEffect, verdict
from trainer.shuffling import REPORT as SHUFFLED
from trainer.training import reproducible

REPORT = "report.html"
_WEIGHTS = {
    "weighted": "weight, the same for everyone",
    "gated": "weight, mean over the rows",
    "additive": "spread of its logits, mean over the rows",
}
_WAIT_SLICES = {"": "event instants"} | {
    f".{key}": words for key, words in SLICES.items() if key != "short_histories"
}


@dataclass(frozen=True)
class ShownReasons:
    """An example user and the picture of his reasons."""

    user: ShownUser
    picture: Picture


def write_report(home: Path, run: Run, report: Report) -> Path:
    """Write ``reports/report.html``.

    Parameters
    ----------
    home
        Home of the run; the store must have the features that it was fitted on.
    run
        The run, loaded.
    report
        Takes lines of progress.

    Returns
    -------
    path
        Of the file.
    """
    dataset = read_dataset(home, run, rankings=True)
    with reproducible(run.config.seed, run.config.threads):
        content = _content(home, run, dataset, report)
    return write_page(home / "reports" / REPORT, "report.html", **content)


def _content(home: Path, run: Run, dataset: Dataset, report: Report) -> dict[str, Any]:
    test = dataset.test
    judged = test.take((test.labels >= 0) & ~test.landmarks)
    report(f"drawing {len(judged):,} instants of {len(np.unique(judged.owners)):,} users")
    compared = home / "reports" / COMPARED
    network = run.model if isinstance(run.model, Recurrent) else None
    explained = network if network is not None and network.predicts_next_action else None
    return {
        "run": run,
        "split": read_json(run.folder / "split.json"),
        "cuts": {
            "train_end": show_instant(run.cuts.train_end),
            "valid_end": show_instant(run.cuts.valid_end),
            "purge": show_duration(run.cuts.train_purge),
        },
        "data": _data(home),
        "results": _results(run.metrics, run.model.name),
        "compared": _results(read_json(compared), run.model.name) if compared.is_file() else None,
        "backtest": _backtest(home, run.model.name),
        "order": _order(home),
        "drift": _drift(home),
        "slice_names": SLICES,
        "slices": _slices(run.metrics),
        "rankings": ranking_sections(run.model, dataset, run.metrics, compared, run.model.name),
        "waits": waits_section(run.model, dataset),
        "wait_slices": _WAIT_SLICES,
        "matrix": _matrix(run),
        "curve": _curve(run.info.get("curve") or []),
        "calibration": _calibration(run, test, judged),
        "sources": None if explained is None else _sources(explained, judged),
        "users": [] if explained is None else _users(explained, judged),
        "judged": len(judged),
    }


def _data(home: Path) -> dict[str, Any]:
    """What the build said of the log; a part that it did not write is ``None``."""
    found: dict[str, Any] = {}
    for name in ("accounting", "quality"):
        path = home / "reports" / f"{name}.json"
        found[name] = read_json(path) if path.is_file() else None
    quality = found["quality"]
    found["span"] = found["lag"] = found["actions"] = None
    if quality is not None and quality.get("lag_seconds"):
        lags = (quality["lag_seconds"].get(name) for name in ("p50", "p90", "p99"))
        found["lag"] = ", ".join("–" if lag is None else span(lag) for lag in lags)
    if quality is not None and quality.get("first_event_at") is not None:
        ends = (quality["first_event_at"], quality["last_event_at"])
        found["span"] = [show_instant(np.datetime64(int(end), "s")) for end in ends]
    if quality is not None and quality.get("action_share"):
        mix = dict(sorted(quality["action_share"].items(), key=lambda pair: -pair[1])[:20])
        found["actions"] = charts.shares(mix, "Events by action", "share of the events (%)")
    return found


def _results(metrics: Metrics, own: str) -> dict[str, Any]:
    """Tables of each task's models, and a chart of the next action's log-loss."""
    tasks = {name for found in metrics.values() for name in found}
    rows = with_intervals(metrics, TASK, "log_loss")
    return {
        "own": own,
        "metrics": metrics,
        "conversions": sorted(filter(is_conversion_task, tasks)),
        "has_next_action": TASK in tasks,
        "chart": charts.intervals(
            rows,
            "Log-loss of the next action",
            "log-loss (nats), 95 % over users; lower is better",
            own,
        )
        if rows
        else None,
    }


def _backtest(home: Path, own: str) -> dict[str, Any] | None:
    """What the last ``backtest`` found, where there was one."""
    paths = [home / "reports" / name for name in (BACKTESTED, FOLDS)]
    if not all(path.is_file() for path in paths):
        return None
    metrics, folds = (read_json(path) for path in paths)
    shown = [name for name, tasks in metrics.items() if TASK in tasks]
    return {"own": own, "models": shown, "metrics": metrics, "folds": folds} if shown else None


def _order(home: Path) -> str | None:
    """What the last ``shuffle-test`` found, where there was one."""
    path = home / "reports" / SHUFFLED
    if not path.is_file():
        return None
    return verdict(OrderEffect(**read_json(path)[EVENTS_ALONE]))


def _drift(home: Path) -> dict[str, Any] | None:
    """What the last ``monitor`` found, where there was one."""
    path = home / "reports" / MONITORED
    return read_json(path) if path.is_file() else None


def _slices(metrics: Metrics) -> Picture | None:
    values, rows = by_slice(metrics, TASK, SLICES, "log_loss")
    if not rows:
        return None
    return charts.slice_chart(values, rows, "Log-loss of the next action by slice")


def _matrix(run: Run) -> Picture | None:
    chain = next((model for model in run.models if isinstance(model, Markov)), None)
    if chain is None:
        return None
    return charts.transitions(chain.matrix, chain.counts.sum(axis=1), run.states)


def _curve(curve: list[dict[str, Any]]) -> Picture | None:
    if not curve:
        return None
    losses = [epoch["stop_loss"] for epoch in curve]
    best = None if None in losses else best_epoch(losses)
    return charts.learning_curves(curve, best, "Loss by epoch")


def _calibration(run: Run, test: Examples, judged: Examples) -> list[Picture]:
    drawn = []
    if len(judged) and getattr(run.model, "predicts_next_action", True):
        chances = run.model.predict_proba(judged)
        found = top_reliability(chances, judged.labels, judged.owners)
        title = "Next action: the likeliest state"
        drawn.append(charts.reliability_diagram(found, title, "probability of the likeliest state"))
    if isinstance(run.model, ConversionModel):
        for place, horizon in enumerate(run.model.horizons):
            known = test.take(~np.isnan(test.conversions[:, place]))
            if not len(known):
                continue
            chances = run.model.predict_conversion(known)[:, place]
            found = reliability(chances, known.conversions[:, place], known.owners)
            title = conversion_task(horizon).replace("_", " within ").capitalize()
            drawn.append(charts.reliability_diagram(found, title, "probability of a conversion"))
    return drawn


def _sources(model: Recurrent, judged: Examples) -> dict[str, Any] | None:
    known = judged.take(judged.lengths > 0)
    if not len(known):
        return None
    found = sorted(
        source_worth(model, known), key=lambda each: source_charts.source_order(each.source)
    )
    fusion = model.config.fusion
    return {
        "picture": source_charts.source_chart(found, _WEIGHTS.get(fusion.kind, "")),
        "rows": [(source_charts.source_name(each.source), each) for each in found],
        "weighted": fusion.kind in _WEIGHTS,
        "kind": fusion.kind,
        "dropout": fusion.scale_dropout,
    }


def _users(model: Recurrent, judged: Examples) -> list[ShownReasons]:
    return [
        ShownReasons(user, source_charts.reasons_chart(user.reasons, user.ages))
        for user in shown_users(model, judged)
    ]
