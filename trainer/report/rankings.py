"""The report's section on which item, and which category, comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Dataset
from trainer.instants import show_instant
from trainer.models.base import read_json
from trainer.ranking.evaluation import TRAINED, RankedPart, RankingModel, ranked_parts
from trainer.ranking.metrics import ranks
from trainer.ranking.rankers import Ranker
from trainer.ranking.recommending import Recommendation, by_scale, recommended
from trainer.report import charts, ranking_charts
from trainer.report.measured import SLICES, by_slice, with_intervals
from trainer.report.pictures import Picture

MEASURE = "mrr_20"
UNIT = "MRR@20, 95 % over users; higher is better"
_SLICES = {
    TRAINED: "training's catalogue alone",
    **{key: SLICES[key] for key in ("seen_users", "cold_users", "short_histories")},
    "repeats": "the user had it before",
    "new_to_user": "new to the user",
    "unseen": "new since training",
    "valid": SLICES["valid"],
}
_SHOWN = 5  # recommendations of an example
_JUDGED = 5_000  # rows of which examples are chosen, and whose scores are taken apart
_KINDS = ((0.2, "found at once"), (0.6, "found"), (0.9, "hardly found"))


@dataclass(frozen=True)
class ShownRanking:
    """What was recommended to one user of the test part, and what came.

    Attributes
    ----------
    kind
        How far down the target was.
    user, at, actual
        Who, when, and what came next.
    rank
        Where that stood: 1 is first, ties in the middle.
    values
        The highest first.
    """

    kind: str
    user: str
    at: str
    actual: str
    rank: float
    values: list[Recommendation]


@dataclass(frozen=True)
class RankingSection:
    """One target, ``item`` or ``category``.

    Attributes
    ----------
    target, task
        And its name in ``metrics.json``.
    pictures
        Models, slices, and what the scores are made of.
    examples
        A few users.
    known, trained
        Values known at the end of the test part, and those of the training part.
    """

    target: str
    task: str
    pictures: list[Picture]
    examples: list[ShownRanking]
    known: int
    trained: int


def ranking_sections(
    model: Any, dataset: Dataset, metrics: Mapping[str, Any], compared: Path, own: str
) -> list[RankingSection]:
    """The section of each target that a run says something of; none for other runs.

    Parameters
    ----------
    model
        The run's model.
    dataset
        With its rankings.
    metrics
        Of the run.
    compared
        ``compare.json``, which may not be there.
    own
        The run's model's name.
    """
    if not isinstance(model, RankingModel):
        return []
    others = read_json(compared) if compared.is_file() else {}
    found = []
    for part in ranked_parts(dataset, "test"):
        target, task = part.ranking.target, part.ranking.task
        if target not in model.rankers:
            continue
        pictures = [
            charts.intervals(values, f"Next {target}: MRR@20{which}", UNIT, own)
            for values, which in (
                (with_intervals(metrics, task, MEASURE), ""),
                (with_intervals(others, task, MEASURE), " (all models)"),
            )
            if len(values) > 1
        ]
        sliced, counts = by_slice(metrics, task, _SLICES, MEASURE)
        if counts:
            title = f"Next {target}: MRR@20 by slice"
            pictures.append(charts.slice_chart(sliced, counts, title, UNIT))
        ranker, rows = model.rankers[target], _fewer(part)
        pictures.append(_scales(ranker, part, rows, target))
        found.append(
            RankingSection(
                target=target,
                task=task,
                pictures=pictures,
                examples=_examples(ranker, part, rows),
                known=int(part.rows.known.max()),
                trained=part.ranking.trained,
            )
        )
    return found


def _fewer(part: RankedPart) -> NDArray[np.int64]:
    """Rows of the part, evenly over it where it has many."""
    count = len(part.rows)
    return np.unique(np.linspace(0, count - 1, min(count, _JUDGED)).astype(np.int64))


def _scales(ranker: Ranker, part: RankedPart, chosen: NDArray[np.int64], target: str) -> Picture:
    """What each scale gives of the scores of what came, on the whole and by slice."""
    known = chosen[part.rows.targets[chosen] < part.rows.known[chosen]]
    found = ranker.parts_of_targets(part.rows.take(known))
    slices = {"every row": np.ones(len(known), dtype=bool)}
    for key in ("repeats", "new_to_user", "cold_users"):
        rows = part.slices.get(f"{part.ranking.task}.{key}")
        if rows is not None:
            slices[_SLICES[key]] = rows[known]
    shares = {}
    for name, rows in slices.items():
        sums = by_scale({part: float(value[rows].sum()) for part, value in found.items()})
        total = sum(sums.values())
        if total > 0:
            shares[name] = {scale: value / total for scale, value in sums.items()}
    return ranking_charts.scale_chart(shares, f"Next {target}: where the score comes from")


def _examples(ranker: Ranker, part: RankedPart, chosen: NDArray[np.int64]) -> list[ShownRanking]:
    """Instants at which what came stood high, in the middle and low, each of another user."""
    rows = part.rows.take(chosen)
    higher = np.zeros(len(rows), dtype=np.int64)
    tied = np.zeros(len(rows), dtype=np.int64)
    for block, scores in ranker.scores(rows):
        found = ranks(scores, rows.targets[block], rows.known[block])
        higher[block], tied[block] = found.higher, found.tied
    reached = tied > 0
    place = np.where(reached, higher + (tied + 1) / 2, np.inf)
    long = np.flatnonzero(reached & (rows.ends - rows.first > 1))
    answer: list[ShownRanking] = []
    users: set[int] = set()
    for share, kind in _KINDS:
        fresh = [row for row in long.tolist() if int(rows.owners[row]) not in users]
        if not fresh:
            break
        wanted = np.quantile(place[long], share)
        row = min(fresh, key=lambda each: (abs(place[each] - wanted), each))
        users.add(int(rows.owners[row]))
        one = rows.take(np.array([row]))
        answer.append(
            ShownRanking(
                kind=kind,
                user=str(rows.log.users[int(rows.owners[row])]),
                at=show_instant(rows.instants[row].astype("datetime64[s]")),
                actual=str(rows.log.names[int(rows.targets[row])]),
                rank=float(place[row]),
                values=recommended(ranker, one, _SHOWN),
            )
        )
    return answer
