"""What the models that only count have in common: their counts, smoothed, in one file of text."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trainer.models.base import read_json, write_json


class CountingModel:
    """Counts with a prior, kept in ``<name>.json``.

    Parameters
    ----------
    counts
        # [..., states]; nothing was counted yet without them
    prior
        Weight of the uniform distribution, see :func:`trainer.models.base.smoothed`.
    """

    name: ClassVar[str]
    SHAPE: ClassVar[tuple[int, ...]]  # of no counts at all

    def __init__(self, counts: NDArray | None = None, prior: float = 1.0) -> None:
        self.counts = np.zeros(self.SHAPE, dtype=np.int64) if counts is None else np.asarray(counts)
        self.prior = prior

    def save(self, folder: Path) -> None:
        """Write ``<name>.json``."""
        content = {"prior": self.prior, "counts": self.counts.tolist()}
        write_json(folder / f"{self.name}.json", content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote into ``folder``."""
        content = read_json(folder / f"{cls.name}.json")
        return cls(np.array(content["counts"]), content["prior"])
