"""Texts are found in a vocabulary alike, however few or many are looked up."""

import pyarrow as pa
import pytest

from trainer import vocabulary
from trainer.vocabulary import places

WORDS = ("b", "", "é")
TEXTS = ["b", None, "é", "x", "", "b"]
EXPECTED = [0, -1, 2, -1, 1, 0]


@pytest.mark.parametrize("few", [0, 100])
def test_places(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(vocabulary, "_FEW", few)
    column = pa.array(TEXTS)
    assert places(column, WORDS).tolist() == EXPECTED
    # A slice begins in the middle of a byte of the nulls' bits, and of the texts' bytes.
    assert places(column.slice(1, 4), WORDS).tolist() == EXPECTED[1:5]
    assert places(column.slice(2, 2), WORDS).tolist() == [2, -1]
    long = pa.array(TEXTS * 5)
    assert places(long.slice(9, 12), WORDS).tolist() == (EXPECTED * 5)[9:21]
    for nothing in (pa.array([], pa.string()), pa.nulls(0, pa.string()), column.slice(6)):
        assert places(nothing, WORDS).tolist() == []
    assert places(pa.nulls(2, pa.string()), WORDS).tolist() == [-1, -1]
    assert places(column, ()).tolist() == [-1] * 6
    assert places(column.cast(pa.large_string()).cast(pa.string()), WORDS).tolist() == EXPECTED
