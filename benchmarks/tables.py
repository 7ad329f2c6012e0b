"""Results as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def render(content: Mapping[str, Any]) -> str:
    """Return a result as Markdown: its machine, its table and its aims."""
    hardware, software = content["machine"], content["versions"]
    sizes = ", ".join(f"{name} {cell(value)}" for name, value in content["parameters"].items())
    lines = [
        f"{content['title']}: {sizes}.",
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gb']} GB, "
        f"{hardware['system']}; " + ", ".join(f"{k} {v}" for k, v in software.items()) + "; "
        f"{content['finished_at'][:10]}.",
    ]
    if content["trial"]:
        lines.append("**A trial at other sizes than those of the aims.**")
    lines += ["", table(content["rows"])]
    if content["aims"]:
        lines += [""]
        for aim in content["aims"]:
            bound = "at most" if aim["at_most"] else "at least"
            verdict = "met" if aim["met"] else "**not met**"
            lines.append(
                f"* {aim['aim']}: {cell(aim['figure'])} ({bound} {cell(aim['limit'])}: {verdict})"
            )
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return `rows` as a Markdown table. Columns stand in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    numeric = [not isinstance(rows[0].get(name), str) for name in columns] if rows else []

    def line(values: Iterable[str]) -> str:
        padded = (
            value.rjust(width) if number else value.ljust(width)
            for value, width, number in zip(values, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = [("-" * (w - 1) + ":") if n else "-" * w for w, n in zip(widths, numeric, strict=True)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def cell(value: Any) -> str:
    """Return a value as a table shows it: figures to three digits, from 100 on to whole ones."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    return str(value)
