"""All features of one view and entity as one string of bytes, and back, a column at a time.

A row is a head of fixed width and the bytes of its texts and arrays after it::

    8 bytes   each number and instant (whole seconds since 1970)
    4 bytes   each text or array: how many bytes it has
    1 byte    each boolean
    bits      one per feature: whether it is null

All little-endian; each group in the order of the schema. A null is a bit and nothing else, so that
null, 0, NaN, an empty text and an empty array are told apart, and a NaN keeps its bits.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.errors import BadInput

# Kinds of features, by the names of Feast's value types. Any other type is kept as the bytes of
# Feast's protocol buffer, as kind `proto:<type>`.
NUMBERS = {"INT64": pa.int64(), "DOUBLE": pa.float64(), "UNIX_TIMESTAMP": pa.int64()}
TEXTS = {"STRING": pa.string()}
ARRAYS = {
    "INT64_LIST": pa.list_(pa.int64()),
    "DOUBLE_LIST": pa.list_(pa.float64()),
    "STRING_LIST": pa.list_(pa.string()),
}
ARROW = {**NUMBERS, "BOOL": pa.bool_(), **TEXTS, **ARRAYS}
PROTO = "proto:"


def arrow_type(kind: str) -> pa.DataType:
    """Return the type in which columns of a kind come and go."""
    return ARROW.get(kind, pa.binary())


# Of a text or an array, all bytes of a batch and where those of each row begin and end.
_Slices = tuple[bytes, list[int], list[int]]


@dataclass(frozen=True)
class RowSchema:
    """The features of one view: what a packed row holds.

    Attributes
    ----------
    fields : tuple of (str, str)
        Name and kind of each feature.
    """

    fields: tuple[tuple[str, str], ...]

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(definition: str) -> "RowSchema":
        """Return the schema that `definition` described, the same object for the same text."""
        return RowSchema(tuple((name, kind) for name, kind in json.loads(definition)))

    @cached_property
    def definition(self) -> str:
        """The schema as text."""
        return json.dumps(self.fields, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def position(self) -> dict[str, int]:
        """Number of each feature, by name."""
        return {name: number for number, (name, _) in enumerate(self.fields)}

    @cached_property
    def kinds(self) -> frozenset[tuple[str, str]]:
        """Name and kind of each feature, in no order."""
        return frozenset(self.fields)

    @cached_property
    def _numbers(self) -> list[int]:
        return [n for n, (_, kind) in enumerate(self.fields) if kind in NUMBERS]

    @cached_property
    def _booleans(self) -> list[int]:
        return [n for n, (_, kind) in enumerate(self.fields) if kind == "BOOL"]

    @cached_property
    def _variable(self) -> list[int]:
        fixed = {*self._numbers, *self._booleans}
        return [n for n in range(len(self.fields)) if n not in fixed]

    @cached_property
    def _place(self) -> dict[int, int]:
        """Number of each feature among those of its group."""
        groups = (self._numbers, self._booleans, self._variable)
        return {number: place for group in groups for place, number in enumerate(group)}

    @cached_property
    def _bounds(self) -> tuple[int, int, int, int]:
        """Where numbers, lengths, booleans and null bits end; the last is the head's width."""
        numbers = 8 * len(self._numbers)
        lengths = numbers + 4 * len(self._variable)
        booleans = lengths + len(self._booleans)
        return numbers, lengths, booleans, booleans + (len(self.fields) + 7) // 8

    @cached_property
    def missing(self) -> bytes:
        """The row of an entity that is not there: every feature is null."""
        _, _, start, width = self._bounds
        return bytes(start) + b"\xff" * (width - start)

    def pack(self, columns: Sequence[pa.Array], view: str) -> list[bytes]:
        """Return each row of a batch as bytes.

        Parameters
        ----------
        columns : sequence of pyarrow.Array
            # [features][rows], in the order of the schema and of the types in `ARROW`; of kind
            ``proto:`` binary.
        view : str
            For messages.

        Raises
        ------
        BadInput
            If an array holds a null.
        """
        if not columns:
            return []
        rows = len(columns[0])
        numbers_end, lengths_end, booleans_end, width = self._bounds
        head = np.zeros((rows, width), np.uint8)
        nulls = np.zeros((rows, len(self.fields)), bool)
        for number, column in enumerate(columns):
            if column.null_count:
                nulls[:, number] = column.is_null().to_numpy(zero_copy_only=False)
        if self._numbers:
            values = np.empty((rows, len(self._numbers)), "<i8")
            for place, number in enumerate(self._numbers):
                values[:, place] = _bits(columns[number])
            head[:, :numbers_end] = values.view(np.uint8)
        for place, number in enumerate(self._booleans):
            known = columns[number].fill_null(False)
            head[:, lengths_end + place] = known.to_numpy(zero_copy_only=False)
        head[:, booleans_end:] = np.packbits(nulls, axis=1, bitorder="little")
        if not self._variable:
            heads = head.tobytes()
            return [heads[start : start + width] for start in range(0, rows * width, width)]
        parts: list[_Slices] = []
        lengths = np.empty((rows, len(self._variable)), "<u4")
        for place, number in enumerate(self._variable):
            name, kind = self.fields[number]
            data, starts, ends = _SLICERS.get(kind, _text_slices)(columns[number], view, name)
            lengths[:, place] = ends - starts
            parts.append((data, starts.tolist(), ends.tolist()))
        head[:, numbers_end:lengths_end] = lengths.view(np.uint8)
        heads = head.tobytes()
        return [
            b"".join(
                [
                    heads[row * width : (row + 1) * width],
                    *(data[starts[row] : ends[row]] for data, starts, ends in parts),
                ]
            )
            for row in range(rows)
        ]

    @property
    def head_width(self) -> int:
        """Bytes of a row's head."""
        return self._bounds[3]

    @cached_property
    def variable_names(self) -> list[str]:
        """Names of the texts and arrays, in the order in which their bytes follow the head."""
        return [self.fields[number][0] for number in self._variable]

    def head_place(self, name: str) -> int:
        """Return where in a head a number, a boolean, or the length of a text or array begins."""
        number = self.position[name]
        kind, place = self.fields[number][1], self._place[number]
        if kind in NUMBERS:
            return 8 * place
        numbers_end, lengths_end, _, _ = self._bounds
        return lengths_end + place if kind == "BOOL" else numbers_end + 4 * place

    def null_bit(self, name: str) -> tuple[int, int]:
        """Return in which byte of a head, and under which mask, it says that a feature is null."""
        number = self.position[name]
        return self._bounds[2] + number // 8, 1 << number % 8

    def unpack(self, rows: Sequence[bytes], names: Iterable[str]) -> dict[str, pa.Array]:
        """Return features of packed rows.

        Parameters
        ----------
        rows : sequence of bytes
            # [rows]
        names : iterable of str
            Features of the schema.

        Returns
        -------
        dict of str to pyarrow.Array
            # [rows] each, of the types in `ARROW`; of kind ``proto:`` binary.
        """
        count = len(rows)
        numbers_end, lengths_end, booleans_end, width = self._bounds
        joined = b"".join([row[:width] for row in rows] if self._variable else rows)
        head = np.frombuffer(joined, np.uint8).reshape(count, width)
        null_bits = np.unpackbits(head[:, booleans_end:], axis=1, bitorder="little")
        nulls = null_bits[:, : len(self.fields)]
        with_nulls = set(np.flatnonzero(np.any(nulls, axis=0)).tolist())
        valid_bits = np.packbits(1 - nulls.T, axis=1, bitorder="little")
        valid, valid_width = pa.py_buffer(valid_bits.tobytes()), valid_bits.shape[1]
        numbers: pa.Buffer | None = None  # [numbers, rows]
        spans: tuple[NDArray, NDArray, NDArray] | None = None
        found: dict[str, pa.Array] = {}
        for name in names:
            number = self.position[name]
            kind = self.fields[number][1]
            validity = (
                valid.slice(number * valid_width, valid_width) if number in with_nulls else None
            )
            if kind in NUMBERS:
                if numbers is None:
                    values = np.ascontiguousarray(head[:, :numbers_end]).view("<i8")
                    numbers = pa.py_buffer(values.reshape(count, len(self._numbers)).T.tobytes())
                start = self._place[number] * 8 * count
                data = numbers.slice(start, 8 * count)
                found[name] = pa.Array.from_buffers(NUMBERS[kind], count, [validity, data])
            elif kind == "BOOL":
                bits = head[:, lengths_end + self._place[number]]
                data = pa.py_buffer(np.packbits(bits, bitorder="little").tobytes())
                found[name] = pa.Array.from_buffers(pa.bool_(), count, [validity, data])
            else:
                if spans is None:
                    lengths = np.ascontiguousarray(head[:, numbers_end:lengths_end]).view("<u4")
                    ends = width + lengths.cumsum(axis=1, dtype=np.int64)
                    spans = ends - lengths, ends, lengths
                place = self._place[number]
                starts, ends = spans[0][:, place].tolist(), spans[1][:, place].tolist()
                pieces = [row[s:e] for row, s, e in zip(rows, starts, ends, strict=True)]
                found[name] = _JOINERS.get(kind, _join_binary)(pieces, spans[2][:, place], validity)
        return found


