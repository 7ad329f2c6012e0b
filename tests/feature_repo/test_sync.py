"""The online store after a sync holds the offline values of that instant, and nothing else."""

import math
import os
import random
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from feature_repo.errors import BadInput
from feature_repo.home import registry_path, repository_root
from feature_repo.store import apply, open_store
from feature_repo.sync import online_now, sync

T0 = datetime(2024, 1, 1)
BIG = 2**53
USERS = [f"u{i}" for i in range(12)]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _views(seed: int = 0) -> dict[str, pa.Table]:
    rng = random.Random(seed)
    views = {}
    for name in ("one", "two"):
        rows = sorted({(rng.choice(USERS), at(rng.randrange(100))) for _ in range(80)})

        def column(choices, kind, rows=rows):
            return pa.array([rng.choice(choices) for _ in rows], kind)

        views[name] = pa.table(
            {
                "user_id": [user for user, _ in rows],
                "event_timestamp": pa.array([instant for _, instant in rows], pa.timestamp("us")),
                f"i_{name}": column([None, 0, -1, BIG + 1, 2**63 - 1], pa.int64()),
                f"f_{name}": column([None, math.nan, 0.0, 0.1, -math.inf], pa.float64()),
                f"b_{name}": column([None, True, False], pa.bool_()),
                f"s_{name}": column([None, "", "x", "日本"], pa.string()),
                f"t_{name}": column([None, T0, datetime(1969, 12, 31)], pa.timestamp("us")),
                f"ai_{name}": column([None, [], [BIG + 1, -1]], pa.list_(pa.int64())),
                f"af_{name}": column([None, [], [0.5, math.nan]], pa.list_(pa.float64())),
                f"as_{name}": column([None, [], ["", "y"]], pa.list_(pa.string())),
            }
        )
    return views


def _offline(store, instant: datetime) -> dict[str, list]:
    frame = pd.DataFrame({"user_id": [*USERS, "nobody"], "event_timestamp": instant})
    service = store.get_feature_service("user_features")
    return store.get_historical_features(frame, service).to_arrow().to_pydict()


def _online(store) -> dict[str, list]:
    entities = [{"user_id": user} for user in [*USERS, "nobody"]]
    service = store.get_feature_service("user_features")
    # Feast answers in an order that changes from process to process.
    return dict(sorted(store.get_online_features(service, entities).to_dict().items()))


def _assert_equal(store, instant: datetime) -> None:
    offline, online = _offline(store, instant), _online(store)
    offline.pop("event_timestamp")
    assert offline.keys() == online.keys()
    for name, expected in offline.items():
        if name.startswith("t_"):
            expected = [v and v.replace(tzinfo=UTC) for v in expected]
        # As text, so that NaN is itself and 0, 0.0, False and null are not each other.
        assert list(map(repr, online[name])) == list(map(repr, expected)), name


def test_every_cell_online_is_the_offline_cell_at_that_instant(publish, tmp_path):
    home = publish(tmp_path / "a home", _views())
    store = apply(home)
    size = registry_path(home).stat().st_size
    # Forth and back: an earlier sync must not keep anything of a later one.
    for instant in (at(60), at(99), at(5), at(60), at(-1)):
        report = sync(home, instant)
        assert online_now(home) == report.instant == instant.replace(tzinfo=UTC)
        _assert_equal(store, instant)
    known = [len(set(table.column("user_id").to_pylist())) for table in _views().values()]
    assert (report.views, report.rows, report.cells, report.removed) == (2, 0, 0, sum(known))
    report = sync(home, at(99))
    assert (report.rows, report.cells, report.removed) == (sum(known), sum(known) * 8, 0)
    assert registry_path(home).stat().st_size == size
    assert sorted(path.name for path in (home / "feast").iterdir()) == [
        "online_now.json",
        "online_store.db",
        "online_store.db-shm",  # SQLite's own, beside a file that is open
        "online_store.db-wal",
        "registry.db",
        "sync.lock",
    ]


def test_now_is_the_clock_and_may_be_said_in_any_zone(publish, tmp_path):
    home = publish(tmp_path, _views())
    store = apply(home)
    with pytest.raises(BadInput, match="online store in .* is empty"):
        online_now(home)
    before = datetime.now(UTC)
    assert before <= sync(home).instant <= datetime.now(UTC)
    _assert_equal(store, at(99))
    sync(home, datetime.fromisoformat("2024-01-01T05:30:05+05:30"))
    assert online_now(home) == at(5).replace(tzinfo=UTC)
    _assert_equal(store, at(5))


def test_what_the_build_no_longer_has_is_removed(publish, tmp_path):
    def names(listed) -> list[str]:
        return sorted(o.name for o in listed)

    metas = {name: {"family": name, "scale": "7d"} for name in ("one", "two")}
    store = apply(publish(tmp_path, _views(), metas))
    assert names(store.list_feature_services()) == [
        "family_one",
        "family_two",
        "user_features",
        "user_scale_7d",
    ]
    store = apply(publish(tmp_path, {"one": _views()["one"]}, {"one": {"family": "one"}}))
    assert names(store.list_feature_views()) == names(store.list_data_sources()) == ["one"]
    assert names(store.list_feature_services()) == ["family_one", "user_features"]
    assert names(store.list_entities()) == ["user"]
    assert store.list_projects()
    assert sync(tmp_path, at(99)).views == 1


