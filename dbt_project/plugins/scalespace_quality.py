"""The quality report of a build: reports/quality.json, and the same for people in quality.html."""

import json
from pathlib import Path
from typing import Any

from scalespace_publishing import write_whole
from scalespace_quality_page import duration, page

WHOLE = (
    *("raw_rows", "accepted_rows", "duplicate_rows", "rejected_rows"),
    *("unknown_action_rows", "user_count"),
)
QUANTILES = ("p50", "p90", "p99", "max")
# Measures with a value for each key, whatever the log holds of them.
KEYED = ("rejected_rows", "unknown_action_rows", "lag_seconds", "action_share", "null_share")
# What is said of the build before, and not of this log.
COMPARED = ("previous_action_share", "action_mix_drift")


def write_quality(home: str, dataset: str, rows: str) -> str:
    """Write both reports, each whole or not at all, and return the line for the terminal.

    Parameters
    ----------
    home : str
        The folder of the run.
    dataset : str
        Its name.
    rows : str
        JSON list of ``[measure, key, value]``: the model `quality`.

    Notes
    -----
    The drift is against the last published build of another log. Building the same log again
    compares with the same build as before and gives the same bytes.
    """
    folder = Path(home) / "reports"
    report = {"dataset": dataset, **_nested(json.loads(rows))}
    before = _read(folder / "quality.json")
    if before is not None and {k: v for k, v in before.items() if k not in COMPARED} == report:
        report = before
    else:
        previous = before.get("action_share") if before else None
        report["previous_action_share"] = previous
        report["action_mix_drift"] = total_variation(report["action_share"], previous)
    write_whole(folder / "quality.json", json.dumps(report, indent=2) + "\n")
    write_whole(folder / "quality.html", page(report))
    return _line(report)


def total_variation(
    shares: dict[str, float | None], previous: dict[str, float | None] | None
) -> float | None:
    """Return the part of the events that would need another action to make one mix the other.

    Half the sum of the differences, from 0 to 1; None where one of the two has no events.
    """
    mixes = [{k: v for k, v in (mix or {}).items() if v is not None} for mix in (shares, previous)]
    if not all(mixes):
        return None
    one, other = mixes
    actions = sorted(one.keys() | other.keys())
    return sum(abs(one.get(action, 0.0) - other.get(action, 0.0)) for action in actions) / 2


def _nested(rows: list[list[Any]]) -> dict[str, Any]:
    """``{measure: value}``, or ``{measure: {key: value}}`` where it has keys."""
    found: dict[str, Any] = {name: {} for name in KEYED}
    for measure, key, value in sorted(rows, key=lambda row: (row[0], _place(row[1]))):
        if value is not None and measure in WHOLE:
            value = int(value)
        if measure in KEYED:
            found[measure][key] = value
        else:
            found[measure] = value
    return dict(sorted(found.items()))


def _place(key: str) -> tuple[int, str]:
    return (QUANTILES.index(key) if key in QUANTILES else len(QUANTILES), key)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # the first build, or what somebody has made of the file
    return found if isinstance(found, dict) else None


def _line(report: dict[str, Any]) -> str:
    if not report["accepted_rows"]:
        return "no event was accepted"
    users = report["user_count"]
    parts = [f"{users:,} user{'s'[: users != 1]} over {report['span_days']:,.1f} days"]
    if report["late_share"] is not None:
        lag = report["lag_seconds"]
        lags = f"{duration(lag['p50'])} (p50), {duration(lag['p99'])} (p99)"
        parts.append(f"{report['late_share']:.1%} late, lag {lags}")
    parts.append(f"{report['ties_share']:.1%} ties")
    if report["action_mix_drift"] is not None:
        parts.append(f"action mix {report['action_mix_drift']:.1%} off the build before")
    return "; ".join(parts) + "; reports/quality.html"
