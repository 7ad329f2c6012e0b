"""Features of a few users as they lie packed in the online store, unpacked as they are asked for.

A request reads 150 features of one user: as many columns of Arrow cost more than all that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.packing import NUMBERS, RowSchema, text_elements
from trainer.packed_heads import Cells, Heads

if TYPE_CHECKING:
    from trainer.features import Feature

# Under which kind the packed online store keeps a type, see feature_repo.packing.
PACKED_KINDS = {
    "BIGINT": "INT64",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOL",
    "VARCHAR": "STRING",
    "TIMESTAMP": "UNIX_TIMESTAMP",
    "BIGINT[]": "INT64_LIST",
    "DOUBLE[]": "DOUBLE_LIST",
    "VARCHAR[]": "STRING_LIST",
}


class Layout:
    """Where wanted features lie: made once, because a server asks for the same ones every time.

    Parameters
    ----------
    wanted : tuple of Feature
        The columns.

    Attributes
    ----------
    kinds : dict of str to list of (str, str)
        Of each view, name and packed kind of its wanted features.
    """

    def __init__(self, wanted: tuple[Feature, ...]) -> None:
        self.wanted = wanted
        self.by_name = {feature.name: feature for feature in wanted}
        self.kinds: dict[str, list[tuple[str, str]]] = {}
        for feature in wanted:
            pair = feature.name, PACKED_KINDS[feature.type]
            self.kinds.setdefault(feature.view, []).append(pair)
        #: Of each view, its features that are numbers, and those that are none.
        self.alike = {
            (view, is_number): [name for name, kind in pairs if (kind in NUMBERS) == is_number]
            for view, pairs in self.kinds.items()
            for is_number in (True, False)
        }
        self._heads: tuple[tuple[RowSchema, ...], Heads | None] = (), None
        self._doubles: dict[tuple[tuple[str, ...], tuple[int, ...]], NDArray[np.bool_]] = {}

    def doubles(self, names: tuple[str, ...], widths: tuple[int, ...]) -> NDArray[np.bool_]:
        """Whether a number is a double; # [elements of all names]."""
        known = self._doubles.get((names, widths))
        if known is None:
            doubles = [self.by_name[name].type.startswith("DOUBLE") for name in names]
            known = self._doubles[names, widths] = np.repeat(np.array(doubles, bool), widths)
        return known

    def heads(self, schemas: tuple[RowSchema, ...]) -> Heads | None:
        """Where the features lie in rows of these schemas; ``None`` where one is not in them.

        Parameters
        ----------
        schemas
            Of the views, in the order of `kinds`.
        """
        known, heads = self._heads
        if known != schemas:
            whole = all(
                schema.kinds.issuperset(pairs)
                for schema, pairs in zip(schemas, self.kinds.values(), strict=True)
            )
            view_of = {name: feature.view for name, feature in self.by_name.items()}
            heads = Heads(tuple(self.kinds), schemas, view_of) if whole else None
            self._heads = schemas, heads
        return heads


