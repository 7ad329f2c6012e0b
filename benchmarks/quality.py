"""How well the models predict on real logs, beside the baselines and simple reference code.

``python -m benchmarks.quality`` builds each log, fits every model from the one default
configuration with `trainer compare`, prints one table and writes it as JSON. The five shared logs
lie in ``data/logs``; CDNOW and MovieLens are what ``data/unpack_cdnow.py`` and
``data/unpack_movielens.py`` wrote. A log that is not there is left out, and the run is a trial.
It takes hours: with ``--resume``, the logs that an earlier run compared with the same parameters
are kept and others are added to them, so that they may be compared one after the other.
"""

import argparse
import json
import math
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.homes import build_features, trainer
from benchmarks.measurement import (
    ROOT,
    Aim,
    Result,
    add_common_arguments,
    add_resume,
    working_folder,
)
from benchmarks.settings import QUALITY_SEEDS
from trainer.config import load_config

LOGS = (
    *("code_changes", "moodle_courses", "news_reactions", "online_retail", "purchase_cards"),
    *("cdnow", "movielens"),
)
# What changes no other head: conversion is trained on the encoder that the next action made.
OVERRIDES = ("tasks.conversion=1",)
LARGEST_ECE = 0.03
TITLE = "Every model on real logs, from one configuration; values after the last cut"