def _bits(column: pa.Array) -> NDArray[np.int64]:
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return values.view(np.int64)


def _offsets(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the elements of each row of a text or list column begin and end; a null has none."""
    raw = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
    starts, ends = raw[:-1].astype(np.int64), raw[1:].astype(np.int64)
    if column.null_count:
        ends = np.where(column.is_null().to_numpy(zero_copy_only=False), starts, ends)
    return starts, ends


def _data(column: pa.Array) -> bytes:
    buffer = column.buffers()[2]
    return b"" if buffer is None else buffer.to_pybytes()


def _text_slices(column: pa.Array, view: str, name: str):  # noqa: ARG001
    if not len(column):
        nothing = np.zeros(0, np.int64)
        return b"", nothing, nothing
    return (_data(column), *_offsets(column))


def _refuse_nulls(column: pa.Array, view: str, name: str) -> None:
    if column.flatten().null_count:
        raise BadInput(
            f"view {view}, feature {name}: an array holds a null, which the online store cannot "
            "keep; write a value in its place"
        )


def _number_slices(column: pa.Array, view: str, name: str):
    if not len(column):
        return _text_slices(column, view, name)
    _refuse_nulls(column, view, name)
    starts, ends = _offsets(column)
    # Elements that belong to no row may be null.
    return column.values.fill_null(0).to_numpy(zero_copy_only=False).tobytes(), 8 * starts, 8 * ends


def _text_array_slices(column: pa.Array, view: str, name: str):
    """An array of texts: their number, the bytes of each, and then all their bytes."""
    if not len(column):
        return _text_slices(column, view, name)
    _refuse_nulls(column, view, name)
    texts = column.values
    starts, ends = _offsets(column)
    if len(texts):
        raw = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4)
    else:
        raw = np.zeros(1, np.int32)
    data, lengths = _data(texts), np.diff(raw).astype("<u4").tobytes()
    counts = (ends - starts).astype("<u4").tobytes()
    rows = [
        counts[4 * row : 4 * row + 4] + lengths[4 * start : 4 * end] + data[raw[start] : raw[end]]
        for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True))
    ]
    row_ends = np.cumsum([len(row) for row in rows])
    return b"".join(rows), np.concatenate([[0], row_ends[:-1]]), row_ends


_SLICERS: dict[str, Callable] = {
    "INT64_LIST": _number_slices,
    "DOUBLE_LIST": _number_slices,
    "STRING_LIST": _text_array_slices,
}


def _buffer_of_offsets(lengths: NDArray) -> pa.Buffer:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.py_buffer(offsets)


def _join_binary(
    pieces: list[bytes],
    lengths: NDArray,
    validity: pa.Buffer | None,
    kind: pa.DataType | None = None,
) -> pa.Array:
    buffers = [validity, _buffer_of_offsets(lengths), pa.py_buffer(b"".join(pieces))]
    return pa.Array.from_buffers(kind or pa.binary(), len(pieces), buffers)


def _join_text(pieces: list[bytes], lengths: NDArray, validity: pa.Buffer | None) -> pa.Array:
    return _join_binary(pieces, lengths, validity, pa.string())


def _join_numbers(kind: pa.DataType) -> Callable:
    element = kind.value_type

    def join(pieces: list[bytes], lengths: NDArray, validity: pa.Buffer | None) -> pa.Array:
        data = pa.py_buffer(b"".join(pieces))
        values = pa.Array.from_buffers(element, data.size // 8, [None, data])
        offsets = _buffer_of_offsets(lengths // 8)
        return pa.Array.from_buffers(kind, len(pieces), [validity, offsets], children=[values])

    return join


def _join_texts(pieces: list[bytes], lengths: NDArray, validity: pa.Buffer | None) -> pa.Array:  # noqa: ARG001
    counts, texts = text_elements(pieces)
    offsets = _buffer_of_offsets(counts)
    kind = ARRAYS["STRING_LIST"]
    return pa.Array.from_buffers(kind, len(pieces), [validity, offsets], children=[texts])


def text_elements(
    pieces: Sequence[bytes], empty_is_null: bool = False
) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the texts of packed arrays of texts, one after the other.

    Parameters
    ----------
    pieces : sequence of bytes
        # [arrays]; a null has no bytes, not even those of a number.
    empty_is_null : bool
        Whether an empty text stands for an unknown one.

    Returns
    -------
    counts : numpy.ndarray
        # [arrays], how many texts each has.
    texts : pyarrow.Array
        # [texts]
    """
    counts = [int.from_bytes(piece[:4], "little") for piece in pieces]
    sizes = np.frombuffer(
        b"".join([p[4 : 4 + 4 * n] for p, n in zip(pieces, counts, strict=True)]), "<u4"
    )
    data = b"".join([p[4 + 4 * n :] for p, n in zip(pieces, counts, strict=True)])
    validity = None
    if empty_is_null:
        validity = pa.py_buffer(np.packbits(sizes > 0, bitorder="little"))
    buffers = [validity, _buffer_of_offsets(sizes), pa.py_buffer(data)]
    texts = pa.Array.from_buffers(pa.string(), len(sizes), buffers)
    return np.array(counts, np.int64), texts


_JOINERS: dict[str, Callable] = {
    "STRING": _join_text,
    "INT64_LIST": _join_numbers(ARRAYS["INT64_LIST"]),
    "DOUBLE_LIST": _join_numbers(ARRAYS["DOUBLE_LIST"]),
    "STRING_LIST": _join_texts,
}
