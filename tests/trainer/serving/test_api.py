"""The API in process: what it answers, what it refuses, and what it says of itself."""

from __future__ import annotations

import json
import logging
import math
from datetime import datetime, timedelta

import numpy as np
import pytest
import synthetic_log as synthetic
from fastapi import APIRouter
from fastapi.testclient import TestClient
from serving_home import Served

from feature_repo.errors import BadInput
from trainer import prediction
from trainer.examples import unlabelled
from trainer.feature_rows import Layout
from trainer.features import feature_rows_now
from trainer.models.served import Served as SequenceModel
from trainer.prediction import Predictor
from trainer.runs import load_run, load_served_run
from trainer.sequences import Sequences
from trainer.serving.app import make_app
from trainer.serving.settings import ServingSettings

NOT_LIMITED = ServingSettings(requests_per_second=0)


def post(client: TestClient, **body: object) -> dict:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ---- predictions ---------------------------------------------------------------------------------


def test_a_prediction_is_that_of_the_fitted_network(client: TestClient, served: Served) -> None:
    users = ["u007", "nobody", "u001"]
    answer = post(client, user_ids=users)
    run = load_run(served.home)
    known = synthetic.features_at(served.log, users, [served.log.end] * 3)
    names = np.array(users, dtype=object)
    instants = np.repeat(np.datetime64(served.log.end, "us"), 3)
    examples = unlabelled(Sequences.from_arrays(names, known), instants, known, ("a", "b", "leave"))
    expected = run.recurrent.predict_proba(examples)
    assert answer["run"] == run.name
    assert answer["now"].startswith(served.log.end.isoformat(sep=" "))
    assert [p["user_id"] for p in answer["predictions"]] == users
    assert [p["cold"] for p in answer["predictions"]] == [False, True, False]
    for found, row in zip(answer["predictions"], expected, strict=True):
        assert list(found["next_action"]) == ["a", "b", "leave"]
        assert list(found["next_action"].values()) == pytest.approx(row, abs=1e-5)
    # Alone, to the last bits of a float32: a product of other shapes adds in another order.
    (alone,), together = post(client, user_id="u007")["predictions"], answer["predictions"][0]
    assert alone.pop("next_action") == pytest.approx(together.pop("next_action"), abs=1e-6)
    assert alone == together


def test_a_thousand_users_and_not_one_more(client: TestClient) -> None:
    users = [f"u{number:03d}" for number in range(1000)]
    answer = post(client, user_ids=users)
    assert [p["user_id"] for p in answer["predictions"]] == users
    assert sum(not p["cold"] for p in answer["predictions"]) == 25
    assert client.post("/predict", json={"user_ids": [*users, "one more"]}).status_code == 422


def test_a_user_who_is_asked_for_twice_is_answered_twice(client: TestClient) -> None:
    first, other, second = post(client, user_ids=["u001", "u002", "u001"])["predictions"]
    assert first == second
    assert first["next_action"] != other["next_action"]


