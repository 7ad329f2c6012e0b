"""Encoding of features as numbers, fitted on the training part and saved as text.

Notes
-----
Counts and sums of milliseconds span many orders of magnitude: they pass through a signed
``log1p`` and are standardised. Probabilities stay as they are. An instant becomes the time from
it to the instant asked about. A null becomes 0, the mean, and says so in an indicator where the
training part had nulls. A column that was constant in the training part says nothing and is 0 for
ever, so that a value never seen cannot meet a weight never trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainer.feature_codes import LOGARITHMIC, FeatureCode, signed_log1p
from trainer.feature_rows import FeatureRows
from trainer.instants import Instants, weekdays
from trainer.packed_columns import PackedColumns
from trainer.stored_features import StoredFeatures
from trainer.vocabulary import lookup

KINDS = {
    "BIGINT": "number",
    "DOUBLE": "number",
    "BOOLEAN": "flag",
    "VARCHAR": "text",
    "TIMESTAMP": "elapsed",
    "BIGINT[]": "numbers",
    "DOUBLE[]": "numbers",
}
_PLAIN = ("probabilities", "share", "entropy")  # already of the order of one
_RAREST = 20  # a text value seen less often in training has too few rows to learn from


CALENDAR = (
    *(f"weekday={day}" for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")),
    "hour:sin",
    "hour:cos",
)


def calendar(instants: Instants) -> NDArray[np.float64]:
    """Weekday and hour (UTC) of instants: rhythm is no feature of a user, so no view has it.

    Returns
    -------
    columns
        # [rows, 9], in the order of ``CALENDAR``
    """
    days = instants.astype("datetime64[D]")
    angles = (instants - days) / np.timedelta64(1, "D") * (2 * np.pi)
    columns = np.zeros((len(instants), len(CALENDAR)))
    columns[np.arange(len(instants)), weekdays(instants)] = 1.0
    columns[:, 7], columns[:, 8] = np.sin(angles), np.cos(angles)
    return columns


class FeatureEncoder:
    """Turn a table of features into a matrix of fixed columns.

    Examples
    --------
    >>> table = pa.table({"event_count_7d": [0, 3, 8]})
    >>> now = np.array(["2024-01-01"] * 3, dtype="datetime64[us]")
    >>> encoder = FeatureEncoder.fit(table, {"event_count_7d": "BIGINT"}, now)
    >>> encoder.transform(table, now).shape
    (3, 10)
    """

    def __init__(self, codes: list[FeatureCode], clip: float = 4.0) -> None:
        self.codes = codes
        self.clip = clip
        #: Names of the matrix's columns, in order: the features', then the calendar's.
        self.columns = [name for code in codes for name in code.columns()] + list(CALENDAR)
        widths = [code.width + code.indicator for code in codes]
        places = np.cumsum([0, *widths[:-1]]).tolist() if codes else []
        self._wide = [pair for pair in zip(codes, places, strict=True) if pair[0].is_wide]
        self._moments = {c.name: (np.array(c.mean), np.array(c.scale)) for c, _ in self._wide}
        scalars = [pair for pair in zip(codes, places, strict=True) if not pair[0].is_wide]
        self._scalars = [code for code, _ in scalars]
        self._places = np.array([place for _, place in scalars], dtype=np.int64)
        self._logarithmic = np.array([code.is_logarithmic for code in self._scalars], dtype=bool)
        self._indicated = np.array([code.indicator for code in self._scalars], dtype=bool)
        self._mean = np.array([code.mean[0] for code in self._scalars])[:, None]
        self._scale = np.array([code.scale[0] for code in self._scalars])[:, None]
        self._packed = PackedColumns(list(zip(codes, places, strict=True)), clip)

    @classmethod
    def fit(
        cls,
        table: pa.Table | StoredFeatures,
        types: dict[str, str],
        instants: Instants,
        vocabulary: int = 32,
        clip: float = 4.0,
    ) -> FeatureEncoder:
        """Fit means, deviations and vocabularies.

        Parameters
        ----------
        table
            # [rows] of the training part
        types
            The features that enter, in order, and their published types.
        instants
            # [rows], the instants that the rows answer for
        vocabulary
            How many of the most frequent values of a text are kept.
        clip
            Largest distance from the mean that is passed on, in deviations.
        """
        codes = []
        for name, published in types.items():
            kind = kind_of(name, published)
            column = table[name].combine_chunks()
            words: tuple[str, ...] = ()
            if kind == "text":
                words = frequent(column, vocabulary)
                width = len(words)
                mean, scale = np.zeros(width), np.ones(width)
            else:
                width = _width(column) if kind in ("numbers", "plains") else 1
                values, known = feature_values(column, kind, width, instants)
                mean, scale = moments(values[known], kind, width)
            codes.append(
                FeatureCode(
                    name=name,
                    kind=kind,
                    width=width,
                    mean=tuple(mean.tolist()),
                    scale=tuple(scale.tolist()),
                    indicator=column.null_count > 0 and column.null_count < len(column),
                    vocabulary=words,
                )
            )
        return cls(codes, clip)

    def transform(self, table: pa.Table | FeatureRows, instants: Instants) -> NDArray[np.float32]:
        """Encode rows; the columns are :attr:`columns`.

        Parameters
        ----------
        table
            # [rows]
        instants
            # [rows], the instants that the rows answer for

        Returns
        -------
        matrix
            # [rows, columns], float32, without nulls
        """
        matrix = np.zeros((table.num_rows, len(self.columns)), dtype=np.float32)
        matrix[:, len(self.columns) - len(CALENDAR) :] = calendar(instants)
        if isinstance(table, FeatureRows):
            self._packed.write(matrix, table, instants)
            return matrix
        read = _reader(table)
        if self._scalars:
            self._write_scalars(matrix, *self._unpacked(read, instants))
        for code, place in self._wide:
            column = read(code.name)
            end = place + code.width
            if code.kind == "text":
                index = lookup(column, code.vocabulary).fill_null(-1).to_numpy()
                rows = np.flatnonzero(index >= 0)
                matrix[rows, place + index[rows]] = 1.0
            else:
                values, known = feature_values(column, code.kind, code.width, instants)
                mean, scale = self._moments[code.name]
                scaled = (values - mean) * scale
                scaled[~known] = 0.0
                matrix[:, place:end] = np.clip(scaled, -self.clip, self.clip)
            if code.indicator:
                matrix[:, end] = column.is_null().to_numpy(zero_copy_only=False)
        return matrix

    def _write_scalars(
        self,
        matrix: NDArray[np.float32],
        values: NDArray[np.float64],
        nulls: NDArray[np.bool_],
    ) -> None:
        """All features of one column at once: one by one, a served row would take four times as
        long, nearly all of it in calls and not in numbers.
        """
        values[self._logarithmic] = signed_log1p(values[self._logarithmic])
        scaled = (values - self._mean) * self._scale
        # NaN is a value of the store, but no number to learn from: it is read as unknown.
        scaled[nulls | ~np.isfinite(values)] = 0.0
        matrix[:, self._places] = np.clip(scaled, -self.clip, self.clip).T
        matrix[:, self._places[self._indicated] + 1] = nulls[self._indicated].T

    def _unpacked(
        self, read: Callable[[str], pa.Array], instants: Instants
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Values of the features of one column, and where they are null; # [features, rows]."""
        shape = (len(self._scalars), len(instants))
        values, nulls = np.zeros(shape), np.zeros(shape, dtype=bool)
        for place, code in enumerate(self._scalars):
            column = read(code.name)
            values[place] = _scalar(column, code.kind, instants)
            if column.null_count:
                nulls[place] = column.is_null().to_numpy(zero_copy_only=False)
        return values, nulls

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""
        return {"clip": self.clip, "codes": [dict(vars(code)) for code in self.codes]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> FeatureEncoder:
        """The encoder that :meth:`to_json` described."""

        def whole(code: dict[str, Any]) -> FeatureCode:
            lists = {key: tuple(code[key]) for key in ("mean", "scale", "vocabulary")}
            return FeatureCode(**{**code, **lists})

        codes = [whole(code) for code in content["codes"]]
        return cls(codes, content["clip"])


def kind_of(name: str, published: str) -> str:
    """How a feature of a published type is encoded, see :class:`FeatureCode`."""
    kind = KINDS[published]
    if any(word in name for word in _PLAIN):
        return {"number": "plain", "numbers": "plains"}.get(kind, kind)
    return kind


def _reader(table: pa.Table) -> Callable[[str], pa.Array]:
    """Columns by name, each in one piece.

    For the few rows of a request, looking 150 columns up in a table takes longer than to read them.
    The many of a training part come in pieces, and are put together one column at a time.
    """
    batches = table.to_batches()
    if len(batches) == 1:
        return dict(zip(table.column_names, batches[0].columns, strict=True)).__getitem__
    return lambda name: table[name].combine_chunks()


def frequent(column: pa.Array, keep: int, rarest: int = _RAREST) -> tuple[str, ...]:
    """The most frequent texts; equal counts go by the text, so that the rows' order is nothing."""
    counts = Counter(
        {pair["values"]: pair["counts"] for pair in column.drop_null().value_counts().to_pylist()}
    )
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(word for word, count in ranked[:keep] if count >= rarest)


def _width(column: pa.Array) -> int:
    return int(pc.max(pc.list_value_length(column)).as_py() or 0)


def feature_values(
    column: pa.Array, kind: str, width: int, instants: Instants
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A feature before standardising, and where it is known.

    Parameters
    ----------
    column
        # [rows]
    kind, width
        See :class:`FeatureCode`.
    instants
        # [rows], for the time from an instant to the one asked about

    Returns
    -------
    values
        # [rows, width]
    known
        # [rows]
    """
    known = np.ones(len(column), dtype=bool)
    if column.null_count:
        known = ~column.is_null().to_numpy(zero_copy_only=False)
    values = np.zeros((len(column), width), dtype=np.float64)
    if kind in ("numbers", "plains"):
        flat = (column.drop_null() if column.null_count else column).flatten()
        flat = flat.to_numpy(zero_copy_only=False)
        values[known] = flat.astype(np.float64).reshape(-1, width)
    else:
        values[:, 0] = np.where(known, _scalar(column, kind, instants), 0.0)
    if kind in LOGARITHMIC:
        values = signed_log1p(values)
    # NaN is a value of the store, but no number to learn from: it is read as unknown.
    known &= np.isfinite(values).all(axis=1)
    return values, known


def _scalar(column: pa.Array, kind: str, instants: Instants) -> NDArray[np.float64]:
    """Numbers of a feature of one column; # [rows], NaN where null."""
    if kind == "elapsed":
        since = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
        # An online store keeps whole seconds: measured finer offline, one instant would have two
        # values. To seconds is down, as Feast does it.
        elapsed = (instants - since.astype("datetime64[s]")) / np.timedelta64(1, "ms")
        return np.maximum(elapsed, 0.0)
    numbers = column.to_numpy(zero_copy_only=False)
    # Flags with nulls come as objects. Arrow's own cast would take ten times as long for a row.
    return numbers.astype(np.float64) if numbers.dtype == object else numbers


def moments(
    values: NDArray[np.float64], kind: str, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and one over deviation of each column; what stays as it is has 0 and 1."""
    if len(values) == 0:
        return np.zeros(width), np.zeros(width)
    deviation = values.std(axis=0)
    varies = deviation > 1e-9
    if kind in ("plains", "flag"):
        return np.zeros(width), varies.astype(np.float64)
    scale = np.divide(1.0, deviation, out=np.zeros(width), where=varies)
    return values.mean(axis=0), scale
