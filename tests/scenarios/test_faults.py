"""What a service has to live through, and where each fault is a test.

Killed at random moments under load:
    the server           here, with events on their way in;
                         trainer/serving/test_server.py: test_killed_under_load_and_started_again
    the stream           test_streaming.py:
                         test_a_killed_stream_loses_nothing_and_counts_nothing_twice
    a sync               feature_repo/test_sync_changes.py:
                         test_a_sync_that_is_killed_is_made_up_for_by_the_next
    a writer             feature_repo/test_online_store.py:
                         test_a_writer_that_is_killed_leaves_all_or_nothing
A disk without room (a small tmpfs):
    the store            feature_repo/test_online_store.py:
                         test_no_space_is_one_line_and_what_was_written_stays
    a whole sync         feature_repo/test_sync_changes.py:
                         test_a_disk_that_is_full_leaves_the_last_sync
    the journal          trainer/test_streaming_journal.py: test_a_disk_that_fills_up_and_is_cleared
    POST /events         trainer/test_streaming_batches.py: test_a_disk_that_takes_nothing_is_no_500
Redis started again      test_streaming_redis.py:
                         test_each_entry_counts_once_although_the_server_goes_away
A clock that goes back   test_streaming.py: test_time_alone_changes_rows;
                         feature_repo/test_sync_changes.py:
                         test_a_clock_that_was_moved_back_gives_the_values_of_then
A damaged database       feature_repo/test_online_store.py: test_a_damaged_file_says_what_to_do;
                         feature_repo/test_sync_changes.py: test_a_damaged_store_is_made_anew
10,000 malformed         trainer/serving/test_malformed.py
requests
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from dbt_runner import ROOT
from streaming_replay import known_events, shop_events
from trainer_runner import Demo

ROUNDS = 4


class Server:
    """``trainer serve`` on a home, with events; its standard error goes to a file."""

    def __init__(self, home: Path, log: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [*(sys.executable, "-m", "trainer.cli", "serve", "--port", str(port)), "--rate=0"],
                env={**os.environ, "SCALESPACE_HOME": str(home)},
                stderr=file,
                cwd=ROOT,
            )

    def wait(self) -> None:
        end = time.monotonic() + 240
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end
            try:
                if httpx.get(self.url + "/ready").status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)

    def stop(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


class Load:
    """Events that are sent until each has its answer, and predictions beside them."""

    def __init__(self, events: list[dict[str, str | None]], rng: random.Random):
        self.answers: dict[str, list[str]] = {str(event["event_id"]): [] for event in events}
        self.statuses: list[int] = []
        self._events, self._rng = events, rng
        self._stop = threading.Event()

    def unanswered(self) -> list[dict[str, str | None]]:
        return [event for event in self._events if not self.answers[str(event["event_id"])]]

    def run(self, url: str) -> list[threading.Thread]:
        """Begin; the threads end when the server goes away, or with `finish`."""
        self._stop.clear()
        threads = [threading.Thread(target=t, args=(url,)) for t in (self._send, self._predict)]
        for thread in threads:
            thread.start()
        return threads

    def finish(self, threads: list[threading.Thread]) -> None:
        self._stop.set()
        for thread in threads:
            thread.join()

    def _send(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while (left := self.unanswered()) and not self._stop.is_set():
                # Some that were answered come again: their sender did not hear it.
                again = self._rng.sample(self._events, 2)
                batch = [*left[: self._rng.randint(1, 20)], *again]
                try:
                    answer = client.post("/events", json=batch)
                except httpx.HTTPError:
                    return
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    for event, found in zip(batch, answer.json()["verdicts"], strict=True):
                        self.answers[str(event["event_id"])].append(found["verdict"])

    def _predict(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/predict", json={"user_id": "u001"})
                except httpx.HTTPError:
                    return
                self.statuses.append(answer.status_code)


@pytest.mark.slow
def test_a_server_that_is_killed_loses_no_event_and_counts_none_twice(
    demo: Demo, tmp_path: Path
) -> None:
    """`kill -9` at random moments; what was not answered is sent again to the next server."""
    home = tmp_path / "home"
    shutil.copytree(demo.home, home, symlinks=True)
    rng = random.Random(41)
    events = shop_events(400, users=30, seed=41)
    load, log = Load(events, rng), tmp_path / "server.log"
    for _ in range(ROUNDS):
        server = Server(home, log)
        server.wait()
        threads = load.run(server.url)
        time.sleep(rng.uniform(0.05, 1.5))
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        load.finish(threads)
    assert load.unanswered()  # it was killed while they came

    server = Server(home, log)
    server.wait()
    threads = load.run(server.url)
    threads[0].join()
    load.finish(threads)
    assert load.unanswered() == []
    features: dict[str, Any] = {
        user: httpx.get(f"{server.url}/users/{user}").json()["features"]["all"]
        for user in sorted({str(event["user_id"]) for event in events})
    }
    assert server.stop(signal.SIGTERM) == 0

    assert set(load.statuses) == {200}
    assert "request failed" not in log.read_text()
    for event_id, given in load.answers.items():
        # Whoever was killed before he could say `accepted` had it all the same.
        assert given.count("accepted") <= 1, event_id
        assert set(given) <= {"accepted", "duplicate"}, event_id
    counted = known_events(home, "new-41-")
    assert set(counted) == set(load.answers)
    assert set(counted.values()) == {1}
    before = dict(
        duckdb.sql(
            f"select user_id, count(*) from '{home}/labels/events.parquet' group by 1"
        ).fetchall()
    )
    new = Counter(str(event["user_id"]) for event in events)
    assert {user: found["event_count_all"] for user, found in features.items()} == {
        user: before.get(user, 0) + new[user] for user in features
    }
