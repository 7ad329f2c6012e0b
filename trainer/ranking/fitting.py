"""Fitting of rankers on the training part alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainer.config import FitConfig
from trainer.models.base import Report, silent
from trainer.ranking.gate import gate_inputs
from trainer.ranking.rankers import BackedOff, Mixture, target_chances
from trainer.ranking.rows import Ranking, RankingRows
from trainer.ranking.scoring import PARTS, Parts, blocks
from trainer.splits import stopping_rows

MOST_ROWS = 60_000  # the last ones: a gate has few weights, and counts are thin at first
_POPULAR = ("popular_1d", "popular_7d", "popular_30d", "popular_all")
_STRENGTHS = (0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0)
_SHARES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)  # of the embeddings
_COUNTED_AT_ONCE = 2048


@dataclass(frozen=True)
class RankingTraining:
    """What a ranker may learn from.

    Attributes
    ----------
    target
        ``item`` or ``category``.
    rows
        The last rows of the training part.
    stop
        # [rows], those that only choose between fits
    report
        Takes a line of progress.
    """

    target: str
    rows: RankingRows
    stop: NDArray[np.bool_]
    report: Report = silent

    @cached_property
    def counted(self) -> CountedRows:
        """Every row counted: once, for all rankers that learn from them."""
        return count_rows(self.rows)

    @property
    def choosing(self) -> NDArray[np.bool_]:
        """Rows that choose, else all; # [rows]."""
        return self.stop if self.stop.any() else np.ones_like(self.stop)

    @property
    def held_out(self) -> RankingRows:
        """The rows that choose."""
        return self.rows.take(self.choosing)


def ranking_training(
    ranking: Ranking, share: float, report: Report = silent, most: int = MOST_ROWS
) -> RankingTraining:
    """The last rows of the training part, and of those the last share to choose by.

    Parameters
    ----------
    ranking
        The target.
    share
        Of the rows, to choose by; see :func:`trainer.splits.stopping_rows`.
    report
        Takes a line of progress.
    most
        Rows at most.
    """
    rows = ranking.train
    order = np.argsort(rows.instants, kind="stable")[-most:]
    rows = rows.take(order)
    next_at = rows.log.instants[rows.ends]
    events = np.sort(rows.log.instants)
    fit, stop = stopping_rows(
        rows.instants, next_at, events, rows.log.users[rows.owners], "time", share
    )
    if not fit.any():
        fit, stop = np.ones_like(fit), np.zeros_like(stop)
    kept = fit | stop
    return RankingTraining(ranking.target, rows.take(kept), stop[kept], report)


@dataclass(frozen=True)
class CountedRows:
    """Rows as a gate reads them.

    Attributes
    ----------
    inputs, totals, chances
        # [rows, inputs], # [rows, parts] and # [rows, parts]
    """

    inputs: NDArray[np.float64]
    totals: NDArray[np.float64]
    chances: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> CountedRows:
        """The rows that a mask chooses."""
        return CountedRows(self.inputs[rows], self.totals[rows], self.chances[rows])


def count_rows(rows: RankingRows) -> CountedRows:
    """Count every row, some at a time."""
    parts = Parts(rows.log)
    inputs = totals = chances = None
    for chosen in blocks(rows, values=_COUNTED_AT_ONCE):
        counted = parts.count(rows.take(chosen))
        given = gate_inputs(counted)
        if inputs is None or totals is None or chances is None:
            inputs = np.zeros((len(rows), given.shape[1]))
            totals, chances = (np.zeros((len(rows), len(PARTS))) for _ in range(2))
        inputs[chosen], totals[chosen] = given, counted.totals
        chances[chosen] = parts.of_targets(counted)
    assert inputs is not None and totals is not None and chances is not None
    return CountedRows(inputs, totals, chances)


def fit_backed_off(training: RankingTraining, part: str | None) -> BackedOff:
    """Choose the popularity behind a part, and how much it counts, on held-out rows."""
    counted = training.counted.take(training.choosing)
    names = list(PARTS)
    best, least = BackedOff(part, _POPULAR[0], _STRENGTHS[0]), np.inf
    for popular in _POPULAR:
        for strength in _STRENGTHS if part is not None else (1.0,):
            chances = BackedOff.REST * counted.chances[:, names.index("uniform")]
            share = np.zeros(len(chances))
            if part is not None:
                total = counted.totals[:, names.index(part)]
                share = total / (total + strength)
                chances += (1 - BackedOff.REST) * share * counted.chances[:, names.index(part)]
            behind = counted.chances[:, names.index(popular)]
            chances += (1 - BackedOff.REST) * (1 - share) * behind
            loss = float(-np.log(np.maximum(chances, 1e-9)).mean())
            if loss < least:
                best, least = BackedOff(part, popular, strength), loss
    return best


def fit_mixture(training: RankingTraining, config: FitConfig) -> Mixture:
    """Train the gate over all parts; call inside :func:`trainer.training.reproducible`."""
    from trainer.ranking.gate_training import train_gate

    counted = training.counted
    gate = train_gate(counted.inputs, counted.totals, counted.chances, training.stop, config.seed)
    content = config.ranking.content and training.rows.log.content is not None
    if not (config.ranking.neural or content) or not training.stop.any():
        return Mixture(gate)
    from trainer.ranking.neural_training import train_embeddings

    neural = train_embeddings(
        training.rows,
        training.stop,
        config.seed,
        config.ranking.width,
        config.ranking.epochs,
        content,
    )
    if neural is None:
        return Mixture(gate)
    # The embeddings know the rows that they were fitted on: others say what they are worth.
    weights = gate.weights(counted.inputs, counted.totals)
    counting = (weights * counted.chances).sum(axis=1)[training.stop]
    own, known = target_chances(neural, training.held_out)
    losses = [
        float(-np.log(np.maximum((1 - s * known) * counting + s * known * own, 1e-9)).mean())
        for s in _SHARES
    ]
    share = _SHARES[int(np.argmin(losses))]
    training.report(
        f"next {training.target}: embeddings get a share of {share:g}, which takes the held-out "
        f"log-loss from {losses[0]:.4f} to {min(losses):.4f}"
    )
    return Mixture(gate, neural, share) if share else Mixture(gate)
