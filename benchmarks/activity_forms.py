"""The additive measures of ``user_activity`` at six scales, in five forms with one meaning.

=============  =================================================================  ================
form           what it computes with                                              rows
=============  =================================================================  ================
``steps``      running totals, differenced by as-of joins: the pattern of         events, expiries
               dbt_project's macros in plain SQL
``range_all``  RANGE windows in DuckDB, on a whole-number key, their fastest      events, expiries
``entries``    running totals                                                     events
``range``      RANGE windows                                                      events
``polars``     rolling expressions in polars                                      events
=============  =================================================================  ================

Each form reads the log's Parquet file and writes a file for each scale, sorted by user and instant.
``python -m benchmarks.activity_forms FORM LOG OUT`` runs one; ``compare`` holds them equal to each
other and to what dbt published.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl

from benchmarks.settings import ACTIONS, SCALES

MEASURES = (
    "event_count",
    *(f"{action}_count" for action in ACTIONS),
    *("duration_ms_sum", "durations_known", "gap_ms_sum", "gaps_known"),
)
# What dbt publishes, from these measures.
PUBLISHED = {
    **{f"{name}_count": f"{name}_count" for name in ("event", *ACTIONS)},
    "duration_ms_sum": "duration_ms_sum",
    "duration_ms_mean": "cast(duration_ms_sum as double) / nullif(durations_known, 0)",
    "gap_ms_mean": "cast(gap_ms_sum as double) / nullif(gaps_known, 0)",
}


def steps(log: Path, folder: Path) -> None:
    """Write each scale's entries and expiries from running totals."""
    with duckdb.connect() as connection:
        _totals(connection, log)
        for scale, width in SCALES.items():
            sql = f"{_entries(width)} union all {_expiries(width)}"
            _copy(connection, sql, folder / f"{scale}.parquet")


def entries(log: Path, folder: Path) -> None:
    """Write each scale's values at instants with an event from running totals."""
    with duckdb.connect() as connection:
        _totals(connection, log)
        for scale, width in SCALES.items():
            _copy(connection, _entries(width), folder / f"{scale}.parquet")


def ranges_all(log: Path, folder: Path) -> None:
    """Write each scale's entries and expiries from RANGE windows over both."""
    with duckdb.connect() as connection:
        _instants(connection, log)
        for scale, width in SCALES.items():
            # An expiry adds nothing to any window. One that falls on another row is not needed.
            steps = f"""
                from instants
                union all by name
                select user_id, at_us + {width} as at_us, {_each("0 as {0}")}
                from instants
                anti join (select user_id, at_us - {width} as at_us from instants)
                    using (user_id, at_us)
            """
            _copy(connection, _windows(steps, width), folder / f"{scale}.parquet")


def ranges(log: Path, folder: Path) -> None:
    """Write each scale's values at instants with an event from RANGE windows."""
    with duckdb.connect() as connection:
        _instants(connection, log)
        for scale, width in SCALES.items():
            _copy(connection, _windows("from instants", width), folder / f"{scale}.parquet")


def rolling(log: Path, folder: Path) -> None:
    """Write each scale's values at instants with an event from rolling expressions."""
    by_user = ["user_id", "event_timestamp"]
    gap = pl.col("event_timestamp").diff().over("user_id")
    instants = (
        pl.scan_parquet(log)
        .group_by(by_user)
        .agg(
            pl.len().cast(pl.Int64).alias("event_count"),
            *(
                (pl.col("action_type") == action).sum().cast(pl.Int64).alias(f"{action}_count")
                for action in ACTIONS
            ),
            pl.col("duration_ms").sum().alias("duration_ms_sum"),
            pl.col("duration_ms").count().cast(pl.Int64).alias("durations_known"),
        )
        .sort(by_user)
        .with_columns(
            gap.dt.total_milliseconds().fill_null(0).alias("gap_ms_sum"),
            gap.is_not_null().cast(pl.Int64).alias("gaps_known"),
        )
        .collect()
    )
    for scale, width in SCALES.items():
        recent = instants.select(
            *by_user,
            *(
                pl.col(measure)
                .rolling_sum_by("event_timestamp", window_size=f"{width}us", closed="right")
                .over("user_id")
                for measure in MEASURES
            ),
        )
        recent.write_parquet(folder / f"{scale}.parquet", compression="zstd")


