"""The compared stores give equal values on the generated rows."""

from pathlib import Path

import duckdb
import pytest

from benchmarks.data import write_entities, write_features
from benchmarks.join_forms import STORES, call_sql, call_store, check_stream, compare


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joins")
    write_features(folder / "view_0.parquet", 800, users=20, prefix="v0", features=4, seed=1)
    write_entities(folder / "entities.parquet", 600, users=20, seed=2)
    call_sql(folder)
    for form in STORES:
        call_store(form, folder)
    return folder


def test_stores_agree_with_the_bare_join(answered: Path) -> None:
    assert compare(answered, list(STORES)) == (3 * 600 * 4, 0)


def test_bare_join_is_the_latest_row(answered: Path) -> None:
    """By a correlated subquery, which shares nothing with an as-of join."""
    wrong = duckdb.sql(f"""
        select count(*) from '{answered}/sql.parquet' as found
        where v0_1 is distinct from (
            select max_by(v0_1, event_timestamp) from '{answered}/view_0.parquet' as v
            where v.user_id = found.user_id and v.event_timestamp <= found.event_timestamp
        )
    """).fetchall()
    assert wrong == [(0,)]


def test_comparison_sees_a_changed_value_and_a_missing_row(answered: Path, tmp_path: Path) -> None:
    for name in ("sql", "view_0"):
        (tmp_path / f"{name}.parquet").symlink_to(answered / f"{name}.parquet")
    duckdb.execute(f"""
        copy (
            select * replace (v0_2 + cast(row = 7 as bigint) as v0_2)
            from '{answered}/ours.parquet' where row <> 9
        ) to '{tmp_path}/ours.parquet' (format parquet)
    """)
    assert compare(tmp_path, ["ours"])[1] == 1 + 4


def test_stream_check_sees_a_changed_value_and_rows_out_of_place(
    answered: Path, tmp_path: Path
) -> None:
    for name in ("entities", "view_0"):
        (tmp_path / f"{name}.parquet").symlink_to(answered / f"{name}.parquet")

    def streamed(values: str, order: str) -> tuple[int, int]:
        duckdb.execute(f"""
            copy (
                select * replace ({values}) from '{answered}/sql.parquet' order by {order}
            ) to '{tmp_path}/stream.parquet' (format parquet)
        """)
        return check_stream(tmp_path)

    assert streamed("row as row", "row") == (600 * (1 + 4), 0)
    assert streamed("v0_3 + cast(row = 5 as int) as v0_3", "row") == (600 * (1 + 4), 1)
    swapped = "case row when 3 then 4 when 4 then 3 else row end"
    assert streamed("row as row", swapped) == (600 * (1 + 4), 2)