@dataclass(frozen=True)
class Asked:
    """A figure of a task that is compared.

    Attributes
    ----------
    task, metric : str
        As in ``metrics.json``.
    at_most : bool
        Whether less is better.
    """

    task: str
    metric: str
    at_most: bool = False

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is better than `other`."""
        return one < other if self.at_most else one > other


NEXT_ACTION = Asked("next_action", "log_loss", at_most=True)
NEXT_ITEM = Asked("next_item", "mrr_20")
NEXT_CATEGORY = Asked("next_category", "mrr_20")

# The best that reference code of a few lines reached on the same cuts: boosting, or a GRU with the
# features and the user's own transitions; for items, counting. Log and task: figures.
TO_BEAT: dict[tuple[str, Asked], float] = {
    ("code_changes", NEXT_ACTION): 0.825,
    ("moodle_courses", NEXT_ACTION): 1.200,
    ("news_reactions", NEXT_ACTION): 0.825,
    ("online_retail", NEXT_ACTION): 0.334,
    ("purchase_cards", NEXT_ACTION): 0.616,
    ("code_changes", NEXT_ITEM): 0.487,
    ("moodle_courses", NEXT_ITEM): 0.810,
    ("online_retail", NEXT_ITEM): 0.102,
    ("purchase_cards", NEXT_ITEM): 0.377,
    ("purchase_cards", NEXT_CATEGORY): 0.645,
    ("news_reactions", NEXT_CATEGORY): 0.850,
}
# The same of conversions, with the share of the reference's rows that converted: it asked at other
# instants between events, and neither figure of a task says much without that share.
REFERENCE_CONVERSIONS = (
    ("moodle_courses", "7d", 0.227, 0.084, 0.023),
    ("online_retail", "7d", 0.373, 0.306, 0.113),
    ("online_retail", "30d", 0.719, 0.549, 0.387),
    ("code_changes", "7d", 0.849, 0.040, 0.039),
    ("news_reactions", "1d", 0.810, 0.180, 0.130),
    ("purchase_cards", "30d", 0.551, 0.215, 0.103),
)
REFERENCE_BASE: dict[tuple[str, str], float] = {}
for _log, _horizon, _precision, _loss, _base in REFERENCE_CONVERSIONS:
    _task = f"conversion_{_horizon}"
    TO_BEAT[_log, Asked(_task, "average_precision")] = _precision
    TO_BEAT[_log, Asked(_task, "log_loss", at_most=True)] = _loss
    REFERENCE_BASE[_log, _task] = _base

Metrics = dict[str, dict[str, dict[str, float | None]]]  # model -> task -> metric -> value


def measure(arguments: argparse.Namespace) -> Result:
    """Compare all models on each log that is there; what is compared is kept log by log."""
    result = Result(
        "quality",
        TITLE,
        {
            "seeds of a model": arguments.seeds,
            "seed": arguments.seed,
            "configuration": configuration(),
        },
        # What goes on with an earlier run adds to it; any other part of a run would replace it.
        trial=arguments.seeds != QUALITY_SEEDS or not arguments.resume,
    )
    if arguments.resume:
        result.rows = result.earlier_rows(arguments.results)
    with working_folder(arguments.work) as work:
        for log in arguments.logs:
            if any(row["log"] == log for row in result.rows) or not _events(log).exists():
                continue
            for row in rows(log, _compare(log, work / log, arguments.seeds, arguments.seed)):
                result.add(**row)
            _complete(result)
            result.finish(arguments.results)
    _complete(result)
    if {row["log"] for row in result.rows} == set(LOGS):
        result.trial = arguments.seeds != QUALITY_SEEDS
    return result


def _complete(result: Result) -> None:
    """Put the rows in order, and say what is held against them and which logs are missing."""
    result.rows.sort(key=lambda row: LOGS.index(row["log"]))
    result.aims = [aim for row in result.rows for aim in aims(row)]
    missing = [log for log in LOGS if all(row["log"] != log for row in result.rows)]
    result.title = TITLE + (f" (without {', '.join(missing)})" if missing else "")


def configuration() -> str:
    """Return eight digits that change with what every model is fitted with."""
    return f"{zlib.crc32(load_config(None, OVERRIDES).model_dump_json().encode()):08x}"


def _events(log: str) -> Path:
    path = Path(yaml.safe_load((ROOT / "data" / f"{log}.yml").read_text())["events_path"])
    return path if path.is_absolute() else ROOT / path


def _compare(log: str, home: Path, seeds: int, seed: int) -> Metrics:
    """Build a log and compare all models on it, as a user does."""
    dataset = f"data/{log}.yml"
    build_features(dataset, home)
    trainer(dataset, home, "compare", "--seeds", str(seeds), f"seed={seed}", *OVERRIDES)
    metrics = json.loads((home / "reports" / "compare.json").read_text())
    shutil.rmtree(home)  # gigabytes, of which nothing else is read
    return metrics


def rows(log: str, metrics: Metrics) -> Iterator[dict[str, Any]]:
    """Return a row of the table for each figure that is compared.

    Parameters
    ----------
    log : str
    metrics : dict
        What ``reports/compare.json`` holds; the sequence model is its last.
    """
    ours = list(metrics)[-1]
    for asked in _asked(metrics[ours]):
        mine = metrics[ours][asked.task]
        figure = mine.get(asked.metric)
        if figure is None:
            continue
        name, best = _best(asked, metrics, ours)
        low, high = mine.get(f"{asked.metric}_low"), mine.get(f"{asked.metric}_high")
        yield {
            "log": log,
            "task": asked.task,
            "metric": asked.metric,
            "rows": mine.get("rows"),
            "ours": figure,
            "95 %": None if low is None or high is None else f"{low:.3f} to {high:.3f}",
            "best baseline": best,
            "which": name,
            "to beat": TO_BEAT.get((log, asked)),
            "converted": mine.get("base"),
            "of theirs": REFERENCE_BASE.get((log, asked.task)),
            "ECE": mine.get("ece"),
        }


def _asked(tasks: Iterable[str]) -> list[Asked]:
    """Of each task of a model, the figures by which it is judged."""
    found = []
    for task in sorted(tasks):
        found += [each for each in (NEXT_ACTION, NEXT_ITEM, NEXT_CATEGORY) if each.task == task]
        if task.startswith("conversion_") and "." not in task:
            found += [Asked(task, "average_precision"), Asked(task, "log_loss", at_most=True)]
    return found


def _best(asked: Asked, metrics: Metrics, ours: str) -> tuple[str | None, float | None]:
    """The baseline that does best by a metric, and its figure."""
    name, best = None, None
    for model, tasks in metrics.items():
        figure = tasks.get(asked.task, {}).get(asked.metric)
        if model == ours or figure is None or math.isnan(figure):
            continue
        if best is None or asked.better(figure, best):
            name, best = model, figure
    return name, best


def aims(row: dict[str, Any]) -> list[Aim]:
    """What a row is held against: the reference figure, where there is one, and calibration."""
    found = []
    what = f"{row['log']}, {row['task']}"
    if row["to beat"] is not None:
        at_most = row["metric"] == "log_loss"
        found.append(Aim(f"{what}: {row['metric']}", row["ours"], row["to beat"], at_most))
    if row["ECE"] is not None and row["metric"] == "log_loss":
        found.append(Aim(f"{what}: ECE", row["ECE"], LARGEST_ECE))
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", nargs="+", choices=LOGS, default=LOGS)
    parser.add_argument("--seeds", type=int, default=QUALITY_SEEDS)
    add_common_arguments(parser)
    add_resume(parser)
    arguments = parser.parse_args()
    print(measure(arguments).finish(arguments.results))


if __name__ == "__main__":
    main()
