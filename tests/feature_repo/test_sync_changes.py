"""What a sync writes: what changed, and no more; and what becomes of runs that do not end.

Case  Test
N1    test_a_late_row_behind_the_last_sync_is_online_after_the_next
N2    test_to_2099_and_back_to_now
N4    test_a_reading_process_never_sees_an_error
N6    test_ten_million_rows_stay_under_two_gigabytes (slow)
N9    test_the_registry_is_never_written, test_a_thousand_syncs_leave_no_more_than_one (slow)
N10   test_a_second_sync_writes_nothing, test_any_history_of_builds_and_syncs
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.errors import BadInput
from feature_repo.home import online_store_path, registry_path, repository_root
from feature_repo.online_database import OnlineDatabase
from feature_repo.online_spool import Spool
from feature_repo.online_store import read_features, stream_rows
from feature_repo.store import apply, open_store
from feature_repo.sync import online_now, sync, sync_every
from feature_repo.verify import verify
from warm_python import WarmPython

T0 = datetime(2024, 1, 1)
USERS = [f"u{n}" for n in range(5)]

# Of one view: {(user, second): (value, second in which it was computed)}
Steps = dict[tuple[str, int], tuple[int | None, int]]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def seconds_now() -> float:
    return (datetime.now(UTC).replace(tzinfo=None) - T0).total_seconds()


def table(steps: Steps, feature: str = "n") -> pa.Table:
    rows = sorted(steps.items())
    return pa.table(
        {
            "user_id": pa.array([user for (user, _), _ in rows], pa.string()),
            "event_timestamp": pa.array([at(s) for (_, s), _ in rows], pa.timestamp("us")),
            "computed_at": pa.array([at(c) for _, (_, c) in rows], pa.timestamp("us")),
            feature: pa.array([value for _, (value, _) in rows], pa.int64()),
        }
    )


def online(store, feature: str = "n", view: str = "v") -> dict[str, int | None]:
    found = read_features(store.config, USERS, {view: [(feature, "INT64")]})
    return dict(zip(USERS, found[view][feature].to_pylist(), strict=True))


def expected(steps: Steps, second: int) -> dict[str, int | None]:
    """By a naive search."""
    found: dict[str, int | None] = {}
    for user in USERS:
        known = [(s, v) for (u, s), (v, _) in steps.items() if u == user and s <= second]
        found[user] = max(known)[1] if known else None
    return found


def push(store, user: str, value: int, event: float, created: float | None) -> None:
    key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)])
    row = (key, {"n": Value(int64_val=value)}, at(event), None if created is None else at(created))
    view = store.get_feature_view("v")
    store._get_provider().online_write_batch(store.config, view, [row], None)


def stream(store, values: dict[str, int], second: float) -> None:
    table = pa.table({"user_id": list(values), "n": pa.array(values.values(), pa.int64())})
    stream_rows(store.config, [(store.get_feature_view("v"), table)], at(second))


FIRST: Steps = {("u0", 0): (1, 50), ("u0", 20): (2, 50), ("u1", 5): (3, 50), ("u2", 40): (4, 50)}


def test_a_second_sync_writes_nothing(publish, tmp_path):
    """N10."""
    home = publish(tmp_path, {"v": table(FIRST), "w": table(FIRST, "m")})
    store = apply(home)
    report = sync(home, at(30))
    assert (report.views, report.rows, report.cells, report.removed) == (2, 4, 4, 0)
    before = online_store_path(home).read_bytes()
    for instant in (at(30), at(39)):
        report = sync(home, instant)
        assert (report.rows, report.cells, report.removed) == (0, 0, 0)
        assert online_now(home) == instant.replace(tzinfo=UTC)
    assert sync(home, at(40)).rows == 2
    assert online(store) == expected(FIRST, 40)
    # The rows lie where they lay: only the instants of the syncs are new.
    assert abs(len(online_store_path(home).read_bytes()) - len(before)) <= 8192


def test_a_late_row_behind_the_last_sync_is_online_after_the_next(publish, tmp_path):
    """N1: the row's instant lies before the last sync; its computed_at says that it is new."""
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(30))
    late = FIRST | {("u1", 10): (7, 60), ("u0", 20): (8, 60)}
    publish(home, {"v": table(late)})
    report = sync(home, at(31))
    assert report.rows == 2
    assert online(store) == expected(late, 31)
    # Behind rows that are in force it changes nothing.
    later = late | {("u0", 15): (9, 70)}
    publish(home, {"v": table(later)})
    assert sync(home, at(32)).rows == 0
    assert verify(home).mismatches == 0


