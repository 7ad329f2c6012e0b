"""Plain arrays in Parquet, a row group at a time: what a training loop reads and never whole.

An array of several columns is one column of fixed width: its bytes are read as they will be used.
"""

from __future__ import annotations

import contextlib
import errno
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.errors import BadInput

Arrays = Mapping[str, NDArray[Any]]
_SHAPES = b"scalespace:arrays"


@contextlib.contextmanager
def space_named(what: str, folder: Path | None) -> Iterator[None]:
    """Say where there was no space left for what."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = folder or Path(tempfile.gettempdir())
        raise BadInput(
            f"{place}: no space is left for {what}, which do not fit into memory; free some, or "
            "choose fewer features"
        ) from None


class RowGroupWriter:
    """Writes groups of aligned arrays, each as one row group; a context manager.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, arrays: Arrays) -> None:
        """Write one group; # [rows, ...] each, with the names, types and widths of the first."""
        shapes = {name: [each.dtype.str, *each.shape[1:]] for name, each in arrays.items()}
        # No column can be without a width: such an array is made again from its shape alone.
        columns = {name: _column(each) for name, each in arrays.items() if 0 not in each.shape[1:]}
        schema = pa.schema(
            [(name, column.type) for name, column in columns.items()],
            metadata={_SHAPES: json.dumps(shapes).encode()},
        )
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, schema, compression="lz4", use_dictionary=False, write_statistics=False
            )
        table = pa.table(columns, schema=schema)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


class RowGroups:
    """Reads what :class:`RowGroupWriter` wrote.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        shapes = json.loads(self._file.schema_arrow.metadata[_SHAPES])
        self._shapes = {name: (np.dtype(kind), tuple(s)) for name, (kind, *s) in shapes.items()}
        metadata = self._file.metadata
        self.rows = [metadata.row_group(place).num_rows for place in range(len(self))]

    def __len__(self) -> int:
        return self._file.num_row_groups

    def read(
        self, groups: Sequence[int], names: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The arrays of some groups, one after the other; # [rows of them, ...] each."""
        wanted = list(self._shapes) if names is None else list(names)
        total = sum(self.rows[group] for group in groups)
        found = {}
        for name in wanted:
            kind, shape = self._shapes[name]
            found[name] = np.zeros((total, *shape), dtype=kind)
        stored = [name for name in wanted if 0 not in self._shapes[name][1]]
        begin = 0
        for group in groups:
            table = self._file.read_row_group(group, columns=stored, use_threads=False)
            end = begin + table.num_rows
            for name in stored:
                kind, shape = self._shapes[name]
                found[name][begin:end] = _values(table[name], kind, shape)
            begin = end
        return found


def _column(values: NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    width = values.dtype.itemsize * int(np.prod(values.shape[1:]))
    content = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, content])


def _values(column: pa.ChunkedArray, kind: np.dtype, shape: tuple[int, ...]) -> NDArray[Any]:
    if not shape:
        return column.to_numpy()
    width = kind.itemsize * int(np.prod(shape))
    pieces = [
        np.frombuffer(piece.buffers()[1], np.uint8)[
            piece.offset * width : (piece.offset + len(piece)) * width
        ]
        for piece in column.chunks
    ]
    content = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return content.view(kind).reshape(-1, *shape)
