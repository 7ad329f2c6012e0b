"""The rankings of the bundled log beside what SQL says of the tables that dbt published."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from trainer.ranking.log import TargetLog, read_target_logs
from trainer.ranking.metrics import ranks
from trainer.ranking.rankers import BackedOff
from trainer.ranking.rows import RankingRows

CUT = "2024-04-18"  # valid_end of data/shop.yml


@pytest.fixture(scope="module")
def logs(shop_home: Path) -> dict[str, TargetLog]:
    return read_target_logs(shop_home / "labels")


def asked(shop_home: Path, log: TargetLog, target: str) -> tuple[RankingRows, list[str]]:
    """Event instants of the test part whose next event has a value, as SQL finds them."""
    found = duckdb.sql(f"""
        select user_id, event_timestamp, event_position, next_{target}_id
        from '{shop_home}/labels/spine.parquet'
        join '{shop_home}/labels/label_next.parquet' using (user_id, event_timestamp)
        where not is_landmark and event_timestamp > '{CUT}' and next_{target}_id is not null
        order by user_id, event_timestamp
    """).fetchall()
    owners = np.searchsorted(log.users, [row[0] for row in found])
    rows = RankingRows(
        log,
        owners,
        log.offsets[owners] + np.array([row[2] for row in found]),
        np.array([row[1] for row in found], dtype="datetime64[us]"),
        log.codes[log.offsets[owners] + np.array([row[2] for row in found])],
    )
    return rows, [row[3] for row in found]


@pytest.mark.parametrize("target", ["item", "category"])
def test_the_next_value_is_the_published_label(
    shop_home: Path, logs: dict[str, TargetLog], target: str
) -> None:
    rows, labels = asked(shop_home, logs[target], target)
    assert len(labels) > 2000
    assert logs[target].names[rows.targets].tolist() == labels


def test_targets_in_are_hits_misses_and_unknown_as_sql_counts_them(
    shop_home: Path, logs: dict[str, TargetLog]
) -> None:
    rows, labels = asked(shop_home, logs["item"], "item")
    hits = misses = unknown = 0
    for chosen, scores in BackedOff("own_all", "popular_7d", 1.0).scores(rows):
        block = rows.take(chosen)
        found = ranks(scores, block.targets, block.known)
        there = found.tied > 0
        unknown += int((~there).sum())
        hits += int((there & (found.higher < 10)).sum())
        misses += int((there & (found.higher >= 10)).sum())
    assert hits + misses + unknown == len(labels)
    assert min(hits, misses) > 0
    (expected,) = duckdb.sql(f"""
        with first_seen as (
            select item_id, min(event_timestamp) as first_seen
            from '{shop_home}/labels/events.parquet' where item_id is not null group by all
        )
        select count(*)
        from '{shop_home}/labels/spine.parquet'
        join '{shop_home}/labels/label_next.parquet' as next using (user_id, event_timestamp)
        join first_seen on next.next_item_id = first_seen.item_id
        where not is_landmark and event_timestamp > '{CUT}' and first_seen > event_timestamp
    """).fetchall()
    assert unknown == expected[0]


def test_popularity_is_that_of_the_published_views(
    shop_home: Path, logs: dict[str, TargetLog]
) -> None:
    log = logs["item"]
    instants = np.sort(np.random.default_rng(0).choice(log.instants, 20, replace=False))
    for scale in ("1h", "1d", "7d", "30d", "all"):
        found = log.popularity.counts(scale, instants)
        for row, at in enumerate(instants):
            published = dict(
                duckdb.execute(
                    f"""
                    select item_id, arg_max(item_event_count_{scale}, event_timestamp)
                    from '{shop_home}/features/item_activity_{scale}.parquet'
                    where event_timestamp <= ? group by item_id
                    """,
                    [at.item()],
                ).fetchall()
            )
            expected = [published.get(name, 0) for name in log.names]
            assert found[row].tolist() == expected, (scale, at)
