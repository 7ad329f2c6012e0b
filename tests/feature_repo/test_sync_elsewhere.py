"""Online stores that are not ours: Feast's SQLite store, Redis and PostgreSQL where installed.

They are reached through Feast's interface alone, which writes rows and drops views.
"""

import math
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
import yaml

from feature_repo.errors import BadInput
from feature_repo.home import online_ledger_path
from feature_repo.store import REPOSITORY, apply
from feature_repo.sync import sync
from feature_repo.verify import verify
from store_servers import PostgresServer, RedisServer

T0 = datetime(2024, 1, 1)
Steps = dict[tuple[str, int], tuple[float | None, int]]
FIRST: Steps = {
    ("u0", 0): (1.0, 50),
    ("u0", 20): (math.nan, 50),
    ("u1", 5): (0.0, 50),
    ("u2", 40): (None, 50),
}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def table(steps: Steps) -> pa.Table:
    rows = sorted(steps.items(), key=lambda row: row[0])
    return pa.table(
        {
            "user_id": [user for (user, _), _ in rows],
            "event_timestamp": pa.array([at(s) for (_, s), _ in rows], pa.timestamp("us")),
            "computed_at": pa.array([at(c) for _, (_, c) in rows], pa.timestamp("us")),
            "x": pa.array([value for _, (value, _) in rows], pa.float64()),
            "l": [["a"], *[[""]] * (len(rows) - 1)],
        }
    )


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def elsewhere(request, tmp_path, monkeypatch):
    """Name another online store in the configuration; give what makes that store lose all."""
    config = yaml.safe_load((REPOSITORY / "feature_store.yaml").read_text())
    path = REPOSITORY / f"feature_store.{request.param}.yaml"
    server: RedisServer | PostgresServer
    if request.param == "sqlite":
        config["online_store"] = {"type": "sqlite", "path": str(tmp_path / "stock.db")}
        path = tmp_path / "feature_store.sqlite.yaml"
        path.write_text(yaml.safe_dump(config))
        lose = (tmp_path / "stock.db").unlink
    else:
        other = yaml.safe_load(path.read_text())
        # The files differ in the online store and in nothing else.
        assert {**other, "online_store": None} == {**config, "online_store": None}
        if request.param == "redis":
            server = RedisServer(tmp_path)
            monkeypatch.setenv("SCALESPACE_REDIS", f"127.0.0.1:{server.port}")
        else:
            server = PostgresServer()
            given = {"HOST": "127.0.0.1", "PORT": server.port, "DATABASE": "postgres"}
            given |= {"USER": "tests", "PASSWORD": "none", "SSLMODE": "disable"}
            for name, value in given.items():
                monkeypatch.setenv(f"PG{name}", str(value))
        request.addfinalizer(server.stop)
        server.start()

        def lose() -> None:
            if isinstance(server, PostgresServer):
                server.empty()
                return
            server.stop()
            with pytest.raises(BadInput, match="online store RedisOnlineStore failed .*: check"):
                sync(tmp_path / "home", at(30))
            server.start()

    monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(path))
    return lose


def online(store, *users: str) -> str:
    answer = store.get_online_features(["v:x", "v:l"], [{"user_id": user} for user in users])
    return repr([answer.to_dict()[name] for name in ("x", "l")])


def test_values_are_those_of_the_instant_whatever_came_before(publish, tmp_path, elsewhere):
    """N1, N2, N10 and N13: forth, back, late rows at the same instants, a user that vanishes."""
    home = publish(tmp_path / "home", {"v": table(FIRST)})
    store = apply(home)
    assert sync(home, at(30)).rows == 2
    assert online(store, "u0", "u1", "u2") == "[[nan, 0.0, None], [[''], [''], None]]"
    assert sync(home, at(30)).rows == 0
    assert verify(home).mismatches == 0
    assert sync(home, datetime(2099, 1, 1)).rows == 1
    assert online(store, "u2") == "[[None], [['']]]"
    # Back: the interface deletes no row, so the view is written anew.
    assert sync(home, at(10)).removed == 1
    assert online(store, "u0", "u1", "u2") == "[[1.0, 0.0, None], [['a'], [''], None]]"
    late = FIRST | {("u0", 0): (2.0, 60)}
    publish(home, {"v": table(late)})
    assert sync(home, at(10)).rows == 1
    assert online(store, "u0") == "[[2.0], [['a']]]"
    gone = {key: row for key, row in late.items() if key[0] != "u1"}
    publish(home, {"v": table(gone)})
    assert sync(home, at(10)).removed == 1
    assert online(store, "u0", "u1") == "[[2.0, None], [['a'], None]]"
    found = verify(home)
    assert (found.cells, found.mismatches) == (4, 0)


def test_a_run_that_was_killed_is_made_up_for(publish, tmp_path, elsewhere, monkeypatch):
    """Rows are written and the ledger does not say so yet."""
    from feature_repo.online_database import Spool

    home = publish(tmp_path / "home", {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(10))
    with monkeypatch.context() as patched:

        def killed(*_) -> None:
            raise KeyboardInterrupt

        patched.setattr(Spool, "apply", killed)
        with pytest.raises(KeyboardInterrupt):
            sync(home, at(50))
    # To the very instant of the ledger, for which nothing would seem to be left to do.
    sync(home, at(10))
    assert online(store, "u0", "u2") == "[[1.0, None], [['a'], None]]"
    assert verify(home).mismatches == 0


def test_a_pushed_row_stays_until_a_build_knows_of_its_event(publish, tmp_path, elsewhere):
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import StringList, Value

    home = publish(tmp_path / "home", {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(10))
    key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="u0")])
    row = {"x": Value(double_val=9.0), "l": Value(string_list_val=StringList(val=["p"]))}
    data = [(key, row, at(55), at(55))]
    store._get_provider().online_write_batch(store.config, store.get_feature_view("v"), data, None)
    # Its step at 20 s is due, and older than the row.
    sync(home, at(60))
    assert online(store, "u0", "u2") == "[[9.0, None], [['p'], ['']]]"
    later = FIRST | {("u0", 55): (8.0, 70)}
    publish(home, {"v": table(later)})
    sync(home, at(60))
    assert online(store, "u0") == "[[8.0], [['']]]"


def test_a_store_that_lost_its_rows_is_filled_again(publish, tmp_path, elsewhere):
    """Redis started anew without a disk; tables or a file deleted, and applied again."""
    home = publish(tmp_path / "home", {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(30))
    elsewhere()
    store = apply(home)  # makes the tables again where there are tables
    assert sync(home, at(30)).rows == 2
    assert online(store, "u0", "u1") == "[[nan, 0.0], [[''], ['']]]"
    assert online_ledger_path(home).exists()