def test_to_2099_and_back_to_now(publish, tmp_path):
    """N2: new rows still load after a sync to a future that nobody has seen."""
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, datetime(2099, 1, 1))
    assert online(store) == expected(FIRST, 10**9)
    fresh = FIRST | {("u3", 30): (5, 60)}
    publish(home, {"v": table(fresh)})
    sync(home, at(30))
    assert online(store) == expected(fresh, 30)


def test_a_clock_that_was_moved_back_gives_the_values_of_then(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    for second in (50, 10, 3, -1, 50):
        report = sync(home, at(second))
        assert online(store) == expected(FIRST, second)
    assert report.rows == 3


def test_a_new_view_and_a_new_feature_are_backfilled(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(30))
    wide = table(FIRST).append_column("more", pa.array([10, 20, 30, 40]))
    publish(home, {"v": wide, "w": table(FIRST, "m")})
    store = apply(home)
    assert online(store, "more") == dict.fromkeys(USERS)
    assert sync(home, at(30)).rows == 4
    assert online(store, "more") == dict.fromkeys(USERS) | {"u0": 20, "u1": 30}
    assert online(store, "m", "w") == expected(FIRST, 30) == online(store)
    # And a view that goes is no longer there.
    publish(home, {"w": table(FIRST, "m")})
    apply(home)
    assert sync(home, at(30)).rows == 0
    found = verify(home)
    assert (found.views, found.cells, found.mismatches) == (1, 3, 0)


def test_a_feature_of_another_type_is_written_anew(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    apply(home)
    sync(home, at(30))
    wide = table(FIRST)
    publish(home, {"v": wide.set_column(3, "n", wide["n"].cast(pa.float64()))})
    store = apply(home)

    def answer() -> str:
        return repr(store.get_online_features(["v:n"], [{"user_id": "u0"}]).to_dict()["n"])

    assert answer() == "[None]"
    assert sync(home, at(30)).rows == 2
    assert answer() == "[2.0]"


def test_vanished_users_are_removed(publish, tmp_path):
    """The log lost them, with no row that says so; also where the last row alone went."""
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(50))
    left = {key: row for key, row in FIRST.items() if key not in {("u1", 5), ("u0", 20)}}
    publish(home, {"v": table(left)})
    report = sync(home, at(50))
    assert (report.rows, report.removed) == (1, 1)
    assert online(store) == expected(left, 50)


def test_a_build_from_scratch_may_have_other_rows_of_the_same_time(publish, tmp_path):
    """A warehouse made anew: the same instants and computed_at, other values."""
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(50))
    other = {key: (-value, made) for key, (value, made) in FIRST.items()}
    publish(home, {"v": table(other)})
    assert sync(home, at(50)).rows == 3
    assert online(store) == expected(other, 50)
    # The same rows in another file are not written.
    publish(home, {"v": table(other)})
    assert sync(home, at(50)).rows == 0


def test_a_pushed_row_stays_until_a_build_knows_of_its_event(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(30))
    push(store, "u0", 100, event=33, created=60)  # a user that the build knows
    push(store, "u4", 101, event=34, created=61)  # and one that it does not
    push(store, "u1", 102, event=35, created=45)  # of what the build knows already: offline wins
    report = sync(home, at(41))
    assert (report.rows, report.removed) == (2, 0)
    assert online(store) == expected(FIRST, 41) | {"u0": 100, "u4": 101}
    found = verify(home)
    assert (found.mismatches, found.ahead) == (0, 2)
    # The next build has the event of u0, and by its clock should have that of u4.
    later = FIRST | {("u0", 33): (100, 61)}
    publish(home, {"v": table(later)})
    report = sync(home, at(42))
    assert online(store) == expected(later, 42)
    assert report.removed == 1
    assert verify(home).ahead == 0
    assert sync(home, at(42)).rows == 0


