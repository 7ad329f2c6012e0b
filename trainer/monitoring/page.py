"""What ``monitor`` found as a page of the report: ``reports/monitor.html``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluation import TASK
from trainer.features import scale_order
from trainer.monitoring.bins import LABELS, NOW, PREDICTIONS
from trainer.monitoring.comparing import Moved
from trainer.monitoring.monitor import Monitoring
from trainer.report import drift_charts, files

PAGE = "monitor.html"
_FARTHEST = 25


def write_page(home: Path, found: Monitoring) -> Path:
    """Write the page; it needs no network and no script, and names no user."""
    return files.write_page(home / "reports" / PAGE, "monitor.html", **_content(found))


def group_order(group: str) -> tuple[int, tuple[int, str]]:
    """Labels, predictions, what has no scale, then the scales by their length."""
    first = (LABELS, PREDICTIONS, NOW)
    place = first.index(group) if group in first else len(first)
    return place, scale_order(group)


def _content(found: Monitoring) -> dict[str, Any]:
    moved = [each for period in found.periods for each in period.moved]
    groups = sorted({each.group for each in moved}, key=group_order)
    ends = [period.end[:10] for period in found.periods]
    table = np.full((len(groups), len(ends)), np.nan)
    for place, period in enumerate(found.periods):
        for group, columns in period.groups.items():
            table[groups.index(group), place] = max(each.psi for each in columns)
    tasks = sorted({task for period in found.periods for task in period.performance})
    return {
        "found": found,
        "task": TASK,
        "scales": drift_charts.heat(table, groups, ends) if groups else None,
        "losses": [
            drift_charts.over_time(
                task,
                ends,
                [period.performance.get(task) for period in found.periods],
                found.reference["performance"].get(task),
            )
            for task in tasks
        ],
        "farthest": _farthest(found),
    }


def _farthest(found: Monitoring) -> list[tuple[str, Moved, bool]]:
    """The farthest columns of the last period, and whether each is an alarm."""
    watched = [period for period in found.periods if period.moved]
    if not watched:
        return []
    last = watched[-1]
    alarmed = {alarm.of for alarm in last.alarms}
    moved = sorted(last.moved, key=lambda each: -each.js)[:_FARTHEST]
    return [(last.end, each, each.column in alarmed) for each in moved]
