"""Packed rows of a request give what a table of the same features gives."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.packing import RowSchema
from trainer.feature_rows import PACKED_KINDS, FeatureRows, Layout, as_table
from trainer.features import Feature
from trainer.inputs import FeatureEncoder

VIEWS = {
    "first": {"count_7d": "BIGINT", "city": "VARCHAR", "seen_at": "TIMESTAMP", "open": "BOOLEAN"},
    "second": {"transitions": "BIGINT[]", "gap_mean": "DOUBLE", "item_count": "BIGINT"},
}
SEEN = datetime(2024, 2, 29, 12)
VALUES = {
    "count_7d": [3, None, -(2**62)],
    "city": ["Oslo", "", None],
    "seen_at": [SEEN, None, datetime(1969, 12, 31, 23, 59, 59)],
    "open": [True, False, None],
    "transitions": [[1, 2], [], None],
    "gap_mean": [-0.5, float("nan"), None],
    "item_count": [0, 7, None],
}


@pytest.fixture
def wanted() -> tuple[Feature, ...]:
    # Not in the views' order, and not all of them.
    order = ("gap_mean", "count_7d", "open", "seen_at", "city", "transitions")
    types = {name: (view, kind) for view, names in VIEWS.items() for name, kind in names.items()}
    return tuple(Feature(types[n][0], n, types[n][1]) for n in order)


@pytest.fixture
def rows(wanted: tuple[Feature, ...]) -> FeatureRows:
    packed = {}
    for view, names in VIEWS.items():
        schema = RowSchema(tuple((name, PACKED_KINDS[kind]) for name, kind in names.items()))
        columns = [
            pa.array(VALUES[name], pa.timestamp("s")).cast(pa.int64())
            if kind == "TIMESTAMP"
            else pa.array(VALUES[name], ARROW[kind])
            for name, kind in names.items()
        ]
        packed[view] = schema, schema.pack(columns, view)
    layout = Layout(wanted)
    return FeatureRows(layout, {view: packed[view] for view in layout.kinds}, 3)


ARROW = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR": pa.string(),
    "BIGINT[]": pa.list_(pa.int64()),
    "DOUBLE[]": pa.list_(pa.float64()),
}


def test_columns_are_those_that_were_packed(rows: FeatureRows) -> None:
    assert rows.column_names == ["gap_mean", "count_7d", "open", "seen_at", "city", "transitions"]
    assert rows.num_rows == 3
    for name in rows.column_names:
        found = rows[name].to_pylist()
        if name == "gap_mean":
            assert found[0] == -0.5
            assert np.isnan(found[1])
            assert found[2] is None
        else:
            assert found == VALUES[name], name
    assert rows["seen_at"].type == pa.timestamp("us")
    some = rows.take(pa.array([2, 0]))
    assert some.num_rows == 2
    assert some["city"].to_pylist() == [None, "Oslo"]
    assert as_table(some, ["count_7d"]).to_pydict() == {"count_7d": [-(2**62), 3]}


def test_numbers_come_at_once_and_in_the_order_asked_for(rows: FeatureRows) -> None:
    for _ in range(2):  # the second time from what was found the first
        values, nulls = rows.numbers(("seen_at", "gap_mean", "count_7d"))
        np.testing.assert_array_equal(
            values.T, [[1709208000, 0, -1], [-0.5, np.nan, 0], [3, 0, -(2.0**62)]]
        )
        assert nulls.T.tolist() == [
            [False, True, False],
            [False, False, True],
            [False, True, False],
        ]
    values, _ = rows.numbers(("count_7d",))
    assert values.tolist() == [[3], [0], [-(2.0**62)]]
    assert rows.numbers(())[0].shape == (3, 0)


def test_flags_texts_and_arrays_come_as_they_were_packed(rows: FeatureRows) -> None:
    values, nulls = rows.flags(("open",))
    assert values.tolist() == [[1], [0], [0]]
    assert nulls.tolist() == [[False], [False], [True]]
    assert rows.pieces("city") == [b"Oslo", b"", None]
    assert rows.integers("transitions").tolist() == [1, 2]
    assert rows.flags(())[0].shape == (3, 0)


def test_arrays_of_a_known_length_stand_side_by_side() -> None:
    wanted = (Feature("v", "shares", "DOUBLE[]"), Feature("v", "counts", "BIGINT[]"))
    # Between them lies one that nobody asks for.
    schema = RowSchema(
        (("shares", "DOUBLE_LIST"), ("other", "STRING_LIST"), ("counts", "INT64_LIST"))
    )
    columns = [
        pa.array([[0.25, float("nan")], None]),
        pa.array([["x", "", "yz"], ["w"]]),
        pa.array([[2**40], [-1]]),
    ]
    rows = FeatureRows(Layout(wanted), {"v": (schema, schema.pack(columns, "v"))}, 2)
    values, nulls = rows.arrays(("counts", "shares"), (1, 2))
    np.testing.assert_array_equal(values, [[2.0**40, 0.25, np.nan], [-1, 0, 0]])
    assert nulls.tolist() == [[False, False], [False, True]]
    with pytest.raises(ValueError, match="counts: an array has not 2 elements"):
        rows.arrays(("counts",), (2,))
    assert rows.arrays((), ())[0].shape == (2, 0)


def test_elements_of_texts_may_be_unknown() -> None:
    schema = RowSchema((("kinds", "STRING_LIST"),))
    packed = schema.pack([pa.array([["é", ""], None, [], ["b"]])], "v")
    rows = FeatureRows(Layout((Feature("v", "kinds", "VARCHAR[]"),)), {"v": (schema, packed)}, 4)
    counts, texts = rows.texts("kinds")
    assert counts.tolist() == [2, 0, 0, 1]
    assert texts.to_pylist() == ["é", "", "b"]
    assert rows.texts("kinds", empty_is_null=True)[1].to_pylist() == ["é", None, "b"]


def test_rows_of_another_schema_are_read_by_their_own(wanted: tuple[Feature, ...]) -> None:
    layout = Layout((Feature("v", "b", "BIGINT"),))
    for fields in ((("a", "INT64"), ("b", "INT64")), (("b", "INT64"), ("a", "INT64"))):
        schema = RowSchema(fields)
        columns = [pa.array([{"a": 1, "b": 2}[name]]) for name, _ in fields]
        rows = FeatureRows(layout, {"v": (schema, schema.pack(columns, "v"))}, 1)
        assert rows.numbers(("b",))[0].tolist() == [[2]]
    assert layout.heads((RowSchema((("b", "DOUBLE"),)),)) is None  # another kind is another feature


def test_an_encoder_reads_them_as_it_reads_a_table() -> None:
    """Every kind of a feature: nulls, no numbers, unknown texts, beyond the clip; bit for bit."""
    columns = {
        "gap_mean": ("DOUBLE", [-0.5, float("nan"), None, 1e300, float("inf")]),
        "count_7d": ("BIGINT", [3, None, -(2**62), 0, 8]),
        "open": ("BOOLEAN", [True, False, None, True, False]),
        "seen_at": (
            "TIMESTAMP",
            [SEEN, None, datetime(1969, 12, 31, 23), SEEN, datetime(2030, 1, 1)],
        ),
        "city": ("VARCHAR", ["Oslo", "", None, "Rome", "nowhere"]),
        "sums": ("BIGINT[]", [[1, 2], [0, 4], None, [-5, 0], [9, 9]]),
        "share_sums": ("DOUBLE[]", [[0.5], [float("nan")], None, [1.0], [0.0]]),
    }
    table = pa.table(
        {
            name: pa.array(values, pa.timestamp("us") if kind == "TIMESTAMP" else ARROW[kind])
            for name, (kind, values) in columns.items()
        }
    )
    types = {name: kind for name, (kind, _) in columns.items()}
    now = np.array(["2024-03-01T00:00:00.123456"] * 5, dtype="datetime64[us]")
    encoder = FeatureEncoder.fit(
        pa.concat_tables([table.slice(0, 4)] * 30), types, np.tile(now[:4], 30), clip=0.5
    )
    schema = RowSchema(tuple((name, PACKED_KINDS[kind]) for name, kind in types.items()))
    packed = [
        table[name].combine_chunks().cast(pa.timestamp("s")).cast(pa.int64())
        if kind == "TIMESTAMP"
        else table[name].combine_chunks()
        for name, kind in types.items()
    ]
    layout = Layout(tuple(Feature("v", name, kind) for name, kind in types.items()))
    rows = FeatureRows(layout, {"v": (schema, schema.pack(packed, "v"))}, 5)
    expected = encoder.transform(table, now)
    np.testing.assert_array_equal(encoder.transform(rows, now), expected)
    # Not all of it is the mean: each column that is no constant has several values.
    assert (expected[0] != expected[2]).sum() >= 8
    assert np.isfinite(expected).all()
    for end in (-0.5, 0.5):  # where values are cut off
        assert (expected == end).any()
