"""Columns of the features of rows that are still packed, all at once.

One feature after the other, a row of 150 features would take several times as long, nearly all of
it in calls and not in numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.feature_codes import FeatureCode, signed_log1p
from trainer.feature_rows import FeatureRows
from trainer.instants import Instants
from trainer.vocabulary import word_places

_ARRAYS = ("numbers", "plains")


class PackedColumns:
    """What :class:`trainer.inputs.FeatureEncoder` makes of packed rows, in the same columns.

    Parameters
    ----------
    codes
        The features, and the first column of each.
    clip
        Largest distance from the mean that is passed on, in deviations.

    Notes
    -----
    Numbers, instants, booleans and the elements of arrays stand side by side as *elements*, each
    with its column, mean and scale.
    """

    def __init__(self, codes: Sequence[tuple[FeatureCode, int]], clip: float) -> None:
        self._clip = clip
        self._texts = [pair for pair in codes if pair[0].kind == "text"]
        arrays = [pair for pair in codes if pair[0].kind in _ARRAYS]
        flags = [pair for pair in codes if pair[0].kind == "flag"]
        numbers = [pair for pair in codes if pair[0].kind not in ("text", "flag", *_ARRAYS)]
        self._numbers, self._flags, self._arrays = (
            tuple(code.name for code, _ in pairs) for pairs in (numbers, flags, arrays)
        )
        self._lengths = tuple(code.width for code, _ in arrays)
        ordered = [*numbers, *flags, *arrays]
        widths = [code.width for code, _ in ordered]
        #: The feature of each element.
        self._owners = np.repeat(np.arange(len(ordered)), widths)
        self._columns = np.array(
            [place + step for code, place in ordered for step in range(code.width)], np.int64
        )
        self._mean = np.array([each for code, _ in ordered for each in code.mean])
        self._scale = np.array([each for code, _ in ordered for each in code.scale])
        logarithmic = np.array([code.is_logarithmic for code, _ in ordered], bool)
        self._logarithmic = np.flatnonzero(np.repeat(logarithmic, widths))
        self._elapsed = np.flatnonzero([code.kind == "elapsed" for code, _ in numbers])
        self._indicated = np.flatnonzero([code.indicator for code, _ in ordered])
        self._indicators = np.array([p + c.width for c, p in ordered if c.indicator], np.int64)

    def write(self, matrix: NDArray[np.float32], rows: FeatureRows, instants: Instants) -> None:
        """Write the columns of rows.

        Parameters
        ----------
        matrix
            # [rows, columns], zeros
        rows
            # [rows]
        instants
            # [rows], the instants that the rows answer for
        """
        values, nulls = self._read(rows)
        now = instants.astype("datetime64[us]").astype(np.int64)[:, None]
        elapsed = (now - values[:, self._elapsed] * 1e6) / 1e3
        values[:, self._elapsed] = np.maximum(elapsed, 0.0)
        values[:, self._logarithmic] = signed_log1p(values[:, self._logarithmic])
        unknown = nulls[:, self._owners]
        finite = np.isfinite(values)
        if not finite.all():
            # NaN is a value of the store, but no number to learn from: it is read as unknown, and
            # so is all of an array that holds one.
            where, elements = np.nonzero(~finite)
            bad = nulls.copy()
            bad[where, self._owners[elements]] = True
            unknown = bad[:, self._owners]
        scaled = (values - self._mean) * self._scale
        scaled[unknown] = 0.0
        np.maximum(scaled, -self._clip, out=scaled)
        np.minimum(scaled, self._clip, out=scaled)
        matrix[:, self._columns] = scaled
        matrix[:, self._indicators] = nulls[:, self._indicated]
        for code, place in self._texts:
            pieces = rows.pieces(code.name)
            for row, found in enumerate(word_places(pieces, code.vocabulary)):
                if found >= 0:
                    matrix[row, place + found] = 1.0
                elif code.indicator and pieces[row] is None:
                    matrix[row, place + code.width] = 1.0

    def _read(self, rows: FeatureRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Values of the elements and which features are null; # [rows, elements or features]."""
        parts = (
            rows.numbers(self._numbers),
            rows.flags(self._flags),
            rows.arrays(self._arrays, self._lengths),
        )
        values = np.concatenate([part[0] for part in parts], axis=1)
        return values, np.concatenate([part[1] for part in parts], axis=1)