def test_a_pushed_row_of_a_later_time_goes_when_the_time_goes_back(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(40))
    push(store, "u0", 100, event=45, created=60)
    sync(home, at(30))
    assert online(store) == expected(FIRST, 30)


def test_streamed_rows_stay_until_a_build_knows_of_their_events(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})  # made until second 50
    store = apply(home)
    sync(home, at(53))
    stream(store, {"u1": 99}, second=49)  # of what the build knows already: offline wins
    stream(store, {"u0": 100, "u4": 101, "u3": 102}, second=55)
    assert online(store) == expected(FIRST, 53) | {"u0": 100, "u1": 99, "u3": 102, "u4": 101}
    # Two steps of u0 come in time: the stream knows more than the file, whatever is newer.
    later = FIRST | {("u0", 58): (8, 50), ("u0", 59): (9, 50)}
    publish(home, {"v": table(later)})
    report = sync(home, at(60))
    assert (report.rows, report.removed) == (1, 0)
    assert online(store) == expected(FIRST, 53) | {"u0": 100, "u3": 102, "u4": 101}
    found = verify(home)
    assert (found.mismatches, found.ahead) == (0, 3)
    # The next build has the events of u0 and u3; that of u4 it should have, by its clock.
    known = later | {("u0", 55): (100, 61), ("u3", 55): (102, 61)}
    publish(home, {"v": table(known)})
    report = sync(home, at(60))
    assert (report.rows, report.removed) == (1, 1)
    assert online(store) == expected(known, 60)
    assert verify(home).ahead == 0
    assert sync(home, at(60)).rows == 0


def test_streamed_rows_of_a_later_time_go_when_the_time_goes_back(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(40))
    stream(store, {"u0": 100, "u4": 101}, second=60)
    assert sync(home, at(30)).removed == 2  # u2 has no row yet, u4 no event
    assert online(store) == expected(FIRST, 30)


def test_what_comes_during_a_sync_and_after_it_stays(publish, tmp_path, monkeypatch):
    """The clock goes on while a sync to it runs, and so does a stream."""
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home)
    push(store, "u1", 98, event=seconds_now(), created=seconds_now())
    stream(store, {"u2": 99}, second=seconds_now())
    add_view = Spool.add_view

    def add_view_meanwhile(self: Spool, view: str) -> None:
        push(store, "u1", 102, event=seconds_now(), created=seconds_now())
        stream(store, {"u0": 100, "u2": 101}, second=seconds_now())
        add_view(self, view)

    monkeypatch.setattr(Spool, "add_view", add_view_meanwhile)
    sync(home)
    monkeypatch.undo()
    assert online(store) == expected(FIRST, 50) | {"u0": 100, "u1": 102, "u2": 101}
    stream(store, {"u3": 103}, second=seconds_now())
    found = verify(home)
    assert (found.mismatches, found.ahead) == (0, 4)


def test_what_feast_materializes_is_corrected(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    store.materialize(at(-10), at(50))
    assert online(store) == expected(FIRST, 50)
    sync(home, at(10))
    assert online(store) == expected(FIRST, 10)
    store.materialize(at(-10), at(50))
    # The same file as before, and no step in between.
    sync(home, at(10))
    assert online(store) == expected(FIRST, 10)


def test_without_computed_at_values_are_compared(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST).drop_columns(["computed_at"])})
    store = apply(home)
    sync(home, at(50))
    changed = FIRST | {("u2", 40): (9, 50)}
    publish(home, {"v": table(changed).drop_columns(["computed_at"])})
    assert sync(home, at(50)).rows == 1
    assert online(store) == expected(changed, 50)


def test_keys_are_texts_of_any_kind_and_numbers(publish, tmp_path):
    users = ["", "a'b", 'c"d', "é", "n\0ul", "x" * 3000, "%", "🙂"]
    stamps = pa.array([at(0)] * len(users), pa.timestamp("us"))
    views = {
        "v": pa.table({"user_id": users, "event_timestamp": stamps, "n": range(len(users))}),
        "w": pa.table({"item_id": [-1, 2**62, 0], "event_timestamp": stamps[:3], "m": [1, 2, 3]}),
    }
    home = publish(tmp_path, views, {"w": {"entity": "item"}})
    store = apply(home)
    sync(home, at(0))
    # Again, looking only at those with a step since.
    sync(home, at(-1))
    assert sync(home, at(1)).rows == len(users) + 3
    rows = [{"user_id": user} for user in users]
    assert store.get_online_features(["v:n"], rows).to_dict()["n"] == list(range(len(users)))
    rows = [{"item_id": item} for item in (0, -1, 2**62, 5)]
    assert store.get_online_features(["w:m"], rows).to_dict()["m"] == [3, 1, 2, None]
    assert verify(home).mismatches == 0


