"""The report's section on the time to the next event: how often each quantile holds, how wide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Dataset
from trainer.models.base import NextTimeModel
from trainer.reliability import quantile_reliability
from trainer.report import charts, ranking_charts
from trainer.report.pictures import Picture
from trainer.wait_evaluation import WAIT_TASK, wait_slices
from trainer.waits import LEVELS, censored_quantiles

_GROUPS = 6  # of rows by the predicted median, as large as each other
_FEWEST = 20  # rows of a group


@dataclass(frozen=True)
class WaitGroup:
    """Rows whose predicted median is alike; quantiles are of :data:`trainer.waits.LEVELS`.

    Attributes
    ----------
    predicted
        # [levels], median over the rows, seconds
    happened
        # [levels], of the waits that came, those counted that were not seen to their end
    rows
        How many.
    """

    predicted: NDArray[np.float64]
    happened: NDArray[np.float64]
    rows: int


def wait_groups(quantiles: NDArray, waits: NDArray, watched: NDArray) -> list[WaitGroup]:
    """Rows by their predicted median, the shortest first.

    Parameters
    ----------
    quantiles
        # [rows, levels], seconds
    waits, watched
        # [rows], see :class:`trainer.examples.Examples`
    """
    groups = max(min(_GROUPS, len(waits) // _FEWEST), 1)
    middle = quantiles[:, LEVELS.index(0.5)]
    order = np.argsort(middle, kind="stable")
    return [
        WaitGroup(
            np.median(quantiles[rows], axis=0),
            censored_quantiles(waits[rows], watched[rows]),
            len(rows),
        )
        for rows in np.array_split(order, groups)
    ]


def waits_section(model: Any, dataset: Dataset) -> dict[str, Any] | None:
    """Pictures of a run's quantiles on the test part; ``None`` where it has none."""
    test = dataset.test
    judged = test.take(wait_slices(dataset, test)[WAIT_TASK])
    timed = isinstance(model, NextTimeModel) and model.predicts_next_time
    if not timed or not len(judged):
        return None
    quantiles = model.predict_next_time(judged)
    found = quantile_reliability(quantiles, judged.waits, judged.watched, judged.owners, LEVELS)
    pictures: list[Picture] = []
    if len(found.said):
        pictures.append(
            charts.reliability_diagram(
                found,
                "Time to the next event: quantiles",
                "level of the quantile",
                "share of waits that were over by then",
            )
        )
    pictures.append(ranking_charts.wait_chart(wait_groups(quantiles, judged.waits, judged.watched)))
    return {"task": WAIT_TASK, "pictures": pictures}
