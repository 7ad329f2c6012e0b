"""Charts of what comes next and when: the waits, and what gave a ranking its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainer.report.pictures import (
    COLOURS,
    MARKS,
    Picture,
    figure,
    picture,
    rows_from_top,
    span,
    style,
)
from trainer.waits import LEVELS

if TYPE_CHECKING:
    from trainer.report.waits import WaitGroup

# Waits that an axis is marked at, in seconds.
_MARKED = (1, 10, 60, 600, 3600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)
_SCALES = {"just_now": "just now", "this_week": "this week", "long_taste": "long taste"}


def wait_chart(groups: Sequence[WaitGroup]) -> Picture:
    """Predicted and actual waits of rows that are alike, the 80 % in the middle and the median.

    Parameters
    ----------
    groups
        From left to right.
    """
    title = "Time to the next event: predicted beside what came"
    low, middle, high = 0, LEVELS.index(0.5), len(LEVELS) - 1
    with style():
        drawn, (axes,) = figure(6.2, 4.6)
        for number, (kind, label) in enumerate(
            (("predicted", "predicted"), ("happened", "came true"))
        ):
            places = np.arange(len(groups)) + (-0.13 if number == 0 else 0.13)
            # A wait of nothing has no place on this axis.
            waits = np.maximum(np.array([getattr(group, kind) for group in groups]), 1.0)
            for place, own in zip(places, waits, strict=True):
                axes.plot([place] * 2, own[[low, high]], color=COLOURS[number], lw=3)
            mark = MARKS[number]
            axes.plot(places, waits[:, middle], mark, color=COLOURS[number], ms=7, label=label)
        axes.set_yscale("log")
        marked = [second for second in _MARKED if axes.get_ylim()[0] <= second]
        marked = [second for second in marked if second <= axes.get_ylim()[1]]
        axes.set_yticks(marked, [span(second) for second in marked])
        axes.minorticks_off()
        axes.set_xticks(range(len(groups)), [f"{group.rows:,}" for group in groups])
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("rows, from the shortest predicted median to the longest")
        axes.set_ylabel("wait (log): median, and 10 % to 90 %")
        axes.set_title(title)
        axes.legend(loc="upper left", fontsize=9)
        said = "; ".join(
            f"predicted {span(g.predicted[middle])}, came {span(g.happened[middle])}"
            for g in groups
        )
        return picture(drawn, f"{title}, medians by group: {said}.")


def scale_chart(shares: Mapping[str, Mapping[str, float]], title: str) -> Picture:
    """What each scale gave of the scores of what came, a bar a slice.

    Parameters
    ----------
    shares
        ``{slice: {scale: share}}``, each summing to 1
    title
        Over the chart.
    """
    with style():
        drawn, (axes,) = figure(8.5, 1.4 + 0.42 * len(shares))
        begins = np.zeros(len(shares))
        for number, (scale, label) in enumerate(_SCALES.items()):
            sizes = np.array([each[scale] for each in shares.values()])
            colour = COLOURS[number]
            axes.barh(range(len(shares)), sizes, 0.62, begins, color=colour, label=label)
            for place, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
                if size >= 0.06:
                    text = f"{100 * size:.0f}"
                    middle = begin + size / 2
                    axes.text(middle, place, text, ha="center", va="center", color="white")
            begins += sizes
        rows_from_top(axes, list(shares), 40)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
        axes.set_xlabel("share of the score of what came (%)")
        axes.set_title(title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
        said = "; ".join(
            f"{name}: " + ", ".join(f"{_SCALES[s]} {100 * v:.0f} %" for s, v in each.items())
            for name, each in shares.items()
        )
        return picture(drawn, f"{title}. {said}.")
