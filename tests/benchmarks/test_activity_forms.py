"""The compared forms of activity give equal values: else comparing their times says nothing."""

from pathlib import Path

import duckdb
import pytest

from benchmarks.activity_forms import FORMS, MEASURES, compare
from benchmarks.data import write_log
from benchmarks.feature_layer import dataset
from benchmarks.settings import SCALES
from dbt_session import DbtSession


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    write_log(folder / "log.parquet", events=3000, users=12, seed=3, late=2)
    for name, form in FORMS.items():
        (folder / name).mkdir()
        form(folder / "log.parquet", folder / name)
    return folder


def _hand_made(folder: Path, form: str) -> dict[str, list[tuple[int, ...]]]:
    """Write a log of one user in which every edge of 1h occurs, and return the form's rows."""
    log = folder / "log.parquet"
    duckdb.execute(f"""
        copy (
            select
                'u' as user_id,
                action_type,
                cast(instant as timestamp) as event_timestamp,
                duration_ms
            from (values
                ('browse', '2024-01-01 00:00:00', cast(5 as bigint)),
                ('search', '2024-01-01 00:00:00', null),
                ('browse', '2024-01-01 00:59:59.999999', 7),
                ('cart', '2024-01-01 01:00:00', 11)
            ) as t (action_type, instant, duration_ms)
        ) to '{log}' (format parquet)
    """)
    out = folder / form
    out.mkdir()
    FORMS[form](log, out)
    return {
        scale: duckdb.sql(f"""
            select event_timestamp::varchar, event_count, browse_count, duration_ms_sum,
                durations_known, gap_ms_sum, gaps_known
            from '{out / scale}.parquet' order by event_timestamp
        """).fetchall()
        for scale in ("1h", "1d")
    }


@pytest.mark.parametrize("form", FORMS)
def test_window_is_open_at_its_lower_end_and_an_instant_is_whole(form: str, tmp_path: Path) -> None:
    found = _hand_made(tmp_path, form)
    at_events = [
        ("2024-01-01 00:00:00", 2, 1, 5, 1, 0, 0),
        ("2024-01-01 00:59:59.999999", 3, 2, 12, 2, 3_599_999, 1),
        # The two at 00:00 are exactly 1h old: out. This gap is 1 µs, 0 whole ms.
        ("2024-01-01 01:00:00", 2, 1, 18, 2, 3_599_999, 2),
    ]
    expiries = [
        ("2024-01-01 01:59:59.999999", 1, 0, 11, 1, 0, 1),
        ("2024-01-01 02:00:00", 0, 0, 0, 0, 0, 0),
    ]
    assert found["1h"] == at_events + (expiries if form in ("steps", "range_all") else [])
    assert found["1d"][2] == ("2024-01-01 01:00:00", 4, 2, 23, 3, 3_599_999, 2)


def test_forms_agree_with_each_other_and_with_dbt(
    written: Path, tmp_path: Path, dbt_session: DbtSession
) -> None:
    views = [f"+user_activity_{scale}" for scale in SCALES]
    build = dbt_session(tmp_path / "home", dataset(written / "log.parquet"), "--select", *views)
    assert build.returncode == 0, build.output
    compared, different = compare(written, build.home / "features")
    assert different == 0
    # Three at about 3000 instants with an event; steps and dbt at those and their expiries.
    assert compared > 6 * (3 * 2900 * len(MEASURES) + 2 * 2900 * (len(MEASURES) + 8))


def test_comparison_sees_a_changed_value_and_a_missing_row(written: Path, tmp_path: Path) -> None:
    for name in FORMS:
        (tmp_path / name).mkdir()
        for scale in SCALES:
            (tmp_path / name / f"{scale}.parquet").symlink_to(written / name / f"{scale}.parquet")
    assert compare(tmp_path)[1] == 0
    changed, short = tmp_path / "polars" / "7d.parquet", tmp_path / "entries" / "1d.parquet"
    for path, sql in (
        (changed, "select * replace (event_count + cast(rn = 5 as bigint) as event_count)"),
        (short, "select *"),
    ):
        source = path.resolve()
        path.unlink()
        where = "where rn <> 9" if path == short else ""
        duckdb.execute(f"""
            copy (
                select * exclude (rn) from (
                    {sql} from (select *, row_number() over () as rn from '{source}') {where}
                )
            ) to '{path}' (format parquet)
        """)
    assert compare(tmp_path)[1] == 1 + len(MEASURES)