class FeatureRows:
    """What readers ask of a table of features, without making one.

    Parameters
    ----------
    layout : Layout
        Of the columns.
    packed : dict of str to (RowSchema, list of bytes)
        Of each view, in the layout's order, its schema, which has the wanted features, and
        # [rows].
    num_rows : int
        Rows.
    """

    def __init__(
        self,
        layout: Layout,
        packed: dict[str, tuple[RowSchema, list[bytes]]],
        num_rows: int,
    ) -> None:
        self.num_rows = num_rows
        self._layout = layout
        self._packed = packed
        self._unpacked: dict[tuple[str, bool], dict[str, pa.Array]] = {}

    @property
    def column_names(self) -> list[str]:
        """Names of the features, in the order asked for."""
        return list(self._layout.by_name)

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """A column of the published type; # [rows]."""
        return pa.chunked_array([self.array(name)])

    def array(self, name: str) -> pa.Array:
        """A column in one piece; # [rows]."""
        feature = self._layout.by_name[name]
        # Who asks for one number, or one text, of a view asks for the others as well.
        group = feature.view, PACKED_KINDS[feature.type] in NUMBERS
        unpacked = self._unpacked.get(group)
        if unpacked is None:
            schema, rows = self._packed[feature.view]
            unpacked = self._unpacked[group] = schema.unpack(rows, self._layout.alike[group])
        column = unpacked[name]
        if feature.type == "TIMESTAMP":  # kept as seconds
            return column.view(pa.timestamp("s")).cast(pa.timestamp("us"))
        return column

    @cached_property
    def _heads(self) -> Heads:
        heads = self._layout.heads(tuple([schema for schema, _ in self._packed.values()]))
        assert heads is not None
        return heads

    @cached_property
    def _matrix(self) -> NDArray[np.uint8]:
        """The heads of all views, a row's one after the other; # [rows, bytes]."""
        widths, columns = self._heads.widths, [rows for _, rows in self._packed.values()]
        joined = b"".join(
            [
                row[:width]
                for own in zip(*columns, strict=True)
                for row, width in zip(own, widths, strict=True)
            ]
        )
        return np.frombuffer(joined, np.uint8).reshape(self.num_rows, self._heads.width)

    @cached_property
    def _pieces(self) -> list[list[bytes | None]]:
        """The bytes of every text and array, in the order of `Heads.variable`; # [rows]."""
        heads, columns = self._heads, [rows for _, rows in self._packed.values()]
        lengths = self._matrix.take(heads.lengths.places, axis=1).view("<u4")
        bounds = np.zeros((self.num_rows, lengths.shape[1] + 1), np.int64)
        lengths.cumsum(axis=1, out=bounds[:, 1:])
        pieces: list[list[bytes | None]] = []
        for own, ends in zip(zip(*columns, strict=True), bounds.tolist(), strict=True):
            body = b"".join([row[width:] for row, width in zip(own, heads.widths, strict=True)])
            pieces.append([body[begin:end] for begin, end in pairwise(ends)])
        for row, number in zip(*np.nonzero(self._nulls(heads.lengths)), strict=True):
            pieces[row][number] = None
        return pieces

    def numbers(self, names: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Numbers and instants, all at once.

        Parameters
        ----------
        names
            Features of type BIGINT, DOUBLE or TIMESTAMP.

        Returns
        -------
        values
            # [rows, names], instants as whole seconds since 1970; 0 where null
        nulls
            # [rows, names]
        """
        cells = self._heads.cells(names, 8)
        bits = self._matrix.take(cells.places, axis=1).view("<i8")
        doubles = self._layout.doubles(names, (1,) * len(names))
        return np.where(doubles, bits.view(np.float64), bits), self._nulls(cells)

    def flags(self, names: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Booleans as 1 and 0, which a null is too, and where they are null; # [rows, names]."""
        cells = self._heads.cells(names, 1)
        return self._matrix.take(cells.places, axis=1), self._nulls(cells)

    def _nulls(self, cells: Cells) -> NDArray[np.bool_]:
        return (self._matrix.take(cells.null_bytes, axis=1) & cells.null_masks) != 0

    def pieces(self, name: str) -> list[bytes | None]:
        """The bytes of a text or an array; # [rows]."""
        number = self._heads.variable[name]
        return [row[number] for row in self._pieces]

    def texts(self, name: str, empty_is_null: bool = False) -> tuple[NDArray[np.int64], pa.Array]:
        """The elements of arrays of texts, one row's after the other.

        Parameters
        ----------
        name
            A feature of type VARCHAR[].
        empty_is_null
            Whether an empty text stands for an unknown one.

        Returns
        -------
        counts
            # [rows], 0 where null
        texts
            # [elements]
        """
        return text_elements([piece or b"" for piece in self.pieces(name)], empty_is_null)

    def integers(self, name: str) -> NDArray[np.int64]:
        """The elements of arrays of type BIGINT[], one row's after the other; # [elements]."""
        return np.frombuffer(b"".join([piece or b"" for piece in self.pieces(name)]), "<i8")

    def arrays(
        self, names: tuple[str, ...], widths: tuple[int, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Arrays of numbers that all have a known length.

        Parameters
        ----------
        names
            Features of type BIGINT[] or DOUBLE[].
        widths
            # [names], how many elements each has.

        Returns
        -------
        values
            # [rows, elements of all], a name's elements together; 0 where null
        nulls
            # [rows, names]

        Raises
        ------
        ValueError
            When an array has another length.
        """
        numbers = [self._heads.variable[name] for name in names]
        sizes = [8 * width for width in widths]
        found: list[bytes] = []
        for row in self._pieces:
            for number, size in zip(numbers, sizes, strict=True):
                piece = row[number]
                if piece is None:
                    piece = bytes(size)
                elif len(piece) != size:
                    name = names[numbers.index(number)]
                    raise ValueError(f"{name}: an array has not {size // 8} elements")
                found.append(piece)
        bits = np.frombuffer(b"".join(found), "<i8").reshape(self.num_rows, sum(widths))
        values = np.where(self._layout.doubles(names, widths), bits.view(np.float64), bits)
        return values, self._nulls(self._heads.cells(names, 4))

    def take(self, rows: pa.Array) -> FeatureRows:
        """Some of the rows; nothing is unpacked."""
        places = rows.to_pylist()
        packed = {
            view: (schema, [own[place] for place in places])
            for view, (schema, own) in self._packed.items()
        }
        return FeatureRows(self._layout, packed, len(places))


def as_table(features: pa.Table | FeatureRows, names: Sequence[str] | None = None) -> pa.Table:
    """Columns of features as a table, however they are held; all of them without names."""
    names = features.column_names if names is None else names
    return pa.table({name: features[name] for name in names})
