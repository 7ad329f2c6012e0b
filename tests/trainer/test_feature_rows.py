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
            else pa.array(VALUES[name], _arrow(kind))
            for name, kind in names.items()
        ]
        packed[view] = schema, schema.pack(columns, view)
    layout = Layout(wanted)
    return FeatureRows(layout, {view: packed[view] for view in layout.kinds}, 3)


def _arrow(kind: str) -> pa.DataType:
    types = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_()}
    types |= {"VARCHAR": pa.string(), "BIGINT[]": pa.list_(pa.int64())}
    return types[kind]


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
            values, [[1709208000, 0, -1], [-0.5, np.nan, 0], [3, 0, -(2.0**62)]]
        )
        assert nulls.tolist() == [[False, True, False], [False, False, True], [False, True, False]]
    values, _ = rows.numbers(("count_7d",))
    assert values.tolist() == [[3, 0, -(2.0**62)]]


def test_an_encoder_reads_them_as_it_reads_a_table(rows: FeatureRows) -> None:
    table = as_table(rows)
    now = np.array(["2024-03-01T00:00:00.123456"] * 3, dtype="datetime64[us]")
    training = pa.concat_tables(
        [table.set_column(5, "transitions", pa.array([[1, 2], [0, 4], None]))] * 30
    )
    types = {"gap_mean": "DOUBLE", "count_7d": "BIGINT", "open": "BOOLEAN"}
    types |= {"seen_at": "TIMESTAMP", "city": "VARCHAR"}
    encoder = FeatureEncoder.fit(training, types, np.tile(now, 30))
    expected = encoder.transform(table, now)
    np.testing.assert_array_equal(encoder.transform(rows, now), expected)
    # Not all of it is the mean: a row that knows everything differs from one that knows nothing.
    assert (expected[0] != expected[2]).sum() >= 5
