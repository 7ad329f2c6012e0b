"""Places of texts in a vocabulary."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UNKNOWN = -1
_FEW = 4096  # texts: of so many, Arrow's preparations take longer than to look them up one by one


def lookup(column: pa.Array, words: tuple[str, ...]) -> pa.Array:
    """Place of each text in the vocabulary, from 0; null for null and unknown."""
    return pc.index_in(column, value_set=_vocabulary(words), skip_nulls=True)


def places(column: pa.Array, words: tuple[str, ...]) -> NDArray[np.int64]:
    """Place of each text in the vocabulary, from 0; -1 for null and unknown; # [rows]."""
    if not words:
        return np.full(len(column), UNKNOWN, np.int64)
    if len(column) > _FEW or column.type != pa.string():
        return pc.fill_null(lookup(column, words), UNKNOWN).to_numpy().astype(np.int64)
    rows, offset = len(column), column.offset
    validity, bounds, data = column.buffers()
    if rows == 0 or data is None:
        texts = [b""] * rows
    else:
        ends = np.frombuffer(bounds, np.int32, rows + 1, 4 * offset).tolist()
        content = data.slice(ends[0], ends[-1] - ends[0]).to_pybytes()
        texts = [content[begin - ends[0] : end - ends[0]] for begin, end in pairwise(ends)]
    found = np.array(word_places(texts, words), np.int64)
    if validity is not None and column.null_count:
        first = offset // 8
        bits = np.frombuffer(validity, np.uint8, (offset + rows + 7) // 8 - first, first)
        known = np.unpackbits(bits, bitorder="little")[offset % 8 :][:rows]
        found[known == 0] = UNKNOWN
    return found


def word_places(pieces: Iterable[bytes | None], words: tuple[str, ...]) -> list[int]:
    """The same of the bytes of texts; ``None`` is null."""
    place = _index(words).get
    return [place(piece, UNKNOWN) for piece in pieces]


@functools.lru_cache(maxsize=256)
def _index(words: tuple[str, ...]) -> dict[bytes | None, int]:
    return {word.encode(): place for place, word in enumerate(words)}


@functools.lru_cache(maxsize=256)
def _vocabulary(words: tuple[str, ...]) -> pa.Array:
    """Texts as Arrow has them: making them again for every request took longer than to look up."""
    return pa.array(words, pa.string())
