"""The quality report as one page that needs nothing else: no script, no font, no network."""

from datetime import UTC, datetime
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: #8885; --bar: #4a7dbd; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
table { border-collapse: collapse; width: 100%; margin: 1.75rem 0; }
caption { text-align: left; font-weight: 600; padding-bottom: .35rem; }
th, td { text-align: left; font-weight: 400; padding: .3rem .75rem .3rem 0; vertical-align: top; }
tr { border-top: 1px solid var(--line); }
thead th { font-size: .875rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 35%; }
td.bar span { display: block; height: .75rem; margin-top: .4rem; background: var(--bar); }
p.note { margin: -1.25rem 0 0; font-size: .875rem; }
"""


def page(report: dict[str, Any]) -> str:
    """Return the whole HTML page of a quality report."""
    title = f"Quality of the log {escape(report['dataset'])}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            f'<head><meta charset="utf-8"><title>{title}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head>",
            f"<body><main><h1>{title}</h1>",
            _rows(report),
            _events(report),
            _actions(report),
            _nulls(report),
            "</main></body></html>",
            "",
        ]
    )


def duration(seconds: float | None) -> str:
    """Return a number of seconds in the unit in which people would say it."""
    if seconds is None:
        return "unknown"
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def _rows(report: dict[str, Any]) -> str:
    raw = report["raw_rows"]
    counts = [("accepted", report["accepted_rows"]), ("duplicates", report["duplicate_rows"])]
    counts += [(f"rejected: {reason}", n) for reason, n in report["rejected_rows"].items()]
    shares = [n / raw if raw else None for _, n in counts]
    rows = [
        [escape(name), f"{n:,}", _share(share), _bar(share)]
        for (name, n), share in zip(counts, shares, strict=True)
    ]
    return _table(f"What became of {raw:,} rows", ["", "rows", "share", ""], rows)


def _events(report: dict[str, Any]) -> str:
    lag = report["lag_seconds"]
    rows = [
        ["users", f"{report['user_count']:,}"],
        ["first event", _instant(report["first_event_at"])],
        ["last event", _instant(report["last_event_at"])],
        ["span", _unless_null(report["span_days"], "{:,.1f} days")],
        ["at one instant with another of the user (ties)", _share(report["ties_share"])],
        ["arrived after a later one of the user (late)", _share(report["late_share"])],
        *([f"from event to arrival, {quantile}", duration(lag[quantile])] for quantile in lag),
    ]
    return _table("The accepted events", ["", ""], rows)


def _actions(report: dict[str, Any]) -> str:
    previous = report["previous_action_share"] or {}
    shares = report["action_share"]
    ranked = sorted(shares, key=lambda action: (-(shares[action] or 0.0), action))
    gone = sorted(previous.keys() - shares.keys())
    rows = [
        [
            escape(action),
            _share(shares.get(action)),
            _share(previous.get(action)),
            _bar(shares.get(action)),
        ]
        for action in [*ranked, *gone]
    ]
    table = _table("What users did", ["action", "share", "build before", ""], rows)
    drift = report["action_mix_drift"]
    if drift is None:
        return f"{table}<p class=note>There is no build before to compare with.</p>"
    return (
        f"{table}<p class=note>{drift:.2%} of the events would have to be of another action to "
        "make this mix that of the build before.</p>"
    )


def _nulls(report: dict[str, Any]) -> str:
    rows = [
        [escape(column), _share(share), _bar(share)]
        for column, share in report["null_share"].items()
    ]
    return _table("Rows of the log without a value", ["column", "share", ""], rows)


def _table(caption: str, heads: list[str], rows: list[list[str]]) -> str:
    """A table whose first column names the row; a cell that holds a bar is only its picture."""
    numbers = range(1, len(heads) - (heads[-1] == "" and len(heads) > 2))
    head = "".join(
        f'<th scope="col"{" class=number" if place in numbers else ""}>{text}</th>'
        if text
        else "<td></td>"
        for place, text in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + f'<th scope="row">{cells[0]}</th>'
        + "".join(
            f"<td class={'number' if place in numbers else 'bar'}>{cell}</td>"
            for place, cell in enumerate(cells[1:], start=1)
        )
        + "</tr>"
        for cells in rows
    )
    thead = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    return f"<table><caption>{caption}</caption>{thead}<tbody>{body}</tbody></table>"


def _bar(share: float | None) -> str:
    return f'<span style="width: {100 * (share or 0):.1f}%" aria-hidden="true"></span>'


def _share(share: float | None) -> str:
    return _unless_null(share, "{:.2%}")


def _instant(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _unless_null(value: float | None, form: str) -> str:
    return "unknown" if value is None else form.format(value)
