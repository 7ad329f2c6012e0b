"""Evaluation of rankings: every value known at the instant, and the training part's alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trainer import metrics as plain
from trainer.bootstrap import with_uncertainty
from trainer.examples import Dataset
from trainer.ranking.metrics import Coverage, Ranks, all_metrics, ranks
from trainer.ranking.rankers import Ranker
from trainer.ranking.rows import Ranking, RankingRows
from trainer.slices import SHORT_HISTORY, Rows

Values = dict[str, dict[str, float | None]]

TRAINED = "training_catalogue"  # the second figure: no value that training has not seen
_FEWEST_ROWS = 1000
_MOST_CELLS = 2 * 10**10  # rows by values of one evaluation; beyond it rows are left out evenly


@runtime_checkable
class RankingModel(Protocol):
    """A model that also says which item, or category, comes next."""

    rankers: Mapping[str, Ranker]  # by target


@dataclass(frozen=True)
class RankedPart:
    """Rows of one target that models are judged on.

    Attributes
    ----------
    ranking
        The target.
    name
        Of the whole part in ``metrics.json``.
    rows
        The part.
    slices
        # [rows] each, by name.
    of
        Rows that the part has, of which `rows` are all or some.
    """

    ranking: Ranking
    name: str
    rows: RankingRows
    slices: dict[str, Rows]
    of: int


def ranked_parts(dataset: Dataset, part: str) -> list[RankedPart]:
    """The ``test`` or ``valid`` part of every target, with its slices."""
    answer = []
    for ranking in dataset.rankings.values():
        chosen = np.flatnonzero(getattr(ranking.parts, part))
        kept = _evenly(chosen, ranking.rows)
        rows = ranking.rows.take(kept)
        if not len(rows):
            continue
        name = ranking.task if part == "test" else f"{ranking.task}.{part}"
        slices = _slices(name, ranking, rows) if part == "test" else {}
        answer.append(RankedPart(ranking, name, rows, slices, len(chosen)))
    return answer


def _evenly(chosen: NDArray[np.int64], rows: RankingRows) -> NDArray[np.int64]:
    most = max(_FEWEST_ROWS, _MOST_CELLS // max(rows.log.values, 1))
    if len(chosen) <= most:
        return chosen
    chosen = chosen[np.argsort(rows.instants[chosen], kind="stable")]
    return chosen[np.linspace(0, len(chosen) - 1, most).astype(np.int64)]


def _slices(task: str, ranking: Ranking, rows: RankingRows) -> dict[str, Rows]:
    log = rows.log
    seen = np.isin(rows.owners, ranking.train.owners)
    new = rows.targets >= ranking.trained
    repeated = np.diff(log.repeats)[rows.ends] > 0
    return {
        f"{task}.seen_users": seen,
        f"{task}.cold_users": ~seen,
        f"{task}.short_histories": rows.ends - rows.first < SHORT_HISTORY,
        f"{task}.unseen": new,
        f"{task}.repeats": repeated,
        f"{task}.new_to_user": ~repeated,
    }


def evaluate_ranking(models: Sequence[RankingModel], part: RankedPart) -> Values:
    """Metrics of one model on one target, averaged over the seeds of its fits.

    Returns
    -------
    values
        ``{task: {metric: value}}``: ``hr_<k>``, ``ndcg_<k>`` and ``mrr_<k>`` over rows, with
        ``user_`` over users and ``_low`` and ``_high`` from the bootstrap, and ``coverage_<k>``.
        ``unknown`` counts the rows whose target is not in the catalogue, each of which is a miss.
    """
    target, rows = part.ranking.target, part.rows
    trained = np.minimum(rows.known, part.ranking.trained)
    wholes, limited, coverage = [], [], []
    for model in models:
        found, known = [_no_ranks(len(rows)) for _ in range(2)]
        shown = Coverage(rows.log.values)
        for chosen, scores in model.rankers[target].scores(rows):
            block = rows.take(chosen)
            _put(found, chosen, ranks(scores, block.targets, block.known))
            _put(known, chosen, ranks(scores, block.targets, trained[chosen]))
            shown.add(scores, block.known)
        wholes.append(found)
        limited.append(known)
        coverage.append(shown.shares(int(rows.known.max())))
    everything = np.ones(len(rows), dtype=bool)
    answer = {part.name: _score(wholes, rows, everything)}
    answer[part.name] |= {
        name: float(np.mean([values[name] for values in coverage])) for name in coverage[0]
    }
    if part.of != len(rows):
        answer[part.name]["sampled_from"] = float(part.of)
    answer[f"{part.name}.{TRAINED}"] = _score(limited, rows, everything)
    for name, sliced in part.slices.items():
        if sliced.any():
            answer[name] = _score(wholes, rows, sliced)
    return answer


def _no_ranks(rows: int) -> Ranks:
    return Ranks(np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64))


def _put(into: Ranks, chosen: NDArray[np.int64], found: Ranks) -> None:
    into.higher[chosen], into.tied[chosen] = found.higher, found.tied


def _score(found: Sequence[Ranks], rows: RankingRows, chosen: Rows) -> dict[str, float | None]:
    users = rows.owners[chosen]
    by_fit = [all_metrics(each.take(chosen)) for each in found]
    by_row = {name: np.mean([each[name] for each in by_fit], axis=0) for name in by_fit[0]}
    values = {
        "rows": float(chosen.sum()),
        "users": float(len(np.unique(users))),
        "unknown": float((found[0].tied[chosen] == 0).sum()),
        **{name: float(value.mean()) for name, value in by_row.items()},
        **{f"user_{name}": plain.user_average(value, users) for name, value in by_row.items()},
    }
    known = with_uncertainty(values, by_row, users, [])
    if len(found) > 1:
        known["seeds"] = float(len(found))
        best = [float(each["mrr_20"].mean()) for each in by_fit]
        known["mrr_20_seed_std"] = float(np.std(best, ddof=1))
    return known
