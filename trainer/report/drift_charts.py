"""The charts of drift: scales by periods, and log-loss over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.monitoring.performance import Performance
from trainer.report.pictures import COLOURS, INK, MARKS, MUTED, Picture, figure, picture, style

_STRONG = 0.5  # of the stability index: the darkest colour
_WRITTEN = 16  # periods up to which each cell has its number
_TICKS = 12


def heat(table: NDArray[np.float64], groups: Sequence[str], ends: Sequence[str]) -> Picture:
    """The largest stability index of each scale in each period.

    Parameters
    ----------
    table
        # [groups, periods], NaN where nothing was compared
    groups, ends
        Names of the rows and columns.
    """
    with style():
        drawn, (axes,) = figure(9.0, 1.2 + 0.36 * len(groups))
        axes.grid(False)
        axes.imshow(np.ma.masked_invalid(table), cmap="Blues", vmin=0, vmax=_STRONG, aspect="auto")
        if len(ends) <= _WRITTEN:
            for (row, column), value in np.ndenumerate(table):
                if not np.isnan(value):
                    colour = "white" if value > 0.6 * _STRONG else INK
                    text = f"{value:.2f}"
                    axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        axes.set_yticks(range(len(groups)), groups)
        _dates(axes, ends)
        title = "The farthest column of each scale"
        axes.set_title(title)
        axes.set_xlabel("population stability index, by the end of the period")
        worst = np.nanmax(table, axis=1)
        said = ", ".join(f"{group} {value:.2f}" for group, value in zip(groups, worst, strict=True))
        return picture(drawn, f"{title}, at most: {said}.")


def over_time(
    task: str,
    ends: Sequence[str],
    told: Sequence[Performance | None],
    before: dict[str, Any] | None,
) -> Picture:
    """Log-loss by period with two standard errors, beside the validation part's."""
    with style():
        drawn, (axes,) = figure(9.0, 2.8)
        there = [place for place, each in enumerate(told) if each is not None]
        found = [each for each in told if each is not None]
        losses = [each.log_loss for each in found]
        errors = [
            2 * each.log_loss_error if np.isfinite(each.log_loss_error) else 0 for each in found
        ]
        axes.errorbar(there, losses, errors, fmt=MARKS[0], color=COLOURS[0], capsize=3)
        if before is not None:
            axes.axhline(before["log_loss"], color=MUTED, ls="--", lw=1.2)
            axes.annotate(
                "validation", (0, before["log_loss"]), color=MUTED, va="bottom", fontsize=9
            )
        axes.set_xlim(-0.5, len(ends) - 0.5)
        _dates(axes, ends)
        title = f"Log-loss: {task.replace('_', ' ')}"
        axes.set_title(title)
        axes.set_ylabel("nats")
        axes.set_xlabel("end of the period; bars are two standard errors, by user")
        said = ", ".join(f"{ends[p]} {loss:.3f}" for p, loss in zip(there, losses, strict=True))
        return picture(drawn, f"{title}: {said}.")


def _dates(axes: Any, ends: Sequence[str]) -> None:
    step = -(-len(ends) // _TICKS)
    axes.set_xticks(range(0, len(ends), step), ends[::step])
