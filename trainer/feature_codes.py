"""How one feature becomes columns of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOGARITHMIC = ("number", "numbers", "elapsed")  # kinds that pass through the signed log1p


def signed_log1p(values: NDArray) -> NDArray[np.float64]:
    """``log1p`` of the size, with the sign kept: refunds are negative amounts."""
    values = np.asarray(values, dtype=np.float64)
    return np.sign(values) * np.log1p(np.abs(values))


@dataclass(frozen=True)
class FeatureCode:
    """How one feature becomes columns.

    Attributes
    ----------
    name, kind
        The feature, and ``number | flag | text | elapsed | numbers | plain | plains``.
    width
        Columns of values; arrays have one per element.
    mean, scale
        # [width]; a scale of 0 silences a column
    indicator
        Whether one more column says that the value was null.
    vocabulary
        Known texts, one column each; an unknown text is 0 in all of them.
    """

    name: str
    kind: str
    width: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    indicator: bool
    vocabulary: tuple[str, ...] = ()

    @property
    def is_wide(self) -> bool:
        """Whether it may have several columns of values, or none."""
        return self.kind in ("text", "numbers", "plains")

    @property
    def is_logarithmic(self) -> bool:
        """Whether its numbers pass through the signed ``log1p``."""
        return self.kind in LOGARITHMIC

    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        if self.kind == "text":
            names = [f"{self.name}={value}" for value in self.vocabulary]
        elif self.kind in ("numbers", "plains"):
            names = [f"{self.name}[{place}]" for place in range(self.width)]
        else:
            names = [self.name]
        return names + ([f"{self.name}:null"] if self.indicator else [])
