"""Features of a few users as they lie packed in the online store, unpacked as they are asked for.

A request reads 150 features of one user: as many columns of Arrow cost more than all that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.packing import NUMBERS, RowSchema

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


_Places = tuple[NDArray[np.int64], NDArray[np.bool_]]


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
        self._places: dict[tuple[str, ...], tuple[list[RowSchema], _Places]] = {}

    def places(self, schemas: list[RowSchema], names: tuple[str, ...]) -> _Places:
        """Where each name stands among the numbers of all views, and whether it is a double.

        Parameters
        ----------
        schemas
            Of the views, in the order of `kinds`.
        names
            Of numbers or instants.
        """
        kept = self._places.get(names)
        if kept is None or kept[0] != schemas:
            kept = self._places[names] = schemas, self._find(schemas, names)
        return kept[1]

    def _find(self, schemas: list[RowSchema], names: tuple[str, ...]) -> _Places:
        begins, begin = {}, 0
        for view, schema in zip(self.kinds, schemas, strict=True):
            begins[view] = begin, schema.number_names
            begin += len(schema.number_names)
        places = []
        for name in names:
            start, numbers = begins[self.by_name[name].view]
            places.append(start + numbers.index(name))
        doubles = [self.by_name[name].type == "DOUBLE" for name in names]
        return np.array(places, np.int64), np.array(doubles, bool)


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

    def numbers(self, names: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Numbers and instants, all at once.

        Parameters
        ----------
        names
            Features of type BIGINT, DOUBLE or TIMESTAMP.

        Returns
        -------
        values
            # [names, rows], instants as whole seconds since 1970; 0 where null
        nulls
            # [names, rows]
        """
        schemas = [schema for schema, _ in self._packed.values()]
        places, doubles = self._layout.places(schemas, names)
        parts = [schema.numbers(rows) for schema, rows in self._packed.values()]
        bits = np.concatenate([part[0] for part in parts], axis=1)[:, places]
        nulls = np.concatenate([part[1] for part in parts], axis=1)[:, places]
        values = bits.astype(np.float64)
        values[:, doubles] = bits[:, doubles].view(np.float64)
        return values.T, nulls.T

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
