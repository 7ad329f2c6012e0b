"""The bundled log through builds and syncs: online is offline, in every view and feature.

Cases of others that the online store answers, and the test of each. `sync` stands for
feature_repo/test_sync_changes.py, `store` for feature_repo/test_online_store.py, `packing` for
feature_repo/test_packing.py, and `api` for trainer/serving/test_api.py.

N1   sync     test_a_late_row_behind_the_last_sync_is_online_after_the_next
     here     test_late_rows_and_lost_users_after_an_increment (slow)
N2   sync     test_to_2099_and_back_to_now
N3   store    test_the_newest_stays_in_any_order, test_an_old_window_again_changes_nothing,
              test_the_newest_stays_whatever_the_order
N4   sync     test_a_reading_process_never_sees_an_error
N5   store    test_readers_and_a_writer_in_two_processes,
              test_readers_and_a_writer_for_a_minute (slow)
N6   sync     test_ten_million_rows_stay_under_two_gigabytes (slow)
N7   store    test_arrays_come_back_or_are_refused
     packing  test_an_array_with_a_null_is_refused
N8   store    test_a_column_of_nulls_loads_as_null
     packing  test_null_zero_nan_and_empty_are_four_answers
N9   sync     test_the_registry_is_never_written,
              test_a_thousand_syncs_leave_no_more_than_one (slow)
N10  sync     test_a_second_sync_writes_nothing, test_any_history_of_builds_and_syncs
N11  api      test_features_stand_in_the_order_of_the_signature
N12  api      test_an_out_of_order_request_counts_no_later_event
N13  store    test_null_empty_nan_and_zero_are_four_answers
     packing  test_null_zero_nan_and_empty_are_four_answers
     api      test_null_zero_and_nan_are_three_answers
     offline  feature_repo/test_verify.py: test_what_was_synced_is_equal

feature_repo/test_sync_elsewhere.py holds N1, N2, N10 and N13 for Redis and PostgreSQL too.
"""

from __future__ import annotations

import csv
import random
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dbt_runner import ROOT, dbt


@pytest.fixture
def shop(shop_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the built log, registered."""
    from feature_repo.store import apply

    home = tmp_path / "shop"
    shutil.copytree(shop_home, home, symlinks=True)
    # The links lead to where the build lay.
    for link in (home / "features", home / "labels"):
        target = (shop_home / link.name).resolve().relative_to(shop_home.resolve())
        link.unlink()
        link.symlink_to(home / target)
    monkeypatch.setenv("SCALESPACE_HOME", str(home))
    apply(home)
    return home


def test_every_view_online_is_the_offline_view_at_any_instant(shop: Path) -> None:
    """Users, items and actions; forth and back in time."""
    from feature_repo.sync import sync
    from feature_repo.verify import verify

    for instant in ("2024-04-29T22:38:43", "2024-02-10T12:00:00", "2024-02-10T12:00:01"):
        sync(shop, datetime.fromisoformat(instant))
        found = verify(shop)
        assert (found.views, found.mismatches, found.ahead) == (36, 0, 0), found.first
        assert found.cells > 90_000
        again = sync(shop, datetime.fromisoformat(instant))
        assert (again.rows, again.removed) == (0, 0)


def test_the_one_pass_reads_what_feast_reads(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every feature, of every type; of known users, an unknown one, and one asked twice."""
    from feature_repo import online_store
    from feature_repo.store import open_store
    from feature_repo.sync import sync
    from feature_repo.verify import different
    from trainer.features import features_now, published_features

    sync(shop, datetime(2024, 3, 1, 12))
    store, wanted = open_store(shop), published_features(shop)
    users = ["u021", "nobody", *(f"u{n:03}" for n in range(60)), "u021"]
    found = features_now(store, users, wanted)
    monkeypatch.setattr(online_store, "is_packed", lambda _: False)
    expected = features_now(store, users, wanted)
    assert found.schema == expected.schema
    assert found.num_rows == len(users) and found.num_columns == len(wanted) > 150
    assert all(found.column(name)[1].as_py() is None for name in found.column_names)
    known = 0
    for name in found.column_names:
        left, right = (t.column(name).combine_chunks() for t in (found, expected))
        left.validate(full=True)
        if pa.types.is_timestamp(left.type):
            left, right = left.cast(pa.int64()), right.cast(pa.int64())
        assert not different(left, right).any(), name
        known += len(left) - left.null_count
    assert known > 5_000


def _build(home: Path, folder: Path, rows: list[dict[str, str]]) -> None:
    variables: dict[str, Any] = yaml.safe_load((ROOT / "data" / "shop.yml").read_text())
    path = folder / "log.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    built = dbt(home, variables | {"events_path": str(path)})
    assert built.returncode == 0, built.output


@pytest.mark.slow
def test_late_rows_and_lost_users_after_an_increment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some users' rows come late, one user's are lost: the next sync writes those and no others."""
    from feature_repo.home import view_path
    from feature_repo.store import apply
    from feature_repo.sync import sync
    from feature_repo.verify import verify

    with (ROOT / "data" / "shop.csv").open(newline="") as file:
        log = list(csv.DictReader(file))
    users = sorted({row["user_id"] for row in log if row["user_id"]})[:40]
    log = [row for row in log if row["user_id"] in users]
    late = [row for row in log if row["user_id"] in users[:2]]
    withheld = {id(row) for row in random.Random(5).sample(late, 20)}
    home = tmp_path / "home"
    monkeypatch.setenv("SCALESPACE_HOME", str(home))
    now = datetime(2024, 4, 29, 22, 38, 43)
    _build(home, tmp_path, [row for row in log if id(row) not in withheld])
    apply(home)
    first = sync(home, now)
    assert verify(home).mismatches == 0
    _build(home, tmp_path, [row for row in log if row["user_id"] != users[5]])
    second = sync(home, now)
    found = verify(home)
    assert found.mismatches == 0, found.first
    # The user who is lost had a row in each view of users that he had any steps in.
    left = set(pq.read_table(view_path(home, "user_recency"), columns=["user_id"])[0].to_pylist())
    assert users[5] not in left and users[0] in left
    assert second.removed >= 20
    assert 0 < second.rows < first.rows / 2
    assert (sync(home, now).rows, sync(home, now).removed) == (0, 0)