def test_features_stand_in_the_order_of_the_signature(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case N11: on 100 calls, whatever order the store answers in."""
    random = np.random.default_rng(0)

    def shuffled(store, users, layout):
        order = random.permutation(len(layout.wanted))
        return feature_rows_now(store, users, Layout(tuple(layout.wanted[n] for n in order)))

    predictor = Predictor(served.home, load_served_run(served.home))
    model = predictor.run.model
    assert isinstance(model, SequenceModel)
    signature = [feature.name for feature in model.features]
    assert signature == [feature.name for feature in predictor.run.features]
    # The transition counts of the lifetime enter as the user's row.
    read = [name for name in signature if name != "transition_counts_all"]
    assert [code.name for code in model.context.features.codes] == read
    users = sorted(served.log.users)
    expected = {answer.user_id: answer.next_action for answer in predictor.now(users)}
    monkeypatch.setattr(prediction, "feature_rows_now", shuffled)
    orders = set()
    for _ in range(100):
        asked = random.permutation(users)[:5].tolist()
        examples = predictor.examples(asked)
        orders.add(tuple(examples.features.column_names))
        matrix = model.context.transform(examples)
        assert matrix.shape == (5, len(model.context.columns))
        for answer in predictor.answer(examples):
            assert answer.next_action == pytest.approx(expected[answer.user_id], abs=1e-6)
    assert len(orders) > 90


def test_an_out_of_order_request_counts_no_later_event(client: TestClient, served: Served) -> None:
    """Case N12: at T = 99, with events at 100 and 101, which were asked for before."""
    user = "u003"
    events = served.log.users[user]
    later = events[20].at
    at = later - timedelta(microseconds=1)
    run = load_served_run(served.home)

    def by_hand(instant: datetime) -> np.ndarray:
        known = synthetic.features_at(served.log.until(instant), [user], [instant])
        sequences = Sequences.from_arrays(np.array([user], dtype=object), known)
        when = np.array([instant], dtype="datetime64[us]")
        return run.model.predict_proba(unlabelled(sequences, when, known, run.states))[0]

    answers = {}
    for instant in (events[21].at, later, at):  # the newest first
        (found,) = post(client, user_id=user, at=instant.isoformat() + "Z")["predictions"]
        answers[instant] = list(found["next_action"].values())
        assert answers[instant] == pytest.approx(by_hand(instant), abs=1e-6)
    assert answers[at] != pytest.approx(answers[later], abs=1e-4)
    before = post(client, user_id=user, at=(events[0].at - timedelta(seconds=1)).isoformat())
    assert before["predictions"][0]["cold"] is True


def test_an_instant_has_any_offset_and_utc_without(client: TestClient, served: Served) -> None:
    at = served.log.users["u003"][12].at
    ways = (
        f"{at.isoformat()}",
        f"{at.isoformat()}Z",
        f"{(at + timedelta(hours=2)).isoformat()}+02:00",
    )
    answers = [post(client, user_id="u003", at=way) for way in ways]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["now"].startswith(at.isoformat(sep=" "))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": "a", "user_ids": ["b"]},
        {"user_ids": []},
        {"users": ["a"]},
        {"user_id": ""},
        {"user_id": "x" * 1025},
        {"user_id": None},
        {"user_id": ["a"]},
        {"user_id": "a", "at": "noon"},
        {"user_id": "a", "at": "0001-01-01T00:00:00+14:00"},
        {"user_id": "a", "at": "9999-12-31T23:59:59-14:00"},
        {"user_id": "a", "at": 0},
        {"user_id": "a", "at": "0"},
        {"user_id": "a", "run": "../../etc"},
    ],
)
def test_what_is_no_request_is_refused(client: TestClient, body: dict) -> None:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 422
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert {"loc", "msg", "type"} == set(answer.json()["detail"][0])


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"user_id": "\\ud800"}', 422),  # half a character
        (b'{"user_id": "\xff"}', 400),
        (b"\x00", 422),
        (b'{"user_id": NaN}', 422),
        (b'{"user_id": true}', 422),
        (b'{"user_id": 7.5}', 422),
        (b'{"user_id": 7}', 200),
        (b"[" * 100_000, 400),
        (b'{"user_id": "a\\u0000b"}', 200),  # a NUL is a character like any other
    ],
)
def test_bytes_that_are_hard_to_read(client: TestClient, content: bytes, status: int) -> None:
    answer = client.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    answer.json()


def test_only_json_is_read(client: TestClient) -> None:
    """A form of another site can post text, but not JSON."""
    answer = client.post(
        "/predict", content=b'{"user_id": "u001"}', headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "content",
    [
        b'{"user_id": "u001"}',
        b'{"user_id": 7, "user_id": "u002"}',
        b'{"user_ids": ["u003", "nobody", 12345678901234567890], "at": null}',
        b'{"user_id": "u003", "at": "2024-01-22T00:00:00Z"}',
        b'{"user_id": "u001", "run": "other"}',
        b'{"user_id": "\\ud800"}',
        b'\xef\xbb\xbf{"user_id": "u001"}',
        '{"user_id": "u001"}'.encode("utf-16"),
        b'{"user_id": 1e400}',
        b'{"user_id": ' + b"9" * 5000 + b"}",
        b'{"user_id": "u001"',
        b"[]",
        b"null",
        b"",
    ],
)
def test_a_plain_request_is_answered_as_any_other(client: TestClient, content: bytes) -> None:
    """What is read the short way, and what the framework reads: a charset sends a request there."""
    short, whole = (
        client.post("/predict", content=content, headers={"content-type": kind})
        for kind in ("application/json", "application/json; charset=utf-8")
    )
    assert short.status_code == whole.status_code
    answers = [answer.json() for answer in (short, whole)]
    for answer in answers:
        answer.pop("request_id", None)
    assert answers[0] == answers[1]
    assert short.headers["content-type"] == whole.headers["content-type"]


def test_a_plain_request_asks_the_framework_for_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def solve(**given: object) -> None:
        asked.append(given)
        raise BadInput("asked")

    monkeypatch.setattr("fastapi.routing.solve_dependencies", solve)
    assert post(client, user_id="u001")["predictions"][0]["user_id"] == "u001"
    assert not asked
    assert client.post("/predict", json={"user_id": ""}).status_code == 503
    assert len(asked) == 1


# ---- users ---------------------------------------------------------------------------------------


def test_a_user_has_features_events_and_session(client: TestClient, served: Served) -> None:
    user, end = "u004", served.log.end
    found = client.get(f"/users/{user}").json()
    expected = synthetic.values_at(served.log, user, end)
    assert list(found["features"]) == ["7d", "all", "other"]
    assert found["features"]["7d"] == {"event_count_7d": expected["event_count_7d"]}
    assert found["features"]["all"]["transition_counts_all"] == expected["transition_counts_all"]
    assert found["features"]["other"]["last_action_type"] == expected["last_action_type"]
    assert found["session"] == {"session_is_open": expected["session_is_open"]}
    events = served.log.users[user]
    assert len(found["events"]) == len(events) == 30
    for shown, event in zip(found["events"], events, strict=True):
        assert datetime.fromisoformat(shown["event_timestamp"]).replace(tzinfo=None) == event.at
        assert (shown["action_type"], shown["category_id"]) == (event.action, event.category)
        assert shown["duration_ms"] == event.duration_ms
    assert found["events"][0]["gap_ms"] is None
    assert found["events"][1]["gap_ms"] == (events[1].at - events[0].at) / timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "user", ["nobody", "a/b", "..", "a b", "ü", "%", "a\0b", "a\nb\n", "?", "' or 1=1 --"]
)
def test_an_unknown_user_is_all_null(client: TestClient, user: str) -> None:
    from urllib.parse import quote

    answer = client.get("/users/" + quote(user, safe="").replace(".", "%2E"))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["user_id"], found["known"], found["state"]) == (user, False, None)
    assert found["events"] == []
    assert found["features"]["7d"] == {"event_count_7d": None}


def test_null_zero_and_nan_are_three_answers() -> None:
    from trainer.serving.users import plain

    values = [None, 0, 0.0, math.nan, math.inf, -math.inf, "", [math.nan, 1.5]]
    shown = ["NaN", "Infinity", "-Infinity", "", ["NaN", 1.5]]
    assert [plain(value) for value in values] == [None, 0, 0.0, *shown]
    json.dumps(shown, allow_nan=False)


def test_scales_go_from_short_to_long() -> None:
    from trainer.features import scale_order

    scales = ["all", "90d", "1h", "365d", "7d", "1d", "30d"]
    assert sorted(scales, key=scale_order) == ["1h", "1d", "7d", "30d", "90d", "365d", "all"]


# ---- operations ----------------------------------------------------------------------------------


def test_health_ready_and_metrics(client: TestClient, served: Served) -> None:
    run = load_served_run(served.home)
    health = client.get("/health").json()
    assert (health["status"], health["run"], health["model"]) == ("ok", run.name, "lstm")
    assert client.get("/ready").json() == {"status": "ready", "reason": None}
    for users in (["u001"], ["u002", "nobody", "no one"]):
        post(client, user_ids=users)
    client.get("/users/u001")
    client.get("/users/u002")
    client.get("/no/such/page")
    text = client.get("/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    of_users = '{method="GET",route="/users/{user_id:text}",status="200"}'
    assert figures[f"scalespace_request_duration_seconds_count{of_users}"] == "2.0"
    assert figures['scalespace_predictions_total{cold="true"}'] == "2.0"
    assert figures['scalespace_predictions_total{cold="false"}'] == "2.0"
    assert figures[f'scalespace_model_info{{model="lstm",run="{run.name}"}}'] == "1.0"
    lost = '{method="GET",route="none",status="404"}'
    assert figures[f"scalespace_request_duration_seconds_count{lost}"] == "1.0"
    at = (served.log.end - datetime(1970, 1, 1)).total_seconds()
    assert float(figures["scalespace_features_instant_seconds"]) == at
    assert float(figures["scalespace_features_age_seconds"]) > 0
    assert "u001" not in text  # ids of users are no labels


def test_an_empty_store_is_not_ready_but_healthy(own: Served) -> None:
    with TestClient(make_app(own.home)) as client:
        for file in (own.home / "feast").glob("online_now*"):
            file.unlink()
        assert client.get("/health").json()["now"] is None
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
        answer = client.post("/predict", json={"user_id": "u001"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "trainer sync" in answer.json()["detail"]
        assert "scalespace_features_age" not in client.get("/metrics").text


def test_every_500_has_a_logged_cause(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(Predictor, "examples", broken)
    for path in ("/users/u001", "/?user=u001"):
        caplog.clear()
        answer = client.get(path, headers={"x-request-id": "my-own.1"})
        assert answer.status_code == 500
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "my-own.1"
        assert "fire" not in answer.text
        (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert "the disk is on fire" in str(record.exc_info)
        assert record.fields == {"request_id": "my-own.1"}
    assert "scalespace_errors_total 2.0" in client.get("/metrics").text


def test_a_line_for_every_request_and_no_user_in_it(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scalespace.access")
    answer = client.get("/users/u001?x=secret", headers={"x-request-id": "no good\tid"})
    (record,) = [r for r in caplog.records if r.name == "scalespace.access"]
    line = record.fields
    assert (line["method"], line["route"], line["status"]) == ("GET", "/users/{user_id:text}", 200)
    assert line["bytes"] == len(answer.content)
    assert line["request_id"] == answer.headers["x-request-id"] != "no good\tid"
    assert not {"u001", "secret"} & set(json.dumps(line))
    assert "u001" not in json.dumps(line)
    assert "secret" not in json.dumps(line)


def test_a_log_line_is_one_json_object() -> None:
    from trainer.serving.logs import JsonFormatter

    try:
        raise BadInput("two\nlines")
    except BadInput:
        import sys

        record = logging.LogRecord("n", logging.ERROR, "f", 1, "what %s", ("for",), sys.exc_info())
    record.fields = {"request_id": "7", "odd": object}
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["message"], found["request_id"]) == ("error", "what for", "7")
    assert "two\nlines" in found["cause"]


# ---- documents -----------------------------------------------------------------------------------


def test_the_reference_names_every_route_and_loads_nothing(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/predict",
        "/recommend",
        "/users/{user_id}",
        "/health",
        "/ready",
        "/metrics",
        "/",
    }
    page = client.get("/docs").text
    for path in document["paths"]:
        assert f" {path}</code>" in page
    for schema in document["components"]["schemas"]:
        assert f'id="{schema}"' in page
    for text in (page, client.get("/").text):
        assert "http://" not in text
        assert "https://" not in text
        assert "<script" not in text


def test_more_routes_pass_the_same_layers(served: Served) -> None:
    router = APIRouter()

    @router.post("/events")
    async def events(content: list[int]) -> int:
        return sum(content)

    settings = ServingSettings(max_body_bytes=1024)
    app = make_app(served.home, settings=settings)
    app.include_router(router)
    with TestClient(app) as client:
        assert client.post("/events", json=[1, 2]).json() == 3
        assert client.post("/events", json=[1] * 1000).status_code == 413
        assert client.post("/events", json=["a"]).json()["request_id"]
        assert 'route="/events"' in client.get("/metrics").text
