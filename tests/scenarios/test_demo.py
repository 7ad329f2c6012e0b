"""The whole path on the bundled log: what the demo says, and what its run is worth."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

from trainer_runner import Demo, Trainer
from warm_python import WarmPython

STATES = ["browse", "search", "cart", "purchase", "leave"]


@pytest.fixture(scope="module")
def metrics(demo: Demo) -> dict[str, dict[str, float]]:
    """{model: {metric: value}} of the next action on the test part."""
    content = json.loads((demo.home / "models" / "latest" / "metrics.json").read_text())
    return {model: tasks["next_action"] for model, tasks in content.items()}


def test_it_accounts_for_every_row(demo: Demo) -> None:
    assert "raw 29,863 = accepted 29,682 + duplicates 142 + rejected 39" in demo.output.replace(
        "29863", "29,863"
    ).replace("29682", "29,682")


def test_it_says_what_now_is_and_where_everything_lies(demo: Demo) -> None:
    assert "now = the end of the log, 2024-04-29 22:38:43 UTC" in demo.output
    for name in ("features", "labels", "feast", "models"):
        assert str(demo.home / name) in demo.output.replace("\n", "")
    for step in range(1, 7):
        assert f"[{step}/6]" in demo.output


def test_the_table_names_the_models(demo: Demo) -> None:
    for model in ("marginal", "markov_1", "lstm"):
        assert model in demo.output


def test_the_run_is_a_folder_of_text_and_tensors(demo: Demo) -> None:
    run = (demo.home / "models" / "latest").resolve()
    assert run.parent == (demo.home / "models").resolve()
    weights = torch.load(run / "weights.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    for name in ("config.yml", "vocabularies.json", "features.json", "split.json", "run.json"):
        assert (run / name).read_text(encoding="utf-8")
    assert len(json.loads((run / "run.json").read_text())["manifest"]) == 64
    assert not list(run.glob("*.pkl"))


def test_lstm_and_markov_beat_the_marginal(metrics: dict[str, dict[str, float]]) -> None:
    for model in ("markov_1", "lstm"):
        assert metrics[model]["accuracy"] > metrics["marginal"]["accuracy"] + 0.05
        assert metrics[model]["log_loss"] < metrics["marginal"]["log_loss"] - 0.1
        assert metrics[model]["macro_recall"] > metrics["marginal"]["macro_recall"]
    assert metrics["lstm"]["log_loss"] < metrics["markov_1"]["log_loss"] - 0.1


def test_the_lstm_recovers_the_planted_order_2(demo: Demo) -> None:
    """After `search`, the action before it decides (the table in data/generate_shop.py)."""
    from trainer.fitting import read_dataset
    from trainer.runs import load_run

    run = load_run(demo.home)
    model, (_, markov) = run.recurrent, run.baselines
    test = read_dataset(demo.home, run).test
    test = test.take(~test.landmarks)
    # The last two actions of one session at each instant, from the flat sequences.
    actions = np.array(test.sequences.actions.to_pylist(), dtype=object)
    last = test.ends - 1
    pair = (test.lengths >= 2) & (test.sequences.gaps_ms[last] <= 30 * 60_000)
    before = np.where(pair, actions[np.maximum(last - 1, 0)], "")
    lstm, chain = model.predict_proba(test), markov.predict_proba(test)
    for previous, following in (("browse", "cart"), ("search", "browse")):
        rows = (actions[last] == "search") & (before == previous)
        assert rows.sum() > 100
        planted = lstm[rows, STATES.index(following)].mean()
        assert planted == pytest.approx(0.80, abs=0.06)
        # Order 1 sees `search` alone: one row for all, far from either.
        assert np.ptp(chain[rows, STATES.index(following)]) == 0
        assert chain[rows, STATES.index(following)][0] < 0.4


@pytest.fixture(scope="module")
def predictor(demo: Demo) -> Any:
    """What `trainer predict` asks, without the start of a process for each question."""
    from trainer.prediction import Predictor
    from trainer.runs import load_served_run

    return Predictor(demo.home, load_served_run(demo.home))


def test_predict_reads_the_same_online_and_offline(demo: Demo, predictor: Any) -> None:
    from feature_repo.sync import online_now

    users = [f"u{number:03d}" for number in range(1, 501, 7)]
    now = np.datetime64(online_now(demo.home).replace(tzinfo=None), "us")
    for a, b in zip(predictor.now(users), predictor.at(users, now), strict=True):
        assert list(a.next_action) == STATES
        assert sum(a.next_action.values()) == pytest.approx(1, abs=1e-9)
        assert (a.state, a.cold) == (b.state, b.cold)
        assert a.next_action == pytest.approx(b.next_action, abs=1e-6)


def test_a_second_after_the_event_is_the_same_online_and_offline(
    demo: Demo, predictor: Any
) -> None:
    """Half the users have milliseconds, and an online store has whole seconds."""
    from feature_repo.sync import online_now, sync

    events = duckdb.sql(f"""
        select user_id, event_timestamp from '{demo.home}/labels/events.parquet'
        where event_timestamp > timestamp '2024-04-20'
            and extract('ms' from event_timestamp) % 1000 > 500
        order by event_timestamp limit 3
    """).fetchall()
    end = online_now(demo.home)
    try:
        for user, at in events:
            sync(demo.home, at)
            (online,) = predictor.now([user])
            (offline,) = predictor.at([user], np.datetime64(at, "us"))
            assert online.next_action == pytest.approx(offline.next_action, abs=1e-6)
    finally:
        sync(demo.home, end)
    assert len(events) == 3


def test_who_has_left_starts_a_session_as_planted(predictor: Any) -> None:
    """At the log's end most have left; sessions start with browse .45 and search .55."""
    answers = predictor.now([f"u{number:03d}" for number in range(1, 426)])
    left = [answer.next_action for answer in answers if answer.state == "leave"]
    assert len(left) > 300
    means = {state: np.mean([chances[state] for chances in left]) for state in STATES}
    assert means["browse"] == pytest.approx(0.45, abs=0.06)
    assert means["search"] == pytest.approx(0.55, abs=0.06)
    assert means["leave"] == 0


