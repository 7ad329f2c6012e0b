"""`verify` finds every difference that there is, and no other."""

import math
import struct
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import BadInput
from feature_repo.home import online_store_path
from feature_repo.online_database import OnlineDatabase
from feature_repo.packing import RowSchema
from feature_repo.store import apply
from feature_repo.sync import sync
from feature_repo.verify import different, verify

T0 = datetime(2024, 1, 1)
SCHEMA = RowSchema((("n", "INT64"), ("x", "DOUBLE")))


def _views() -> dict[str, pa.Table]:
    stamps = pa.array([T0 + timedelta(seconds=n) for n in range(6)], pa.timestamp("us"))
    return {
        "v": pa.table(
            {
                "user_id": list("abcdef"),
                "event_timestamp": stamps,
                "n": [0, None, 2, 3, 4, 5],
                "x": [0.0, math.nan, None, -0.0, 0.1, math.inf],
            }
        )
    }


@pytest.fixture
def home(publish, tmp_path):
    home = publish(tmp_path, _views())
    apply(home)
    sync(home, T0 + timedelta(seconds=4))
    return home


def _overwrite(home, user: str, n: int | None, x: float | None) -> None:
    columns = [pa.array([n], pa.int64()), pa.array([x], pa.float64())]
    (packed,) = SCHEMA.pack(columns, "v")
    OnlineDatabase.at(online_store_path(home)).push(
        "scalespace/v", SCHEMA, [(user, 2**60, None, packed)]
    )


def test_what_was_synced_is_equal(home):
    found = verify(home)
    # f has no row yet: that it has none online is compared too.
    assert (found.views, found.entities, found.cells, found.mismatches) == (1, 6, 12, 0)
    assert found.first is None
    assert found.instant.replace(tzinfo=None) == T0 + timedelta(seconds=4)


@pytest.mark.parametrize(
    ("user", "n", "x", "said"),
    [
        ("a", None, 0.0, "feature n: online None, offline 0"),
        ("a", 0, -0.0, "feature x: online -0.0, offline 0.0"),
        ("b", None, None, "feature x: online None, offline nan"),
        ("b", 0, math.nan, "feature n: online 0, offline None"),
        ("c", 2, math.nan, "feature x: online nan, offline None"),
        ("e", 4, 0.1 + 2**-56, "feature x: online 0.10000000000000002, offline 0.1"),
        ("f", 5, None, "feature n: online 5, offline None"),
        ("nobody", 5, None, "feature n: online 5, offline None"),
    ],
)
def test_one_cell_that_differs_is_found_and_named(home, user, n, x, said):
    _overwrite(home, user, n, x)
    found = verify(home)
    assert found.mismatches == 1
    assert str(found.first) == f"view v, entity {user}, {said}"
    # The sync that follows puts it right.
    sync(home, T0 + timedelta(seconds=4))
    assert verify(home).mismatches == 0


def test_another_instant_and_a_sample(home):
    assert verify(home, T0 + timedelta(seconds=2)).mismatches == 4  # of d and e, all
    found = verify(home, sample=2)
    assert (found.entities, found.cells, found.mismatches) == (2, 4, 0)
    assert verify(home, sample=100).entities == 6


def test_an_empty_store_is_named(publish, tmp_path):
    home = publish(tmp_path, _views())
    with pytest.raises(BadInput, match="online store in .* is empty"):
        verify(home)


CELLS = {
    pa.int64(): st.integers(-3, 3),
    pa.float64(): st.sampled_from([0.0, -0.0, math.nan, 1.5]),
    pa.bool_(): st.booleans(),
    pa.string(): st.sampled_from(["", "a", "b"]),
    pa.list_(pa.int64()): st.lists(st.integers(0, 1), max_size=2),
    pa.list_(pa.float64()): st.lists(st.sampled_from([0.0, -0.0, math.nan]), max_size=2),
    pa.list_(pa.string()): st.lists(st.sampled_from(["", "a"]), max_size=2),
}


@given(st.data(), st.sampled_from(list(CELLS)))
def test_columns_differ_where_their_cells_do(data, kind):
    cells = st.lists(st.none() | CELLS[kind], min_size=8, max_size=8)
    left, right = (data.draw(cells) for _ in range(2))
    # As text: NaN is equal to itself, and -0.0 is not 0.0.
    expected = [repr(a) != repr(b) for a, b in zip(left, right, strict=True)]
    found = different(pa.array([None, *left], kind).slice(1), pa.array(right, kind))
    assert found.tolist() == expected


def test_two_kinds_of_nan_differ():
    bits = [0x7FF8_0000_0000_0000, 0x7FF8_0000_0000_0001]
    one, other = (pa.array(np.array([b], np.uint64).view(np.float64)) for b in bits)
    assert math.isnan(struct.unpack("<d", struct.pack("<Q", bits[1]))[0])
    assert different(one, other).tolist() == [True]
    assert different(one, one).tolist() == [False]
