"""Packed rows: the bytes, and every value back as it was.

N7, N8 and N13 of the cases are here for the format, and in test_online_store for the store.
"""

import math
import struct

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import BadInput
from feature_repo.packing import ARROW, RowSchema, arrow_type

ALL = RowSchema(tuple((f"f_{kind.lower()}", kind) for kind in [*ARROW, "proto:FLOAT"]))
INT64 = st.integers(-(2**63), 2**63 - 1)
CELLS = {
    "INT64": INT64,
    "UNIX_TIMESTAMP": INT64,
    "DOUBLE": st.floats(),
    "BOOL": st.booleans(),
    "STRING": st.text(),
    "INT64_LIST": st.lists(INT64),
    "DOUBLE_LIST": st.lists(st.floats()),
    "STRING_LIST": st.lists(st.text()),
    "proto:FLOAT": st.binary(),
}


def _same(left: pa.Array, right: pa.Array) -> None:
    left.validate(full=True)
    assert left.type == right.type
    # As text, so that NaN is itself and -0.0 is not 0.0.
    assert list(map(repr, left.to_pylist())) == list(map(repr, right.to_pylist()))


def test_the_bytes_are_those_of_the_page():
    """A number, a null number, a text, a truth and an array, written by hand."""
    schema = RowSchema((("n", "INT64"), ("t", "STRING"), ("z", "DOUBLE"), ("b", "BOOL")))
    columns = [pa.array([7]), pa.array(["né"]), pa.array([None], pa.float64()), pa.array([True])]
    expected = struct.pack("<qdIBB", 7, 0.0, 3, 1, 0b0100) + "né".encode()
    assert schema.pack(columns, "v") == [expected]
    arrays = RowSchema((("i", "INT64_LIST"), ("s", "STRING_LIST")))
    columns = [pa.array([[5, -1]]), pa.array([["a", "", "bc"]])]
    texts = struct.pack("<IIII", 3, 1, 0, 2) + b"abc"
    expected = struct.pack("<IIB", 16, len(texts), 0) + struct.pack("<qq", 5, -1) + texts
    assert arrays.pack(columns, "v") == [expected]


def test_null_zero_nan_and_empty_are_four_answers():
    """N13 and N8: and a column of nulls alone, of each type, is one of nulls."""
    for kind, values in {
        "DOUBLE": [None, 0.0, math.nan, -0.0],
        "INT64": [None, 0],
        "BOOL": [None, False],
        "STRING": [None, "", "0"],
        "INT64_LIST": [None, [], [0]],
        "DOUBLE_LIST": [None, [], [math.nan]],
        "STRING_LIST": [None, [], [""]],
    }.items():
        schema = RowSchema((("f", kind),))
        for cells in (values, [None] * 3):
            column = pa.array(cells, ARROW[kind])
            packed = schema.pack([column], "v")
            _same(schema.unpack(packed, ["f"])["f"], column)
    # A NaN keeps its bits: this one is signalling, and negative.
    bits = struct.unpack("<d", struct.pack("<Q", 0xFFF4_0000_0000_0001))[0]
    schema = RowSchema((("f", "DOUBLE"),))
    (row,) = schema.pack([pa.array([bits])], "v")
    assert row[:8] == struct.pack("<Q", 0xFFF4_0000_0000_0001)


def test_an_array_with_a_null_is_refused():
    """N7: Feast would write a 0 in its place."""
    for kind, cell in {"INT64_LIST": [1, None], "STRING_LIST": ["", None]}.items():
        column = pa.array([[], cell], ARROW[kind])
        with pytest.raises(BadInput, match="view v, feature f: an array holds a null"):
            RowSchema((("f", kind),)).pack([column], "v")
    # A null that lies in no row's part of the column is nobody's.
    column = pa.array([[1, None], [2]], pa.list_(pa.int64())).slice(1)
    schema = RowSchema((("f", "INT64_LIST"),))
    assert schema.unpack(schema.pack([column], "v"), ["f"])["f"].to_pylist() == [[2]]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_rows_come_back(data):
    kinds = data.draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=20))
    count = data.draw(st.integers(0, 6))
    schema = RowSchema(tuple((f"f{n}", kind) for n, kind in enumerate(kinds)))
    columns = []
    for kind in kinds:
        cells = st.lists(st.none() | CELLS[kind], min_size=count + 2, max_size=count + 2)
        # A slice, as a batch of a longer table is one.
        columns.append(pa.array(data.draw(cells), arrow_type(kind)).slice(1, count))
    assert RowSchema.parse(schema.definition) == schema
    packed = [schema.missing, *schema.pack(columns, "v")]
    found = schema.unpack(packed, schema.position)
    for name, column in zip(schema.position, columns, strict=True):
        _same(found[name], pa.concat_arrays([pa.nulls(1, column.type), column]))


def test_some_features_are_read_without_the_others():
    columns = [pa.array([v], arrow_type(k)) for (_, k), v in zip(ALL.fields, _one(), strict=True)]
    packed = ALL.pack(columns, "v")
    for (name, _), column in zip(ALL.fields, columns, strict=True):
        _same(ALL.unpack(packed, [name])[name], column)


def _one() -> list:
    return [2**53 + 1, 0.1, -5, True, "x", [1, 2], [0.5], ["a", "b"], b"\0\1"]
