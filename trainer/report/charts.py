"""The charts of the report. Each takes numbers and gives a picture with its alternative text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from trainer.reliability import Reliability
from trainer.report.pictures import (
    COLOURS,
    INK,
    MARKS,
    MUTED,
    Picture,
    clipped,
    figure,
    picture,
    rows_from_top,
    style,
)

_MOST_STATES = 30  # of a matrix that a person can read
_FEW = 20  # rows that say little
_ANNOTATED = 14  # states up to which every cell has its number

Interval = tuple[float, float | None, float | None]


def intervals(
    rows: Mapping[str, Interval], title: str, unit: str, highlighted: str | None = None
) -> Picture:
    """A value a row with its interval, the least at the left.

    Parameters
    ----------
    rows
        ``{name: (value, low, high)}``, from top to bottom
    title, unit
        Over the chart, and under its axis.
    highlighted
        The row that the report is about.
    """
    with style():
        drawn, (axes,) = figure(8.0, 0.9 + 0.34 * len(rows))
        for place, (name, (value, low, high)) in enumerate(rows.items()):
            own = name == highlighted
            colour = COLOURS[1] if own else COLOURS[0]
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot(value, place, MARKS[1] if own else MARKS[0], color=colour, ms=7)
            end = value if high is None else high
            axes.annotate(
                f"{value:.3f}",
                (end, place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9,
            )
        rows_from_top(axes, list(rows))
        axes.margins(x=0.12)
        axes.set_title(title)
        axes.set_xlabel(unit)
        said = ", ".join(f"{name} {value:.3f}" for name, (value, _, _) in rows.items())
        return picture(drawn, f"{title}: {said}.")


def transitions(matrix: NDArray, counts: NDArray, states: Sequence[str]) -> Picture:
    """Heat map of a transition matrix.

    Parameters
    ----------
    matrix
        # [states, states], probability of the next state (column) after the current one (row)
    counts
        # [states], transitions out of each state
    states
        Their names.
    """
    shown = np.arange(len(states))
    if len(states) > _MOST_STATES:
        shown = np.sort(np.argsort(-counts, kind="stable")[:_MOST_STATES])
    cells = matrix[np.ix_(shown, shown)]
    names = [clipped(states[int(place)], 16) for place in shown]
    size = len(shown)
    with style():
        drawn, (axes,) = figure(max(5.0, 2.6 + 0.62 * size), max(3.6, 1.9 + 0.46 * size))
        image = axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.grid(visible=False)
        axes.set_xticks(range(size), names, rotation=35, ha="right", rotation_mode="anchor")
        rows = [f"{name} ({counts[place]:,})" for name, place in zip(names, shown, strict=True)]
        axes.set_yticks(range(size), rows)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if size <= _ANNOTATED:
            for row, column in np.ndindex(cells.shape):
                value = cells[row, column]
                # Dark on light and light on dark: the map passes half its lightness near .55.
                colour = "white" if value > 0.55 else INK
                text = f"{value:.2f}".removeprefix("0")
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        axes.set_xlabel("next state")
        axes.set_ylabel("current state (transitions out of it)")
        axes.set_title("Chance of the next state after the current one")
        bar = drawn.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.set_label("probability")
        likeliest = [
            f"after {states[a]} comes {states[int(matrix[a].argmax())]} with {matrix[a].max():.2f}"
            for a in shown[:12]
        ]
        return picture(drawn, "Transition matrix: " + "; ".join(likeliest) + ".")


def learning_curves(
    curve: Sequence[Mapping[str, float | None]], best: int | None, title: str
) -> Picture:
    """Loss by epoch, of what is learned from and of the held-out rows.

    Parameters
    ----------
    curve
        ``number``, ``loss`` and ``stop_loss`` of each epoch.
    best
        The epoch that held-out rows chose, where there were any.
    title
        Over the chart.
    """
    epochs = [int(epoch["number"] or 0) for epoch in curve]
    fitted = [float(epoch["loss"] or 0.0) for epoch in curve]
    held_out = [loss for epoch in curve if (loss := epoch["stop_loss"]) is not None]
    with style():
        drawn, (axes,) = figure(8.5, 3.2)
        axes.plot(epochs, fitted, "-o", color=COLOURS[0], ms=4, label="learned from, with dropout")
        if len(held_out) == len(epochs):
            axes.plot(epochs, held_out, "--s", color=COLOURS[1], ms=4, label="held out")
        if best is not None:
            axes.axvline(best, color=MUTED, lw=1, ls=":")
            # Beside the line, on the side where there is room.
            late = best > (epochs[0] + epochs[-1]) / 2
            axes.annotate(
                f"best: epoch {best}",
                (best, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-5 if late else 5, -2),
                textcoords="offset points",
                ha="right" if late else "left",
                va="top",
                color=MUTED,
                fontsize=9,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss (nats)")
        axes.set_title(title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
        last = f"{fitted[0]:.3f} in the first epoch, {fitted[-1]:.3f} in the last"
        kept = (
            "" if best is None else f"; held out {held_out[best - 1]:.3f} in epoch {best}, the best"
        )
        return picture(drawn, f"Loss by epoch: {last}{kept}.")


def reliability_diagram(
    found: Reliability, title: str, unit: str, share: str = "share that came true"
) -> Picture:
    """How often what was said came true, with the number of rows under it.

    Parameters
    ----------
    found
        The bins.
    title, unit, share
        Over the chart, what the probability is of, and what came of it.
    """
    with style():
        drawn, _ = figure(4.6, 4.6)
        drawn.clear()
        axes, below = drawn.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="as it says")
        spread = np.abs(np.stack([found.low, found.high]) - found.happened)
        for chosen, face, label in (
            (found.rows >= _FEW, COLOURS[0], "95 % over users"),
            (found.rows < _FEW, "white", f"fewer than {_FEW} rows"),
        ):
            if not chosen.any():
                continue
            axes.errorbar(
                found.said[chosen],
                found.happened[chosen],
                yerr=spread[:, chosen],
                fmt="o",
                color=COLOURS[0],
                mfc=face,
                ms=6,
                capsize=3,
                label=label,
            )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel(share)
        axes.set_title(title)
        axes.legend(loc="upper left", fontsize=9)
        below.bar(found.said, found.rows, width=0.04, color=COLOURS[0])
        below.set_yscale("log")
        # From 1 on: a whole decade has a label, and the bars of several diagrams compare.
        below.set_ylim(0.8, max(10, 2 * int(found.rows.max(initial=1))))
        below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        below.yaxis.set_minor_formatter(NullFormatter())
        below.set_ylabel("rows (log)")
        below.set_xlabel(unit)
        said = ", ".join(
            f"{a:.2f} said {b:.2f} came true"
            for a, b in zip(found.said, found.happened, strict=True)
        )
        return picture(drawn, f"{title}, calibration error {found.error:.3f}: {said}.")


def slice_chart(
    values: Mapping[str, Mapping[str, Interval]],
    rows: Mapping[str, int],
    title: str,
    unit: str = "log-loss (nats), 95 % over users; lower is better",
) -> Picture:
    """A metric of each model on each slice, by default the log-loss.

    Parameters
    ----------
    values
        ``{model: {slice: (value, low, high)}}``
    rows
        Rows of each slice.
    title, unit
        Over the chart, and under its axis.
    """
    names = list(rows)
    with style():
        drawn, (axes,) = figure(8.5, 1.5 + (0.55 if len(values) > 1 else 0.34) * len(names))
        step = 0.6 / max(len(values), 1)
        for number, (model, by_slice) in enumerate(values.items()):
            colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
            for place, name in enumerate(names):
                if name not in by_slice:
                    continue
                value, low, high = by_slice[name]
                height = place - 0.3 + step * (number + 0.5)
                if low is not None and high is not None:
                    axes.plot([low, high], [height] * 2, color=colour, lw=2)
                label = model if name == names[0] else None
                axes.plot(value, height, mark, color=colour, ms=6, label=label, ls="none")
        rows_from_top(axes, [f"{name} ({rows[name]:,})" for name in names], 40)
        axes.set_xlabel(unit)
        axes.set_title(title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
        said = "; ".join(
            f"{name}: " + ", ".join(f"{m} {v[name][0]:.3f}" for m, v in values.items() if name in v)
            for name in names
        )
        return picture(drawn, f"{title}. {said}.")


def shares(values: Mapping[str, float], title: str, unit: str) -> Picture:
    """Bars, one a name, in the order given."""
    names, sizes = list(values), list(values.values())
    with style():
        drawn, (axes,) = figure(6.0, 0.9 + 0.3 * len(names))
        bars = axes.barh(range(len(names)), sizes, color=COLOURS[0], height=0.62)
        axes.bar_label(bars, [f"{100 * size:.1f}" for size in sizes], padding=4, fontsize=9)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
        axes.margins(x=0.12)
        rows_from_top(axes, names)
        axes.set_xlabel(unit)
        axes.set_title(title)
        said = ", ".join(f"{name} {100 * size:.1f} %" for name, size in values.items())
        return picture(drawn, f"{title}: {said}.")
