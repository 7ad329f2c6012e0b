"""``monitor``: what became of a run's features, labels and predictions since it was fitted."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from feature_repo.home import labels_dir
from feature_repo.manifest import dataset_vars
from trainer.config import MonitorConfig
from trainer.dataset import Taxonomy
from trainer.examples import Examples, labelled
from trainer.features import Feature, features_at, open_checked_store
from trainer.fitting import one_publication
from trainer.instants import Instants, parse_duration, show_duration, show_instant
from trainer.labels import Labels, read_labels
from trainer.models.base import Predicting, Report, read_json
from trainer.monitoring.bins import Column, feature_columns
from trainer.monitoring.comparing import Alarm, Comparison, Period
from trainer.monitoring.performance import Answers, label_columns, performances
from trainer.monitoring.reference import read_reference
from trainer.monitoring.rows import Periods, newcomers, one_a_user
from trainer.runs import Run
from trainer.splits import last_event

REPORT = "monitor.json"


@dataclass(frozen=True)
class Monitoring:
    """Everything that was found.

    Attributes
    ----------
    run, dataset
        What was watched.
    reference
        What with: its ends, periods, users, and the figures of the validation part.
    thresholds
        The configuration.
    periods
        In order of time.
    """

    run: str
    dataset: str
    reference: dict[str, Any]
    thresholds: dict[str, Any]
    periods: tuple[Period, ...]

    @property
    def alarms(self) -> list[tuple[Period, Alarm]]:
        """Everything that crossed its threshold."""
        return [(period, alarm) for period in self.periods for alarm in period.alarms]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "run": self.run,
            "dataset": self.dataset,
            "alarms": len(self.alarms),
            "reference": self.reference,
            "thresholds": self.thresholds,
            "periods": [period.to_json() for period in self.periods],
        }


def monitor(
    home: Path,
    run: Run,
    config: MonitorConfig,
    report: Report,
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
    last: int | None = None,
) -> Monitoring:
    """Compare every whole period with what the run learned from: ``reports/monitor.json``.

    Parameters
    ----------
    home
        Home of the run, built since with the log as it is now.
    run
        The run, loaded.
    config
        Thresholds; the length of a period and the bins are those of the fit.
    report
        Takes lines of progress.
    start, end
        Between which periods are cut, from `start` on; from the end of the validation part to that
        of the log without them.
    last
        Only so many of them, the last ones.

    Raises
    ------
    BadInput
        Where there is no whole period, or nothing to compare with.
    """
    reference = read_reference(run.folder)
    _refuse_others(config, run.config.monitor)
    length = reference.periods.length
    if config.reference != "all":
        reference = reference.since(parse_duration(config.reference, "monitor.reference"))
    with one_publication(home):
        taxonomy = Taxonomy.from_vars(dataset_vars(home))
        labels = read_labels(labels_dir(home), horizons=taxonomy.horizons)
        log_end = last_event(labels.event_instants)
        begin = run.cuts.valid_end if start is None else start
        periods = Periods.between(begin, log_end if end is None else min(end, log_end), length)
        if last is not None and last < periods.count:
            skipped = periods.count - last
            periods = replace(periods, start=periods.start + length * skipped, count=last)
        if not periods.count:
            raise BadInput(
                f"no whole period of {show_duration(length)} lies between {show_instant(begin)} "
                f"and {show_instant(log_end if end is None else end)}; the log ends at "
                f"{show_instant(log_end)}"
            )
        rows = labels.take(periods.of(labels.instants) >= 0)
        report(f"reading {len(run.features)} features at {len(rows.users):,} instants")
        store = open_checked_store(home, run.features, run.name)
        features = features_at(store, rows.users, rows.instants, run.features)
        examples = labelled(rows, features, taxonomy.states)
    outside = Outside.read(home, labels)
    before = outside.share(reference.periods.start, reference.periods.ends[-1])
    watched = Watched(run.model, run.features, taxonomy, run.cuts.train_end)
    found = compare_periods(
        watched, examples, periods, Comparison(reference, config), log_end, outside, before
    )
    result = Monitoring(
        run=run.name,
        dataset=taxonomy.dataset,
        reference={
            "begin": show_instant(reference.periods.start),
            "end": show_instant(reference.periods.ends[-1]),
            "periods": reference.periods.count,
            "users": int(reference.users_since[0]),
            "newcomers": reference.new_within(length),
            "unknown": before,
            "performance": {k: each.to_json() for k, each in reference.performance.items()},
        },
        thresholds=config.model_dump(),
        periods=found,
    )
    path = home / "reports" / REPORT
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n")
    return result


def _refuse_others(config: MonitorConfig, fitted: MonitorConfig) -> None:
    for key in ("period", "bins"):
        if getattr(config, key) != getattr(fitted, key):
            raise BadInput(
                f"monitor.{key}={getattr(config, key)}: the run's reference was counted with "
                f"{getattr(fitted, key)}; run trainer fit monitor.{key}={getattr(config, key)}"
            )


@dataclass(frozen=True)
class Watched:
    """What is watched: a model, what it reads, and until when it learned.

    Attributes
    ----------
    model, features
        Of the run.
    taxonomy
        The dataset's.
    train_end
        Users without an event until then are new to the model.
    """

    model: Predicting
    features: tuple[Feature, ...]
    taxonomy: Taxonomy
    train_end: np.datetime64

    def columns(self, rows: Examples) -> list[tuple[Column, NDArray[np.bool_]]]:
        """Everything that is compared, and which rows have a value."""
        columns = feature_columns(self.features, rows.features, rows.instants)
        columns += Answers.of(self.model, rows).columns(self.taxonomy.states)
        every = np.ones(len(rows), dtype=bool)
        return [
            *((column, every) for column in columns),
            *label_columns(rows, self.taxonomy.states, self.taxonomy.horizons),
        ]


def compare_periods(
    watched: Watched,
    examples: Examples,
    periods: Periods,
    comparison: Comparison,
    log_end: np.datetime64,
    outside: Outside | None = None,
    outside_before: float | None = None,
) -> tuple[Period, ...]:
    """Compare each period's rows with the reference.

    Parameters
    ----------
    watched
        The model.
    examples
        Rows of all periods, with the labels that have arrived.
    periods
        Where they begin and end.
    comparison
        Reference and thresholds.
    log_end
        Until when anything was seen.
    outside, outside_before
        Events outside the taxonomy, and their share until training ended.
    """
    number = periods.of(examples.instants)
    answer = []
    for place in range(periods.count):
        begin, end = periods.begins[place], periods.ends[place]
        shown = show_instant(begin), show_instant(end)
        own = examples.take((number == place) & ~examples.landmarks)
        if not len(own):
            answer.append(Period(*shown, users=0, rows=0, judged=False))
            continue
        # A conversion that is seen early is known before one that does not come: a horizon counts
        # when all of the period's has passed.
        lengths = watched.taxonomy.horizon_lengths
        arrived = np.array([end + length <= log_end for length in lengths], dtype=bool)
        own = own.known_only(np.ones(len(own), dtype=bool), np.tile(arrived, (len(own), 1)))
        chosen = own.take(one_a_user(own, replace(periods, start=begin, count=1)))
        moved = comparison.columns(watched.columns(chosen), end)
        answers = Answers.of(watched.model, own)
        performance = performances(answers, own, watched.taxonomy.states, watched.taxonomy.horizons)
        new = newcomers(chosen, np.repeat(watched.train_end, len(chosen)))
        cold = int(new.sum()), len(chosen)
        usual = comparison.reference.new_within(end - watched.train_end)
        judged = len(chosen) >= comparison.config.users
        unknown = None if outside is None else outside.counted(begin, end)
        answer.append(
            Period(
                *shown,
                users=len(chosen),
                rows=len(own),
                judged=judged,
                moved=moved,
                performance=performance,
                waiting=tuple(sorted(answers.tasks - set(performance))),
                unknown=None if outside is None else outside.share(begin, end),
                cold=cold[0] / cold[1],
                newcomers=float(newcomers(chosen, np.repeat(begin, len(chosen))).mean()),
                usual_cold=usual,
                alarms=comparison.alarms(moved, performance, unknown, outside_before, cold, usual)
                if judged
                else (),
            )
        )
    return tuple(answer)


@dataclass(frozen=True)
class Outside:
    """Events outside the taxonomy by UTC day, as the build counted them, beside all events.

    Attributes
    ----------
    days, counts
        # [days]; ``None`` where the build did not count
    events
        # [accepted events], ascending
    accepted
        Whether they are among the accepted ones, as another action.
    """

    days: NDArray[np.datetime64]
    counts: NDArray[np.int64] | None
    events: Instants
    accepted: bool

    @classmethod
    def read(cls, home: Path, labels: Labels) -> Outside:
        """What ``reports/quality.json`` says."""
        path = home / "reports" / "quality.json"
        by_day = read_json(path).get("unknown_action_rows") if path.is_file() else None
        return cls(
            np.array(list(by_day or ()), dtype="datetime64[D]"),
            None if by_day is None else np.array(list(by_day.values()), dtype=np.int64),
            labels.event_instants,
            (dataset_vars(home).get("unknown_actions") or "reject") != "reject",
        )

    def counted(self, begin: np.datetime64, end: np.datetime64) -> tuple[int, int] | None:
        """Events outside, and all, on the days whose noon lies after `begin` and until `end`."""
        if self.counts is None:
            return None
        noon = np.timedelta64(12, "h")
        inside = (self.days + noon > begin) & (self.days + noon <= end)
        count = int(self.counts[inside].sum())
        first, after = ((each + noon).astype("datetime64[D]") for each in (begin, end))
        known = np.searchsorted(self.events, np.array([first, after], dtype="datetime64[us]"))
        return count, int(known[1] - known[0]) + (0 if self.accepted else count)

    def share(self, begin: np.datetime64, end: np.datetime64) -> float | None:
        """Those outside of all; ``None`` where nobody knows."""
        counted = self.counted(begin, end)
        return counted[0] / counted[1] if counted is not None and counted[1] else None
