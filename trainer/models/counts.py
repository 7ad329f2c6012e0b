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

    def to_json(self) -> dict[str, Any]:
        """The counts and their prior."""
        return {"prior": self.prior, "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        return cls(np.array(content["counts"]), content["prior"])