def test_more_entities_than_a_query_names(publish, tmp_path):
    count = 2500
    users = [f"u{n:04}" for n in range(count)]
    stamps = pa.array([at(n % 7) for n in range(count)], pa.timestamp("us"))
    view = pa.table({"user_id": users, "event_timestamp": stamps, "n": range(count)})
    home = publish(tmp_path, {"v": view})
    store = apply(home)
    assert sync(home, at(3)).rows == sum(n % 7 <= 3 for n in range(count))
    assert sync(home, at(6)).rows == sum(n % 7 > 3 for n in range(count))
    answer = store.get_online_features(["v:n"], [{"user_id": user} for user in users]).to_dict()
    assert answer["n"] == list(range(count))


STEP = st.tuples(st.sampled_from(USERS), st.integers(0, 9))


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_history_of_builds_and_syncs(publish, tmp_path_factory, data):
    """Builds that add, change and lose rows, and syncs to any instant, against a naive search."""
    home = tmp_path_factory.mktemp("any")
    steps: Steps = {("u0", 0): (0, 0)}
    publish(home, {"v": table(steps), "w": table(steps, "m")})
    store = apply(home)
    for clock in range(1, 7):
        if data.draw(st.booleans(), "build"):
            lost = data.draw(st.sets(STEP, max_size=6), "lost")
            steps = {key: row for key, row in steps.items() if key not in lost}
            for key in data.draw(st.sets(STEP, max_size=5), "made"):
                steps[key] = (data.draw(st.none() | st.integers(0, 3), "value"), clock)
            publish(home, {"v": table(steps), "w": table(steps, "m")})
        second = data.draw(st.integers(-1, 10), "sync")
        sync(home, at(second))
        assert online(store) == online(store, "m", "w") == expected(steps, second)
        again = sync(home, at(second))
        assert (again.rows, again.removed) == (0, 0)


def test_the_registry_is_never_written(publish, tmp_path):
    """N9: a file that a sync does not write does not grow, be it a thousand syncs or ten."""
    home = publish(tmp_path, {"v": table(FIRST)})
    apply(home)
    before = registry_path(home).stat()
    for second in range(10):
        sync(home, at(second))
    after = registry_path(home).stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )


@pytest.mark.slow
def test_a_thousand_syncs_leave_no_more_than_one(publish, tmp_path):
    """N9 as it is written: neither the registry nor anything else beside it grows."""
    home = publish(tmp_path, {"v": table(FIRST)})
    apply(home)
    folder = online_store_path(home).parent

    def sizes() -> dict[str, int]:
        # What is in the write-ahead log comes into the file when it is closed.
        OnlineDatabase.at(online_store_path(home)).close()
        return {file.name: file.stat().st_size for file in folder.iterdir()}

    for second in range(10):
        sync(home, at(second))
    after_ten = sizes()
    before = registry_path(home).read_bytes()
    for turn in range(1_000):
        second = turn % 60
        sync(home, at(second))
        if turn % 100 == 0:
            assert online(open_store(home)) == expected(FIRST, second)
    assert sizes() == after_ten
    assert registry_path(home).read_bytes() == before


def test_a_note_without_room_changes_no_row(publish, tmp_path, monkeypatch):
    """The disk has room for the rows, and then none for the note of the instant."""
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(0))
    with monkeypatch.context() as patch:
        patch.setattr(
            "feature_repo.sync.replacing",
            lambda path: nullcontext(path.parent / "no such folder" / path.name),
        )
        with pytest.raises(BadInput, match=r"online_now\.json cannot be written .*make room"):
            sync(home, at(20))
    assert online(store) == expected(FIRST, 0)
    assert online_now(home) == at(0).replace(tzinfo=UTC)
    sync(home, at(20))
    assert online(store) == expected(FIRST, 20)


