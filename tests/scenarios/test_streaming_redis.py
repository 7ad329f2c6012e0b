"""Events from a real Redis server: restarted in between, and entries that are delivered again."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo.errors import BadInput
from streaming_replay import OnlineRowsInMemory, home_beside
from trainer.streaming.engine import Engine
from trainer.streaming.redis_source import RedisSource

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed"
)
CLOCK = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Server:
    """A Redis server that keeps what it was told, also when it is killed."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self._folder), "--save", ""),
                *("--appendonly", "yes", "--appendfsync", "always"),
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_for(self.answers)

    def answers(self) -> bool:
        from redis import Redis
        from redis.exceptions import RedisError

        try:
            return bool(Redis.from_url(self.url).ping())
        except RedisError:
            return False

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.kill()


@pytest.fixture
def engine(shop_home: Path, shop_statements: Path, tmp_path: Path) -> Iterator[Engine]:
    home = home_beside(shop_home, tmp_path, shop_statements)
    engine = Engine("data/shop.yml", home, OnlineRowsInMemory(), clock=lambda: CLOCK)
    yield engine
    engine.close()


def event(number: int) -> dict[str, str]:
    at = CLOCK - timedelta(seconds=1_000 - number)
    return {
        "user_id": f"redis{number % 7}",
        "action_type": "browse",
        "time_stamp": at.isoformat(),
        "event_id": f"r{number}",
    }


def running(source: RedisSource, engine: Engine) -> tuple[threading.Thread, threading.Event]:
    stopping = threading.Event()
    thread = threading.Thread(target=source.run, args=(engine, stopping.is_set))
    thread.start()
    return thread, stopping


def verdicts(server: Server) -> list[tuple[str, str]]:
    from redis import Redis

    entries = Redis.from_url(server.url, decode_responses=True).xrange("shop:verdicts")
    return [(fields["verdict"], fields["reason"]) for _, fields in entries]


def test_each_entry_counts_once_although_the_server_goes_away(
    server: Server, engine: Engine
) -> None:
    from redis import Redis

    client = Redis.from_url(server.url)
    for number in range(20):
        client.xadd("shop", {"event": json.dumps(event(number))})
    source = RedisSource(server.url, "shop", "readers")
    thread, stopping = running(source, engine)
    wait_for(lambda: len(verdicts(server)) == 20)
    server.kill()
    time.sleep(0.5)
    server.start()
    client = Redis.from_url(server.url)
    for number in range(10, 30):  # ten of them again
        client.xadd("shop", event(number))  # as fields this time
    client.xadd("shop", {"event": "no json"})
    client.xadd("shop", {"user_id": "x", "nonsense": "1"})
    client.xadd("shop", {**event(99), "action_type": "frobnicate"})
    wait_for(lambda: len(verdicts(server)) == 43)
    stopping.set()
    thread.join(10)
    found = verdicts(server)
    assert found[:20] == [("accepted", "")] * 20
    assert found[20:40] == [("duplicate", "")] * 10 + [("accepted", "")] * 10
    assert [verdict for verdict, _ in found[40:]] == ["malformed", "malformed", "rejected"]
    assert found[42][1] == "unknown_action"
    assert client.xpending("shop", "readers")["pending"] == 0
    assert engine.journal.last == 41


def test_an_entry_that_was_not_acknowledged_comes_again_and_is_not_taken_again(
    server: Server, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redis import Redis

    client = Redis.from_url(server.url)
    # Without an id the journal would hold two equal rows; and one is a duplicate of the other.
    for number in range(5):
        plain = {k: v for k, v in event(number).items() if k != "event_id"}
        client.xadd("shop", {**plain, "item_id": f"i{number}"})
    source = RedisSource(server.url, "shop", "readers")

    # The process dies between the journal and the acknowledgement.
    class Died(BaseException):
        pass

    def die() -> None:
        raise Died

    monkeypatch.setattr(Redis, "pipeline", lambda *_, **__: die())
    with pytest.raises(Died):
        source.run(engine, lambda: False)
    monkeypatch.undo()
    assert engine.journal.last == 5
    assert client.xpending("shop", "readers")["pending"] == 5

    home = engine.home
    engine.close()
    again = Engine("data/shop.yml", home, OnlineRowsInMemory(), clock=lambda: CLOCK)
    thread, stopping = running(RedisSource(server.url, "shop", "readers"), again)
    wait_for(lambda: len(verdicts(server)) == 5)
    stopping.set()
    thread.join(10)
    # The answer is the one that the first process could not give.
    assert verdicts(server) == [("accepted", "")] * 5
    assert again.journal.last == 5
    assert client.xpending("shop", "readers")["pending"] == 0
    again.close()


def test_what_cannot_be_read_is_one_line(server: Server) -> None:
    from redis import Redis

    with pytest.raises(BadInput, match="write redis://host:6379/0"):
        RedisSource("localhost", "shop", "readers")
    Redis.from_url(server.url).set("plain", "text")
    with pytest.raises(BadInput, match="stream plain"):
        RedisSource(server.url, "plain", "readers")
    server.kill()
    with pytest.raises(BadInput, match="Redis at"):
        RedisSource(server.url, "shop", "readers")
    server.start()
