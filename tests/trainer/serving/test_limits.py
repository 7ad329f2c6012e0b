"""Limits: requests beyond a rate, a size or a time are refused, and counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_home import NO_LIMIT, Served

from feature_repo.errors import BadInput
from trainer.prediction import Predictor
from trainer.serving.app import make_app
from trainer.serving.limits import BodyLimit, TokenBuckets
from trainer.serving.metrics import Metrics
from trainer.serving.settings import ServingSettings
from trainer.serving.workers import Overloaded, Workers


def refused(client: TestClient, reason: str) -> float:
    line = f'scalespace_requests_refused_total{{reason="{reason}"}} '
    for found in client.get("/metrics").text.splitlines():
        if found.startswith(line):
            return float(found.removeprefix(line))
    return 0.0


# ---- rate ----------------------------------------------------------------------------------------


def test_a_bucket_by_hand() -> None:
    """2 tokens a second, 3 saved up: 3 at once, then one each half second."""
    now = 100.0
    buckets = TokenBuckets(rate=2, burst=3, clock=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0  # another client has its own
    now += 0.25
    assert buckets.take("a") == pytest.approx(0.25)
    now += 0.25
    assert buckets.take("a") == 0
    assert buckets.take("a") == pytest.approx(0.5)
    now += 1000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]  # never more than 3


def test_ten_thousand_clients_are_remembered_and_no_more() -> None:
    buckets = TokenBuckets(rate=1, burst=1, clock=lambda: 0.0)
    for number in range(10_001):
        assert buckets.take(str(number)) == 0
    assert buckets.take("10000") == 1
    assert buckets.take("0") == 0  # forgotten


def test_too_many_requests_say_when_to_come_back(served: Served) -> None:
    settings = ServingSettings(requests_per_second=0.01)
    with TestClient(make_app(served.home, settings=settings)) as client:
        assert client.get("/users/u001").status_code == 200
        answer = client.get("/users/u001")
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 100
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        for _ in range(3):
            assert client.get("/health").status_code == client.get("/ready").status_code == 200


# ---- size ----------------------------------------------------------------------------------------


def test_a_large_body_is_refused_whether_it_says_so_or_not(served: Served) -> None:
    settings = NO_LIMIT.model_copy(update={"max_body_bytes": 2000})
    with TestClient(make_app(served.home, settings=settings)) as client:
        json = {"content-type": "application/json"}
        body = b'{"user_id": "' + b"x" * 1000 + b'"}'
        assert client.post("/predict", content=body, headers=json).status_code == 200
        large = body + b" " * 2000
        assert client.post("/predict", content=large, headers=json).status_code == 413
        chunks = iter([body, b" " * 1500])
        assert client.post("/predict", content=chunks, headers=json).status_code == 413
        assert refused(client, "size") == 2


def ask(app: Any, receive: Callable[[], Awaitable[Any]]) -> list[dict[str, Any]]:
    """What an ASGI application sends for one POST."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    return sent


async def _never(*_: object) -> None:
    raise AssertionError("the application was asked")


def test_a_body_that_does_not_come_holds_nothing_open() -> None:
    async def receive() -> Any:
        await asyncio.sleep(60)

    layer = BodyLimit(_never, most=100, seconds=0.05, metrics=Metrics(lambda: None))
    (start, _) = ask(layer, receive)
    assert start["status"] == 408


def test_a_client_that_has_gone_is_not_answered() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    layer = BodyLimit(_never, most=100, seconds=5, metrics=Metrics(lambda: None))
    assert ask(layer, receive) == []


# ---- time ----------------------------------------------------------------------------------------


