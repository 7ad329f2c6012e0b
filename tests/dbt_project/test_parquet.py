"""Row groups that are taken over byte for byte are read by others as what they were."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from dbt_session import PROJECT


@pytest.fixture
def parquet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module that puts files together, as dbt loads it."""
    monkeypatch.syspath_prepend(str(PROJECT / "plugins"))
    import scalespace_parquet

    yield scalespace_parquet
    del sys.modules["scalespace_parquet"]


ROWS = """
    select 'u' || (i % 700) as u, timestamp '1969-12-31' + to_microseconds(i * 7919) as t,
        i - 4000 as n, case when i % 5 > 0 then i / 3.0 end as d,
        [i, i + 1, -i] as l, i % 2 = 0 as b,
        case when i % 3 > 0 then 'x' || i end as s
    from range({}, {}) as r (i)
"""
NULLS = "union all select null, null, null, null, null, null, null where random() < -1"


def write(path: Path, first: int, last: int, suffix: str = NULLS) -> Path:
    duckdb.sql(
        f"copy (from ({ROWS.format(first, last)}) {suffix}) "
        f"to '{path}' (format parquet, compression zstd, row_group_size 2048)"
    )
    return path


@pytest.mark.parametrize("refused", [None, errno.EXDEV], ids=["in the kernel", "by hand"])
def test_chosen_row_groups_and_new_ones_make_one_file(
    refused: int | None, parquet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> int:
        raise OSError(refused, "these file systems do not copy to each other")

    if refused:
        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    old, new = (
        write(tmp_path / "old.parquet", 0, 20_000),
        write(tmp_path / "new.parquet", 50_000, 53_000),
    )
    groups = pq.ParquetFile(old).metadata
    assert groups.num_row_groups == 10
    keep = [0, 3, 9]
    out = tmp_path / "out.parquet"
    request = {
        "parts": [{"file": str(old), "keep": keep}, {"file": str(new)}],
        "drop": [str(new)],
        "out": str(out),
    }
    expected = duckdb.sql(f"from '{old}'").fetchall()
    expected = [row for g in keep for row in expected[2048 * g : 2048 * (g + 1)]]
    expected += duckdb.sql(f"from '{new}'").fetchall()

    assert parquet.splice(json.dumps(request)) == str(out)
    assert duckdb.sql(f"from '{out}'").fetchall() == expected
    # Another reader, every column, its statistics and its row groups by themselves.
    table = pq.read_table(out)
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    one = pq.ParquetFile(out).read_row_group(1)
    assert one["n"].to_pylist() == [i - 4000 for i in range(3 * 2048, 4 * 2048)]
    assert duckdb.sql(f"select count(*) from '{out}' where n between 2144 and 4191").fetchall() == [
        (2048,)
    ]
    assert old.exists() and not new.exists()


def test_a_footer_is_written_as_it_was_read(parquet: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "file.parquet", 0, 5_000)
    footer = bytearray()
    parquet._write_struct(footer, parquet._read_footer(str(path)).fields)
    assert path.read_bytes()[-8 - len(footer) : -8] == bytes(footer)


def test_files_of_other_columns_are_not_put_together(parquet: Any, tmp_path: Path) -> None:
    # Without the row of nulls that never comes, DuckDB says that some columns hold none.
    old, new = write(tmp_path / "old.parquet", 0, 10), write(tmp_path / "new.parquet", 0, 10, "")
    request = {
        "parts": [{"file": str(old), "keep": [0]}, {"file": str(new)}],
        "drop": [str(new)],
        "out": str(tmp_path / "out.parquet"),
    }
    assert parquet.splice(json.dumps(request)) == ""
    assert {path.name for path in tmp_path.iterdir()} == {"old.parquet", "new.parquet"}
