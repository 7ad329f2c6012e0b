"""Many callers share batches; over HTTP every event gets its answer."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from trainer.serving.event_metrics import EventMetrics
from trainer.streaming.batches import Batches, Overloaded, Stopped
from trainer.streaming.events import Arrival, Verdict
from trainer.streaming.journal import JournalError
from trainer.streaming.lines import stream_lines
from trainer.streaming.router import MOST_BODY, make_events_router


class PlainEngine:
    """Stands for an engine: an event is a duplicate when its id came before."""

    columns = ["id", "user"]

    def __init__(self) -> None:
        self.seen: set[str | None] = set()
        self.batches: list[int] = []
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.idled, self.closed = 0, False
        self.waiting = 0

    def take(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        self.entered.set()
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        self.batches.append(len(arrivals))
        verdicts = []
        for arrival in arrivals:
            event_id = arrival.values.get("id")
            verdicts.append(Verdict("duplicate" if event_id in self.seen else "accepted"))
            self.seen.add(event_id)
        return verdicts

    def begin(self, arrivals: Sequence[Arrival]) -> tuple[list[Verdict], Future[None]]:
        verdicts = self.take(arrivals)
        written: Future[None] = Future()
        written.set_result(None)
        return verdicts, written

    def idle(self, in_between: bool = False) -> bool:  # noqa: ARG002
        self.idled += 1
        return False

    def close(self) -> None:
        self.closed = True


def arrivals(*ids: str) -> list[Arrival]:
    return [Arrival({"id": event_id}) for event_id in ids]


def test_what_arrives_while_a_batch_runs_is_the_next_batch() -> None:
    engine = PlainEngine()
    engine.gate.clear()
    batches = Batches(engine, most_events=50)
    first = batches.submit(arrivals("first"))
    assert engine.entered.wait(10)
    futures = [batches.submit(arrivals(f"a{i}", "first")) for i in range(30)]
    assert batches.waiting == 61
    engine.gate.set()
    assert first.result(10) == [Verdict("accepted")]
    for future in futures:
        assert future.result(10) == [Verdict("accepted"), Verdict("duplicate")]
    batches.close()
    # At most fifty, but no request is cut in two.
    assert engine.batches == [1, 50, 10]
    assert engine.closed
    with pytest.raises(Stopped):
        batches.submit(arrivals("late"))


def test_too_many_that_wait_are_refused_and_later_ones_are_not() -> None:
    engine = PlainEngine()
    engine.gate.clear()
    batches = Batches(engine, most_waiting=3)
    taken = [batches.submit(arrivals("a", "b")), batches.submit(arrivals("c"))]
    with pytest.raises(Overloaded):
        batches.submit(arrivals("d"))
    engine.gate.set()
    for future in taken:
        future.result(10)
    while batches.waiting:
        pass
    assert batches.submit(arrivals("d")).result(10) == [Verdict("accepted")]
    batches.close()
    assert engine.seen == {"a", "b", "c", "d"}


def test_a_failure_is_told_to_whom_it_concerns() -> None:
    engine = PlainEngine()
    batches = Batches(engine)
    engine.failure = JournalError("no space")
    with pytest.raises(JournalError):
        batches.submit(arrivals("a")).result(10)
    engine.failure = None
    assert batches.submit(arrivals("a")).result(10) == [Verdict("accepted")]
    batches.close()


@pytest.fixture
def engine() -> PlainEngine:
    return PlainEngine()


@pytest.fixture
def client(engine: PlainEngine):
    batches = Batches(engine, most_waiting=5)
    app = FastAPI()
    app.state.registry = CollectorRegistry()
    measured = EventMetrics(app.state.registry, lambda: batches.waiting, lambda: batches.not_online)
    app.include_router(make_events_router(batches, measured.observe))
    with TestClient(app) as client:
        yield client
    engine.gate.set()
    batches.close()


def test_one_event_or_many_over_http(client: TestClient) -> None:
    answer = client.post("/events", json={"id": "a", "user": 7})
    assert answer.status_code == 200
    assert answer.json() == {"verdicts": [{"verdict": "accepted", "reason": None}]}
    events = [{"id": "a"}, {"id": "b"}, {"what": 1}, 7, {"id": {"x": 1}}, {}]
    answer = client.post("/events", json=events)
    assert answer.status_code == 200
    verdicts = answer.json()["verdicts"]
    assert [v["verdict"] for v in verdicts] == ["duplicate", "accepted", *["malformed"] * 4]
    assert verdicts[2]["reason"] == 'no column "what"; the log has id, user'
    assert verdicts[3]["reason"] == "it is no JSON object"
    assert client.post("/events", json=[]).json() == {"verdicts": []}


def test_what_prometheus_reads_of_events(client: TestClient, engine: PlainEngine) -> None:
    registry: CollectorRegistry = client.app.state.registry  # type: ignore[attr-defined]

    def figure(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"scalespace_{name}", labels)

    def counts() -> list[float | None]:
        verdicts = ("accepted", "duplicate", "rejected", "malformed")
        return [figure("events_total", verdict=verdict) for verdict in verdicts]

    assert counts() == [0, 0, 0, 0]  # a rate needs them from the start
    client.post("/events", json=[{"id": "a"}, {"id": "b"}, {"id": "a"}, 7])
    assert counts() == [2, 1, 0, 1]
    engine.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.post, "/events", json=[{"id": "c"}, {"id": "d"}])
        while figure("events_waiting") != 2:
            assert not running.done()
        time.sleep(0.3)
        engine.waiting = 5
        assert figure("events_users_not_online") == 5
        engine.gate.set()
        assert running.result().status_code == 200
    assert counts() == [4, 1, 0, 1]
    # Two of them waited for 0.3 s.
    assert figure("event_visible_seconds_count") == 4
    assert (figure("event_visible_seconds_sum") or 0) >= 0.6


@pytest.mark.parametrize("body", [b"", b"{", b'"a"', b"7", b"null", b"\xff", b"[" * 50_000])
def test_a_body_that_is_no_events_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/events", content=body)
    assert answer.status_code == 422
    assert "body" in answer.json()["detail"]


def test_too_much_is_refused(client: TestClient, engine: PlainEngine) -> None:
    many = [{"id": str(i)} for i in range(1_001)]
    assert client.post("/events", json=many).status_code == 413
    assert client.post("/events", content=b" " * (MOST_BODY + 1)).status_code == 413
    assert engine.seen == set()
    engine.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.post, "/events", json=[{"id": str(i)} for i in range(5)])
        assert engine.entered.wait(10)
        answer = client.post("/events", json={"id": "x"})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        engine.gate.set()
        assert running.result().status_code == 200


def test_a_disk_that_takes_nothing_is_no_500(client: TestClient, engine: PlainEngine) -> None:
    engine.failure = JournalError("No space left on device")
    answer = client.post("/events", json={"id": "a"})
    assert answer.status_code == 503
    assert answer.json()["detail"] == "No space left on device"
    engine.failure = RuntimeError("a path of the server")
    answer = client.post("/events", json={"id": "a"})
    assert answer.status_code == 503
    assert "path" not in answer.json()["detail"]
    engine.failure = None
    assert client.post("/events", json={"id": "a"}).json()["verdicts"][0]["verdict"] == "accepted"


def test_the_openapi_document_names_the_columns_and_the_refusals(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/events"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["oneOf"][0]["properties"]) == {"id", "user"}
    assert {"200", "413", "422", "429", "503"} <= set(operation["responses"])


def test_lines_are_answered_in_their_order(engine: PlainEngine) -> None:
    reader, writer = os.pipe()
    lines = [
        b'{"id": "a"}',
        b"",
        b'{"id": "a"}',
        b'{"id": "%s"}' % (b"x" * 2_000_000),
        b'{"id": 3}',
    ]
    answers = io.StringIO()
    with os.fdopen(reader, "rb") as source, ThreadPoolExecutor(1) as pool:
        count = pool.submit(stream_lines, engine, source, answers, lambda: False)
        with os.fdopen(writer, "wb") as sink:
            sink.write(b"\n".join(lines))  # the last one without its newline
        assert count.result(10) == 5
    found = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [(a["line"], a["verdict"]) for a in found] == [
        (1, "accepted"),
        (2, "malformed"),
        (3, "duplicate"),
        (4, "malformed"),
        (5, "accepted"),
    ]
    assert "longer than" in found[3]["reason"]


def test_a_stream_of_lines_ends_when_it_is_told_to(engine: PlainEngine) -> None:
    reader, writer = os.pipe()
    stopping = threading.Event()
    answers = io.StringIO()
    with os.fdopen(reader, "rb") as source, ThreadPoolExecutor(1) as pool:
        count = pool.submit(stream_lines, engine, source, answers, stopping.is_set)
        os.write(writer, b'{"id": "a"}\n{"id": "half')
        while not answers.getvalue():
            pass
        stopping.set()
        assert count.result(10) == 1
    os.close(writer)
    assert engine.seen == {"a"}
