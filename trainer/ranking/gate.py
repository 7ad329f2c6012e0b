"""The gate: how much each part counts for a row, from what is known of the row's counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.ranking.rows import RankingRows
from trainer.ranking.scoring import Counted

_RECENT = 20  # events of which the share of repeats is taken
_LIVE = 200
_CLIP = 4.0  # deviations: counts beyond those of training say no more


def habits(rows: RankingRows) -> NDArray[np.float64]:
    """How much a user repeats himself, how new things are, how long he paused; # [rows, 7]."""
    log, own = rows.log, rows.history
    first, ends = rows.first, rows.ends
    recent = np.maximum(first, ends - _RECENT)
    seen = np.searchsorted(log.times, rows.instants, side="right")
    live = np.maximum(seen - _LIVE, 0)
    last = np.maximum(ends - 1, 0)
    before = np.maximum(ends - 2, 0)
    seconds = np.timedelta64(1, "s")
    if len(own):
        gaps = (own.instants[last] - own.instants[before]) / seconds
        since = (rows.instants - own.instants[last]) / seconds
    else:
        gaps = since = np.zeros(len(rows))
    return np.column_stack(
        [
            (own.repeats[ends] - own.repeats[first] + 0.5) / (ends - first + 1.0),
            (own.repeats[ends] - own.repeats[recent] + 0.5) / (ends - recent + 1.0),
            (own.stays[ends] - own.stays[recent] + 0.5) / (ends - recent + 1.0),
            (log.news[seen] - log.news[live] + 0.5) / (seen - live + 1.0),
            np.where(ends - first >= 2, np.log1p(np.maximum(gaps, 0)), 0.0),
            np.where(ends > first, np.log1p(np.maximum(since, 0)), 0.0),
            np.log1p(rows.known),
        ]
    )


def gate_inputs(counted: Counted) -> NDArray[np.float64]:
    """What the gate reads; # [rows, inputs]."""
    return np.hstack([np.log1p(counted.totals), habits(counted.rows)])


@dataclass(frozen=True)
class Gate:
    """One hidden layer, then a softmax over the parts that say something.

    Attributes
    ----------
    mean, scale
        # [inputs], of the training rows
    hidden, hidden_bias
        # [inputs, width], # [width]
    out, out_bias
        # [width, parts], # [parts]
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    hidden: NDArray[np.float64]
    hidden_bias: NDArray[np.float64]
    out: NDArray[np.float64]
    out_bias: NDArray[np.float64]

    def standardised(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inputs as the layers read them; # [rows, inputs]."""
        return np.clip((inputs - self.mean) / self.scale, -_CLIP, _CLIP)

    def weights(
        self, inputs: NDArray[np.float64], totals: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Weight of each part; # [rows, parts], rows sum to 1, 0 where a part has no count.

        Parameters
        ----------
        inputs
            # [rows, inputs]
        totals
            # [rows, parts]
        """
        hidden = np.tanh(self.standardised(inputs) @ self.hidden + self.hidden_bias)
        logits = np.where(totals > 0, hidden @ self.out + self.out_bias, -np.inf)
        best = logits.max(axis=1, keepdims=True)
        powers = np.exp(logits - np.where(np.isfinite(best), best, 0.0))
        return powers / np.maximum(powers.sum(axis=1, keepdims=True), 1e-300)

    def to_json(self) -> dict[str, Any]:
        """The weights as plain values."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Gate:
        """The gate that :meth:`to_json` described."""
        return cls(**{name: np.array(value, dtype=np.float64) for name, value in content.items()})