def compare(written: Path, published: Path | None = None) -> tuple[int, int]:
    """Return how many values were compared, and how many of them differ.

    Parameters
    ----------
    written : Path
        Folder of the forms' folders. All are held against ``range``; of ``steps``, the rows at the
        instants of ``range`` so, and all of its rows against ``range_all``.
    published : Path, optional
        Folder of the feature views that dbt published: all of its rows against those of ``steps``.
    """
    own = {name: name for name in MEASURES}
    compared = different = 0
    with duckdb.connect() as connection:
        for scale in SCALES:
            expected, stepped = (written / form / f"{scale}.parquet" for form in ("range", "steps"))
            pairs = [
                (stepped, "right", expected, own),
                (stepped, "full", written / "range_all" / f"{scale}.parquet", own),
                (written / "entries" / f"{scale}.parquet", "full", expected, own),
                (written / "polars" / f"{scale}.parquet", "full", expected, own),
            ]
            if published:
                columns = {f"{name}_{scale}": sql for name, sql in PUBLISHED.items()}
                view = published / f"user_activity_{scale}.parquet"
                pairs.append((view, "full", stepped, columns))
            for left, kind, right, columns in pairs:
                # A row that one side lacks differs in everything.
                differs = " + ".join(
                    f"count(*) filter (where l.user_id is null or r.user_id is null "
                    f"or l.{name} is distinct from r.{name})"
                    for name in columns
                )
                wanted = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
                rows, found = connection.execute(f"""
                    select count(*), {differs}
                    from '{left}' as l
                    {kind} join (
                        select user_id, event_timestamp, {wanted} from '{right}'
                    ) as r on l.user_id = r.user_id and l.event_timestamp = r.event_timestamp
                """).fetchall()[0]
                compared += rows * len(columns)
                different += found
    return compared, different


def _instants(connection: duckdb.DuckDBPyConnection, log: Path) -> None:
    """Make the table ``instants``: what each instant of each user adds to each measure."""
    by_action = ", ".join(
        f"count(*) filter (where action_type = '{action}') as {action}_count" for action in ACTIONS
    )
    connection.execute(f"""
        create temp table instants as
        with per_instant as (
            select
                user_id,
                epoch_us(event_timestamp) as at_us,
                count(*) as event_count,
                {by_action},
                coalesce(sum(duration_ms), 0) as duration_ms_sum,
                count(duration_ms) as durations_known
            from read_parquet('{log}')
            group by user_id, event_timestamp
        ),
        with_gaps as (
            select
                *,
                (at_us - lag(at_us) over (partition by user_id order by at_us)) // 1000 as gap_ms
            from per_instant
        )
        select
            * exclude (gap_ms) replace (cast(duration_ms_sum as bigint) as duration_ms_sum),
            coalesce(gap_ms, 0) as gap_ms_sum,
            case when gap_ms is null then 0 else 1 end as gaps_known
        from with_gaps
    """)


def _totals(connection: duckdb.DuckDBPyConnection, log: Path) -> None:
    """Make the table ``totals``: the running total of each measure at each instant."""
    _instants(connection, log)
    connection.execute(f"""
        create temp table totals as
        select
            user_id,
            at_us,
            {_each("cast(sum({0}) over so_far as bigint) as {0}")}
        from instants
        window so_far as (partition by user_id order by at_us rows unbounded preceding)
    """)


def _entries(width: int) -> str:
    return f"""
        select now.user_id, now.at_us, {_each(_DIFFERENCE)}
        from totals as now
        asof left join totals as past
            on now.user_id = past.user_id and now.at_us - {width} >= past.at_us
    """


def _expiries(width: int) -> str:
    return f"""
        select past.user_id, past.at_us + {width}, {_each(_DIFFERENCE)}
        from totals as past
        asof join totals as now
            on past.user_id = now.user_id and past.at_us + {width} >= now.at_us
        -- An expiry that falls on an entry has its row already.
        where now.at_us < past.at_us + {width}
    """


def _windows(rows: str, width: int) -> str:
    # Both ends of a RANGE are in the window, and ours is (t - W, t].
    return f"""
        select user_id, at_us, {_each("cast(sum({0}) over recent as bigint) as {0}")}
        from ({rows})
        window recent as (
            partition by user_id order by at_us
            range between {width - 1} preceding and current row
        )
    """


_DIFFERENCE = "now.{0} - coalesce(past.{0}, 0) as {0}"


def _each(form: str) -> str:
    return ", ".join(form.format(measure) for measure in MEASURES)


def _copy(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    connection.execute(f"""
        copy (
            select * exclude (at_us), make_timestamp(at_us) as event_timestamp
            from ({sql})
            order by user_id, at_us
        ) to '{path}' (format parquet, compression zstd)
    """)


FORMS: dict[str, Callable[[Path, Path], None]] = {
    "steps": steps,
    "range_all": ranges_all,
    "entries": entries,
    "range": ranges,
    "polars": rolling,
}


def main() -> None:
    """Run the form, or the comparison, that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="form", required=True)
    for name in FORMS:
        command = commands.add_parser(name)
        command.add_argument("log", type=Path)
        command.add_argument("out", type=Path)
    command = commands.add_parser("compare")
    command.add_argument("written", type=Path)
    command.add_argument("published", type=Path)
    arguments = vars(parser.parse_args())
    form = arguments.pop("form")
    if form == "compare":
        compared, different = compare(**arguments)
        print(json.dumps({"compared": compared, "different": different}))
        return
    arguments["out"].mkdir(parents=True, exist_ok=True)
    FORMS[form](arguments["log"], arguments["out"])


if __name__ == "__main__":
    main()
