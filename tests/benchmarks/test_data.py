"""What the generators promise, and the comparisons lean on."""

from pathlib import Path

import duckdb
import pytest

from benchmarks.checks import different_files
from benchmarks.data import head, write_entities, write_features, write_log


def _one(sql: str) -> tuple:
    return duckdb.sql(sql).fetchall()[0]


def test_log_is_of_its_size_sorted_with_ties_and_the_same_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_log(tmp_path / f"{name}.parquet", events=5000, users=50, seed=4)
    write_log(tmp_path / "other.parquet", events=5000, users=50, seed=5)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "a.parquet").read_bytes() != (tmp_path / "other.parquet").read_bytes()
    log = f"'{tmp_path}/a.parquet'"
    assert _one(
        f"select count(*), count(distinct event_id), count(distinct user_id) from {log}"
    ) == (
        *(5000, 5000),
        50,
    )
    assert _one(f"select count(*) - count(distinct (user_id, event_timestamp)) > 50 from {log}")[0]
    assert _one(f"""
        select count(*)
        from (select event_timestamp, lag(event_timestamp) over () as before from {log})
        where event_timestamp < before
    """) == (0,)


def test_late_event_is_the_only_difference(tmp_path: Path) -> None:
    write_log(tmp_path / "plain.parquet", events=5000, users=50, seed=4)
    write_log(tmp_path / "late.parquet", events=5000, users=50, seed=4, late=1)
    plain, late = (f"from '{tmp_path}/{name}.parquet'" for name in ("plain", "late"))
    assert duckdb.sql(f"{plain} except {late}").fetchall() == []
    assert duckdb.sql(f"""
        select event_timestamp < timestamp '2023-04-01', ingested_at > timestamp '2024-12-01'
        from ({late} except {plain})
    """).fetchall() == [(True, True)]


def test_head_is_what_the_log_was(tmp_path: Path) -> None:
    write_log(tmp_path / "log.parquet", events=1000, users=5, seed=4)
    head(tmp_path / "log.parquet", tmp_path / "head.parquet", 990)
    assert duckdb.sql(f"from '{tmp_path}/head.parquet'").fetchall() == (
        duckdb.sql(f"from '{tmp_path}/log.parquet' limit 990").fetchall()
    )


def test_feature_and_entity_rows_are_what_all_stores_answer_alike(tmp_path: Path) -> None:
    write_features(tmp_path / "view.parquet", 900, users=30, prefix="v", features=3, seed=1)
    write_entities(tmp_path / "entities.parquet", 700, users=30, seed=2)
    for name, rows in (("view", 900), ("entities", 700)):
        assert _one(f"""
            select count(*), count(distinct (user_id, event_timestamp)), count(distinct user_id)
            from '{tmp_path}/{name}.parquet'
        """) == (rows, rows, 30)
    assert _one(f"""
        select count(*) from '{tmp_path}/entities.parquet' e
        where not exists (
            from '{tmp_path}/view.parquet' v
            where v.user_id = e.user_id and v.event_timestamp <= e.event_timestamp
        )
    """) == (0,)
    with pytest.raises(SystemExit, match="10 rows are too few for 30 users"):
        write_entities(tmp_path / "few.parquet", 10, users=30, seed=2)


def test_folders_differ_by_rows_and_not_by_their_order_or_computed_at(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    for folder, row in ((left, "1, [2.5], 'x'"), (right, "1, [2.5], 'y'")):
        folder.mkdir()
        for name, order in (("same", "asc" if folder == left else "desc"), ("other", "asc")):
            extra = 7 if (folder, name) == (left, "other") else 8
            duckdb.execute(f"""
                copy (
                    select * from (values ({row}), ({extra if name == "other" else 9}, null, 'z'))
                    as t (a, b, computed_at) order by a {order}
                ) to '{folder}/{name}.parquet' (format parquet)
            """)
    duckdb.execute(f"copy (select 1 as a) to '{left}/alone.parquet' (format parquet)")
    assert different_files(left, right) == ["alone.parquet", "other.parquet"]