def test_predict_prints_names(demo: Demo, trainer: Trainer) -> None:
    printed = trainer(demo.home, "predict", "--user", "u021", "--at", "2024-04-10T12:00:00Z")
    assert printed.returncode == 0, printed.stderr
    for word in ("u021", "2024-04-10 12:00:00", *STATES):
        assert word in printed.stdout


def test_evaluate_shows_predicted_beside_actual_by_name(demo: Demo, trainer: Trainer) -> None:
    shown = trainer(demo.home, "evaluate", "--sample", "5")
    assert shown.returncode == 0, shown.stderr
    for word in ("marginal", "markov_1", "lstm", "predicted", "actual"):
        assert word in shown.stdout
    assert sum(shown.stdout.count(state) for state in STATES) >= 10


def test_flat_sequences_are_the_served_ones(demo: Demo) -> None:
    """Training reads labels/events, serving reads user_sequence: the last 50 are the same."""
    differing = duckdb.sql(f"""
        with events as (
            select user_id, list(action_type order by event_position) as actions,
                list(coalesce(gap_ms, -1) order by event_position) as gaps,
                list(coalesce(category_id, '') order by event_position) as categories,
                list(coalesce(duration_ms, -1) order by event_position) as durations,
                list(hour order by event_position) as hours,
                list(isodow(event_timestamp) - 1 order by event_position) as weekdays,
                list(coalesce(item_id, '') order by event_position) as items,
                list(coalesce(location, '') order by event_position) as locations
            from '{demo.home}/labels/events.parquet' group by user_id
        ),
        served as (
            select * from '{demo.home}/features/user_sequence.parquet'
            qualify row_number() over (partition by user_id order by event_timestamp desc) = 1
        )
        select count(*) filter (where (sequence_actions, sequence_gaps_ms, sequence_categories,
                sequence_durations_ms, sequence_hours, sequence_weekdays, sequence_items,
                sequence_locations)
            is distinct from (actions[-50:], gaps[-50:], categories[-50:], durations[-50:],
                hours[-50:], weekdays[-50:], items[-50:], locations[-50:])), count(*)
        from events full join served using (user_id)
    """).fetchall()
    assert differing == [(0, 500)]


@pytest.fixture(scope="module")
def served(
    demo: Demo, shop_statements: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a running ``trainer serve``."""
    import os
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.copytree(shop_statements, demo.home / shop_statements.name)
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as sink:
        process = WarmPython(
            *("-m", "trainer", "serve", "--port", str(port)),
            env={**os.environ, "SCALESPACE_HOME": str(demo.home)},
            stdout=sink,
            stderr=sink,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def post(
    address: str, body: dict[str, Any] | list[Any], route: str = "/predict"
) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"{address}{route}",
        json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_serve_answers_what_predict_does(served: str, demo: Demo, predictor: Any) -> None:
    status, answer = post(served, {"user_ids": ["u021", "nobody"]})
    assert status == 200
    known, unknown = answer["predictions"]
    (asked,) = predictor.now(["u021"])
    assert known["next_action"] == pytest.approx(asked.next_action, abs=1e-6)
    assert known["cold"] is False
    # An unknown user gets the prior: the training part's own shares.
    assert unknown["cold"] is True
    from trainer.runs import load_run

    marginal = load_run(demo.home).baselines[0]
    assert unknown["next_action"] == pytest.approx(
        dict(zip(STATES, marginal.probabilities, strict=True)), abs=1e-6
    )


def test_serve_says_how_it_is(served: str) -> None:
    with urllib.request.urlopen(f"{served}/health", timeout=10) as answer:
        health = json.load(answer)
    assert health["status"] == "ok"
    assert health["model"] == "lstm"


@pytest.mark.parametrize("body", [{}, {"user_id": ""}, {"user_ids": []}, {"users": ["u1"]}])
def test_serve_refuses_what_it_does_not_know(served: str, body: dict[str, Any]) -> None:
    status, answer = post(served, body)
    assert status == 422
    assert answer["detail"]


def test_an_event_that_is_sent_is_seen(served: str) -> None:
    """Taken in, counted once, and answered by the routes that read the online store."""
    event = {
        "user_id": "somebody new",
        "action_type": "search",
        "time_stamp": (datetime.now(UTC) - timedelta(minutes=1)).isoformat(),
        "event_id": "sent-1",
    }
    events = [event, {**event, "event_id": "sent-2", "action_type": "purchase"}, {"oops": 1}]
    status, answer = post(served, events, "/events")
    assert status == 200
    assert [verdict["verdict"] for verdict in answer["verdicts"]] == [
        "accepted",
        "accepted",
        "malformed",
    ]
    _, answer = post(served, event, "/events")
    assert [verdict["verdict"] for verdict in answer["verdicts"]] == ["duplicate"]
    with urllib.request.urlopen(f"{served}/users/somebody%20new", timeout=10) as found:
        user = json.load(found)
    assert user["known"] is True
    assert user["features"]["all"]["event_count_all"] == 2
    assert [event["action_type"] for event in user["events"]] == ["search", "purchase"]
    _, answer = post(served, {"user_id": "somebody new"})
    assert answer["predictions"][0]["cold"] is False
    assert answer["predictions"][0]["state"] == "purchase"
