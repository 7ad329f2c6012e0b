"""What the models that only count have in common: their counts, smoothed, in one file of text."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trainer.models.base import TextModel


class CountingModel(TextModel):
    """Counts with a prior, kept in ``<name>.json``.

    Parameters
    ----------
    counts
        # [..., states]; nothing was counted yet without them
    prior
        Weight of the uniform distribution, see :func:`trainer.models.base.smoothed`.
    """

    SHAPE: ClassVar[tuple[int, ...]]  # of no counts at all

    def __init__(self, counts: NDArray | None = None, prior: float = 1.0) -> None:
        self.counts = np.zeros(self.SHAPE, dtype=np.int64) if counts is None else np.asarray(counts)
        self.prior = prior
        # [rows, levels], seconds to the next event; no row where that is no task
        self.waits: NDArray[np.float64] = np.zeros((0, 0))

    @property
    def predicts_next_time(self) -> bool:
        """Whether it knows of the time to the next event."""
        return len(self.waits) > 0

    def to_json(self) -> dict[str, Any]:
        """The counts and their prior, and the quantiles of the time to the next event."""
        return {
            "prior": self.prior,
            "counts": self.counts.tolist(),
            "waits": self.waits.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        model = cls(np.array(content["counts"]), content["prior"])
        waits = content["waits"]
        model.waits = np.array(waits, dtype=np.float64).reshape(len(waits), -1 if waits else 0)
        return model