def test_nothing_is_registered_or_built(publish, tmp_path):
    with pytest.raises(BadInput, match="nothing is registered in .*: run `feast"):
        sync(tmp_path)
    with pytest.raises(BadInput, match="no dbt build found"):
        apply(tmp_path)
    assert not (tmp_path / "feast").exists()


def test_an_array_with_a_null_is_refused_and_the_live_store_stays(publish, tmp_path):
    views = _views()
    home = publish(tmp_path, views)
    store = apply(home)
    sync(home, at(50))
    bad = pa.array([[1, None]] * views["one"].num_rows, pa.list_(pa.int64()))
    position = views["one"].schema.get_field_index("ai_one")
    publish(home, views | {"one": views["one"].set_column(position, "ai_one", bad)})
    with pytest.raises(BadInput, match="view one, feature ai_one: an array holds a null"):
        sync(home, at(99))
    publish(home, views)
    assert online_now(home) == at(50).replace(tzinfo=UTC)
    _assert_equal(store, at(50))
    assert not [p for p in (home / "feast").iterdir() if p.name.startswith("online_store.db.")]


def test_a_fraction_of_a_second_is_floored_online(publish, tmp_path):
    instants = [datetime(2024, 1, 1, 0, 0, 0, 999_999), datetime(1969, 12, 31, 23, 59, 58, 1)]
    table = pa.table(
        {
            "user_id": ["u0", "u1"],
            "event_timestamp": pa.array([T0, T0], pa.timestamp("us")),
            "last_at": pa.array(instants, pa.timestamp("us")),
        }
    )
    home = publish(tmp_path, {"v": table})
    store = apply(home)
    sync(home, T0)
    online = store.get_online_features(["v:last_at"], [{"user_id": u} for u in ("u0", "u1")])
    assert online.to_dict()["last_at"] == [i.replace(microsecond=0, tzinfo=UTC) for i in instants]


def test_readers_see_one_load_or_the_other_while_syncs_go_on(publish, tmp_path):
    def views() -> dict[str, pa.Table]:
        stamps = pa.array([at(0), at(10)], pa.timestamp("us"))
        return {
            name: pa.table({"user_id": ["u", "u"], "event_timestamp": stamps, f"n_{name}": [0, 10]})
            for name in ("one", "two", "three")
        }

    home = publish(tmp_path, views())
    store = apply(home)
    sync(home, at(0))
    seen, errors, stop = set(), [], threading.Event()
    refs = ["one:n_one", "two:n_two", "three:n_three"]

    def read() -> None:
        while not stop.is_set():
            try:
                row = store.get_online_features(refs, [{"user_id": "u"}]).to_dict()
                seen.add(tuple(row[f"n_{name}"][0] for name in ("one", "two", "three")))
            except Exception as error:  # noqa: BLE001
                errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(10):
        sync(home, at(10 * (turn % 2)))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert seen == {(0, 0, 0), (10, 10, 10)}


def test_two_homes_in_one_process_are_not_mixed(publish, tmp_path):
    homes = [publish(tmp_path / name, _views(seed)) for seed, name in enumerate("ab")]
    for home, seconds in zip(homes, (50, 70), strict=True):
        apply(home)
        sync(home, at(seconds))
    stores = [open_store(home) for home in homes]
    for store, seconds in zip(stores, (50, 70), strict=True):
        _assert_equal(store, at(seconds))
    _assert_equal(open_store(homes[0]), at(50))


ELSEWHERE = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_sync import _offline, _online, at
from feature_repo.store import open_store
from feature_repo.sync import online_now, sync
home = Path({home!r})
store = open_store(home)
print(repr(_online(store)), repr(online_now(home)))
stamps = store.get_online_features(["one:i_one"], [{{"user_id": "u0"}}])
print(stamps.to_dict(include_event_timestamps=True))
sync(home, at(60))
print(repr(_offline(store, at(60))))
print(repr(_online(store)))
"""


def test_the_host_time_zone_changes_nothing(publish, tmp_path):
    home = publish(tmp_path, _views())
    store = apply(home)
    sync(home, at(30))
    stamps = store.get_online_features(["one:i_one"], [{"user_id": "u0"}])
    expected = [
        f"{_online(store)!r} {online_now(home)!r}",
        str(stamps.to_dict(include_event_timestamps=True)),
    ]
    sync(home, at(60))
    expected += [repr(_offline(store, at(60))), repr(_online(store))]
    sync(home, at(30))
    code = ELSEWHERE.format(tests=str(Path(__file__).parent), home=str(home))
    environment = os.environ | {
        "TZ": "Asia/Kolkata",
        "PYTHONPATH": str(repository_root()),
    }
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout.splitlines() == expected, result.stderr
