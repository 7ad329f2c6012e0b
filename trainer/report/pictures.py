"""Pictures as matplotlib draws them, made into data addresses that an HTML file can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib as mpl

mpl.use("Agg")  # no display, wherever this runs

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

# Okabe and Ito 2008: colours that people with any colour vision tell apart. Yellow is too pale on
# white to be a line.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b2430")
MARKS = ("o", "s", "^", "D", "v", "P", "X")  # beside the colour, for those who see none
INK, MUTED, LINE = "#1b2430", "#4f5b69", "#d5dbe3"
FOR, AGAINST = COLOURS[0], COLOURS[1]

_STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "svg.hashsalt": "scalespace",  # the same picture is the same bytes
}


@dataclass(frozen=True)
class Picture:
    """A picture inside a page.

    Attributes
    ----------
    address
        ``data:image/svg+xml;base64,...``
    alt
        What it shows, for those who do not see it.
    width
        In CSS pixels, at most.
    """

    address: str
    alt: str
    width: int


def style() -> AbstractContextManager[None]:
    """The report's style, for the body of a ``with``; nobody else's figures change."""
    return mpl.rc_context(_STYLE)  # type: ignore[arg-type]


def figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of some inches, and its axes from left to right."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(1, columns, squeeze=False)[0]
    return drawn, list(axes)


def picture(drawn: Figure, alt: str) -> Picture:
    """The figure as SVG, with its text as outlines."""
    out = io.BytesIO()
    drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    encoded = base64.b64encode(out.getvalue()).decode()
    width = round(drawn.get_figwidth() * 96)
    return Picture(f"data:image/svg+xml;base64,{encoded}", alt, width)


def rows_from_top(axes: Axes, names: Sequence[str], longest: int = 32) -> None:
    """Label the rows 0, 1, ... of a chart that is read from top to bottom."""
    axes.set_yticks(range(len(names)), [clipped(name, longest) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def clipped(text: str, longest: int) -> str:
    """Text that fits; no name becomes mathematics."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return short.replace("$", r"\$")


def signed(value: float, digits: int) -> str:
    """A change with its sign; one that rounds to 0 has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if not float(text) else text


def span(seconds: float) -> str:
    """A length of time in its largest unit: ``3 min``, ``2 d``."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
