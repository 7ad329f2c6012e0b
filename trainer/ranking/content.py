"""What items are like: the vectors of the view ``item_content``, by a log's own numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.instants import Instants

VIEW, VECTOR = "item_content", "item_vector"


@dataclass(frozen=True, eq=False)
class ItemContent:
    """Vectors of items.

    Attributes
    ----------
    vectors
        # [values, numbers]; of no meaning where nothing is known
    since
        # [values], from when on the vector is known; NaT where it never is
    """

    vectors: NDArray[np.float64]
    since: Instants

    def known_at(self, instant: np.datetime64) -> NDArray[np.bool_]:
        """Which items' vectors were known; # [values]."""
        return self.since <= instant  # never of NaT


def read_item_content(features: Path, names: NDArray) -> ItemContent | None:
    """Read the published view, in the order of a log's items.

    Parameters
    ----------
    features
        ``<home>/features``.
    names
        # [values], text

    Returns
    -------
    content
        ``None`` where the dataset says nothing of what its items are like, or of none of these.

    Raises
    ------
    BadInput
        When the view cannot be read, or its vectors differ in length.
    """
    path = features / f"{VIEW}.parquet"
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path, columns=[C.ITEM, C.INSTANT, VECTOR])
    except (pa.ArrowInvalid, OSError) as error:
        line = str(error).splitlines()[0]
        raise BadInput(f"{path}: not readable ({line}); run trainer build again") from None
    place = {name: number for number, name in enumerate(names.tolist())}
    codes = np.array([place.get(name, -1) for name in table[C.ITEM].to_pylist()], dtype=np.int64)
    rows = np.flatnonzero(codes >= 0)
    if not len(rows):
        return None
    lists = table[VECTOR].combine_chunks()
    lengths = np.unique(lists.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) != 1:
        raise BadInput(f"{path}: vectors of {lengths.tolist()} numbers; run trainer build again")
    width = int(lengths[0])
    flat = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    vectors = np.zeros((len(names), width))
    since = np.full(len(names), np.datetime64("NaT"), dtype="datetime64[us]")
    vectors[codes[rows]] = flat[rows]
    since[codes[rows]] = table[C.INSTANT].to_numpy().astype("datetime64[us]")[rows]
    return ItemContent(vectors, since)