def test_a_disk_that_is_full_leaves_the_last_sync(publish, tmp_path):
    """The whole sync on a file system of 384 kB: all or nothing, and then it goes on."""
    few, many = _many(20), _many(3_000)
    home = publish(tmp_path / "home", few)
    folder = online_store_path(home).parent
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=384k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small file system")
    try:
        store = apply(home)
        references = {name: [(f"n_{name}", "INT64")] for name in few}
        users = ["u0", "u19", "u2999"]

        def values() -> list[list[int | None]]:
            found = read_features(store.config, users, references)
            return [found[name][f"n_{name}"].to_pylist() for name in few]

        sync(home, at(0))
        assert values() == [[0, 0, None]] * 3
        publish(home, many)
        ballast = folder / "ballast"
        for free in (0, 4_096, 65_536, 0):
            # Without a byte, for the note alone, and for a part of the rows.
            ballast.write_bytes(b"")
            room = os.statvfs(folder)
            ballast.write_bytes(b"x" * max(room.f_bavail * room.f_bsize - free, 0))
            with pytest.raises(BadInput, match="cannot be written .*: make room on its disk"):
                sync(home, at(10))
            assert values() == [[0, 0, None]] * 3
            assert online_now(home) == at(0).replace(tzinfo=UTC)
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        assert sync(home, at(10)).rows == 3 * 3_000
        assert values() == [[1, 1, 1]] * 3
        assert verify(home).mismatches == 0
    finally:
        OnlineDatabase.at(online_store_path(home)).close()
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_damaged_store_is_made_anew(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    store = apply(home)
    sync(home, at(30))
    path = online_store_path(home)
    OnlineDatabase.at(path).close()
    content = bytearray(path.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(BadInput, match="is damaged .*: run `trainer sync`"):
        online(store)
    report = sync(home, at(30))
    assert report.set_aside == path.with_name("online_store.db.damaged")
    assert report.rows == 2
    assert online(store) == expected(FIRST, 30)
    path.unlink()
    assert sync(home, at(30)).rows == 2
    assert online(store) == expected(FIRST, 30)


def test_syncs_are_repeated_until_told_to_stop(publish, tmp_path):
    home = publish(tmp_path, {"v": table(FIRST)})
    apply(home)
    stop, reports, errors = threading.Event(), [], []

    def done(report) -> None:
        reports.append(report)
        if len(reports) == 1:
            (home / "features").unlink()  # a build that goes wrong
        if len(reports) == 3:
            stop.set()

    def failed(error: BadInput) -> None:
        errors.append(error)
        publish(home, {"v": table(FIRST | {("u3", 1): (7, 99)})})

    sync_every(home, 0.01, stop, done, failed)
    assert [report.rows for report in reports] == [3, 1, 0]
    assert len(errors) == 1 and "no file" in str(errors[0])
    assert reports[0].instant < reports[1].instant < reports[2].instant


CHILD = """
import sys
from datetime import datetime
from pathlib import Path
from feature_repo.sync import sync
home, instants = Path(sys.argv[1]), [datetime.fromisoformat(text) for text in sys.argv[2:]]
sync(home, instants[0])
print("ready", flush=True)
while True:
    for instant in instants:
        sync(home, instant)
"""


def _child(code: str, home: Path, *arguments: str) -> WarmPython:
    environment = os.environ | {"SCALESPACE_HOME": ""}
    pipe = subprocess.PIPE
    return WarmPython("-c", code, str(home), *arguments, env=environment, stdout=pipe, text=True)


def _many(count: int) -> dict[str, pa.Table]:
    """Views in which every user has one value at 0 s and another one at 10 s."""
    users = [f"u{n}" for n in range(count)]
    stamps = pa.array([at(0)] * count + [at(10)] * count, pa.timestamp("us"))
    return {
        name: pa.table(
            {
                "user_id": users * 2,
                "event_timestamp": stamps,
                f"n_{name}": [0] * count + [1] * count,
            }
        )
        for name in ("one", "two", "three")
    }


def test_a_sync_that_is_killed_is_made_up_for_by_the_next(publish, tmp_path):
    home = publish(tmp_path, _many(2000))
    store = apply(home)
    rng = random.Random(7)
    references = {name: [(f"n_{name}", "INT64")] for name in ("one", "two", "three")}
    users = [f"u{n}" for n in range(2000)]

    def values() -> set[int | None]:
        found = read_features(store.config, users, references)
        return {
            v for view in found.values() for column in view.values() for v in column.to_pylist()
        }

    for _ in range(2):
        child = _child(CHILD, home, at(0).isoformat(), at(10).isoformat())
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(rng.random() / 2)
        child.send_signal(signal.SIGKILL)
        child.wait()
        # All of one sync, of all views.
        assert values() in ({0}, {1})
        second = rng.choice([0, 10])
        sync(home, at(second))
        assert values() == {second // 10}
        assert online_now(home) == at(second).replace(tzinfo=UTC)
        assert sync(home, at(second)).rows == 0


READER = """
import sys
from pathlib import Path
from feature_repo.store import open_store
store = open_store(Path(sys.argv[1]))
references = [f"{v}:n_{v}" for v in ("one", "two", "three")]
rows = [{"user_id": "u1"}, {"user_id": "u1999"}]
print("ready", flush=True)
seen, count = set(), 0
while "stop" not in seen:
    answer = store.get_online_features(references, rows).to_dict()
    seen.add(tuple(v for name in references for v in answer[name.partition(":")[2]]))
    count += 1
    if count % 20 == 0 and (Path(sys.argv[1]) / "stop").exists():
        seen.add("stop")
seen.remove("stop")
print(sorted(seen), flush=True)
"""


def test_a_reading_process_never_sees_an_error(publish, tmp_path):
    """N4: another process reads through Feast in a loop while syncs go on."""
    home = publish(tmp_path, _many(2000))
    apply(home)
    sync(home, at(0))
    reader = _child(READER, home)
    assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    for turn in range(6):
        sync(home, at(10 * ((turn + 1) % 2)))
    (home / "stop").touch()
    seen = reader.stdout.read()
    assert reader.wait() == 0
    assert seen in {f"{[tuple([v] * 6) for v in vs]}\n" for vs in ((0,), (1,), (0, 1))}


def test_two_syncs_at_once_take_turns(publish, tmp_path):
    home = publish(tmp_path, _many(500))
    apply(home)
    child = _child(CHILD, home, at(0).isoformat(), at(10).isoformat())
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for second in (0, 10, 0, 10):
        sync(home, at(second))
    child.send_signal(signal.SIGKILL)
    child.wait()
    sync(home, at(10))
    assert verify(home).mismatches == 0


MEMORY = """
import json, resource, sys
from datetime import datetime
from pathlib import Path
from feature_repo.sync import sync
report = sync(Path(sys.argv[1]), datetime(2024, 6, 1))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"rows": report.rows, "peak_kb": peak}))
"""


@pytest.mark.slow
def test_ten_million_rows_stay_under_two_gigabytes(publish, tmp_path):
    """N6: a view of 10M rows of 1M users, all of them new."""
    tiny = {
        "user_id": ["u0"],
        "event_timestamp": pa.array([T0], pa.timestamp("us")),
        "computed_at": pa.array([T0], pa.timestamp("us")),
        **{f"f{n}": [0] for n in range(8)},
    }
    home = publish(tmp_path, {"v": pa.table(tiny)})
    features = ", ".join(f"cast(hash(n, {f}) % 1000 as bigint) as f{f}" for f in range(8))
    with duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(tmp_path)}) as made:
        made.execute(
            "copy (select 'u' || (n // 10) as user_id, "
            "timestamp '2024-01-01' + to_seconds(n % 10) as event_timestamp, "
            f"timestamp '2024-02-01' as computed_at, {features} "
            f"from range(10000000) as t(n)) to '{home / 'features' / 'v.parquet'}'"
        )
    apply(home)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(home)],
        env=os.environ | {"PYTHONPATH": str(repository_root()), "SCALESPACE_HOME": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == 1_000_000
    assert found["peak_kb"] < 2 * 2**20
    assert open_store(home).get_online_features(["v:f3"], [{"user_id": "u999999"}]).to_dict()[
        "f3"
    ] == [duckdb.sql("select hash(9999999, 3) % 1000").fetchall()[0][0]]