def test_no_answer_in_time_is_a_503(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    settings = NO_LIMIT.model_copy(update={"request_timeout_s": 0.2})
    with TestClient(make_app(served.home, settings=settings)) as client:
        monkeypatch.setattr(Predictor, "examples", lambda *_: release.wait(30))
        answer = client.post("/predict", json={"user_id": "u001"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "within 0.2 s" in answer.json()["detail"]
        assert refused(client, "time") == 1
        release.set()


def test_work_beyond_the_queue_is_refused_and_places_come_back() -> None:
    release = threading.Event()

    async def scenario() -> tuple[int, list[bool], bool]:
        workers = Workers("test", threads=1, queue=2)
        calls = [asyncio.ensure_future(workers.run(release.wait, 30)) for _ in range(5)]
        await asyncio.sleep(0.05)
        refused = sum(c.done() and isinstance(c.exception(), Overloaded) for c in calls)
        release.set()
        done = [await call for call in calls if not isinstance(_error(call), Overloaded)]
        again = await workers.run(bool, 1)
        workers.close()
        return refused, done, again

    assert asyncio.run(scenario()) == (2, [True] * 3, True)


def _error(call: asyncio.Future[bool]) -> BaseException | None:
    return call.exception() if call.done() else None


def test_a_call_that_nobody_waits_for_keeps_its_place_until_it_ends() -> None:
    release = threading.Event()

    async def scenario() -> None:
        workers = Workers("test", threads=1, queue=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(workers.run(release.wait, 30), 0.05)
        queued = asyncio.ensure_future(workers.run(bool, 1))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await workers.run(bool, 1)
        release.set()
        assert await queued is True
        workers.close()

    asyncio.run(scenario())


def test_a_slow_offline_read_keeps_no_online_one_waiting(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, begun = threading.Event(), threading.Event()
    plain = Predictor.examples

    def slow(self: Predictor, users: Any, at: Any = None, more: Any = ()) -> Any:
        if at is not None:
            begun.set()
            release.wait(30)
        return plain(self, users, at, more)

    monkeypatch.setattr(Predictor, "examples", slow)
    with TestClient(make_app(served.home, settings=NO_LIMIT)) as client:
        body = {"user_id": "u001", "at": "2024-01-10"}
        asked = threading.Thread(target=client.post, args=("/predict",), kwargs={"json": body})
        asked.start()
        assert begun.wait(30)
        assert client.post("/predict", json={"user_id": "u001"}).status_code == 200
        assert not release.is_set()
        release.set()
        asked.join()


# ---- token ---------------------------------------------------------------------------------------

TOKEN = "correct-horse-battery"


def test_a_token_opens_all_but_health(served: Served) -> None:
    settings = ServingSettings.from_environment({"SCALESPACE_TOKEN": TOKEN}, requests_per_second=0)
    assert TOKEN not in repr(settings)
    with TestClient(make_app(served.home, settings=settings)) as client:
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        closed = (
            "/metrics",
            "/users/u001",
            "/docs",
            "/openapi.json",
            "/",
            "/static/style.css",
            "/x",
        )
        for path in closed:
            answer = client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
        for wrong in (
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            TOKEN,
            "Basic !!!",
            "Basic Og==",
            "Bearer \xff",
        ):
            headers = [(b"authorization", wrong.encode("latin-1"))]
            assert client.get("/metrics", headers=headers).status_code == 401, wrong
        headers = {"authorization": f"Bearer {TOKEN}"}
        for path in closed[:-1]:
            assert client.get(path, headers=headers).status_code == 200
        assert client.get("/", auth=("anyone", TOKEN)).status_code == 200
        asked = client.get("/", headers={"accept": "text/html"}).headers["www-authenticate"]
        assert asked.startswith("Basic ")
        assert TOKEN not in client.get("/metrics", headers=headers).text


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "sixteen characters\n", "ü" * 20])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(BadInput, match="SCALESPACE_TOKEN"):
        ServingSettings.from_environment({"SCALESPACE_TOKEN": token})


def test_the_time_of_a_request_is_measured_to_its_end(served: Served) -> None:
    """The histogram's sum is the time that the client waited, not more."""
    with TestClient(make_app(served.home, settings=NO_LIMIT)) as client:
        begun = time.perf_counter()
        client.get("/health")
        waited = time.perf_counter() - begun
        name = 'scalespace_request_duration_seconds_sum{method="GET",route="/health",status="200"} '
        (line,) = [x for x in client.get("/metrics").text.splitlines() if x.startswith(name)]
        assert 0 < float(line.removeprefix(name)) < waited
