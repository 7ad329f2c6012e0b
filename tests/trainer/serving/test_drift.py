"""Drift of what is served: who is counted, against what, and what a request pays."""

from __future__ import annotations

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest
from serving_home import Served

from trainer.features import features_at
from trainer.monitoring.bins import feature_columns
from trainer.monitoring.distances import compare
from trainer.monitoring.reference import read_reference
from trainer.prediction import Predictor
from trainer.runs import load_served_run
from trainer.serving import drift as served_drift
from trainer.serving.drift import ServedDrift


@pytest.fixture
def predictor(served: Served) -> Predictor:
    return Predictor(served.home, load_served_run(served.home))


@pytest.fixture
def drift(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> ServedDrift:
    monkeypatch.setattr(served_drift, "_EVERY_S", 0.0)
    found = ServedDrift(CollectorRegistry())
    found.follow(predictor)
    return found


def figures(drift: ServedDrift) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(drift)
    lines = generate_latest(registry).decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


def ask(drift: ServedDrift, predictor: Predictor, user: str, at: np.datetime64) -> None:
    examples = predictor.examples([user], at)
    drift.observe(predictor, examples, predictor.answer(examples))


def test_the_last_row_of_each_user_in_a_session_is_compared(
    drift: ServedDrift, predictor: Predictor, served: Served
) -> None:
    users = sorted(served.log.users)[:12]
    last = [np.datetime64(served.log.users[user][9].at, "us") for user in users]
    for user, at in zip(users, last, strict=True):
        ask(drift, predictor, user, np.datetime64(served.log.users[user][3].at, "us"))
        ask(drift, predictor, user, at)
    ask(drift, predictor, "nobody", last[0])
    closed = np.datetime64(served.log.users[users[0]][-1].at, "us") + np.timedelta64(1, "D")
    ask(drift, predictor, users[1], closed + np.timedelta64(40, "D"))
    found = figures(drift)
    assert found["scalespace_drift_users"] == len(users)

    # The same by the definition: the rows read at once, the farthest column of the scale.
    reference = read_reference(predictor.run.folder)
    features = predictor.run.features
    instants = np.array(last)
    table = features_at(predictor.store, np.array(users, dtype=object), instants, features)
    columns = {each.name: each for each in feature_columns(features, table, instants)}
    week = [
        compare(bins.count(columns[bins.name])[0], counts.sum(axis=0))
        for bins, counts in zip(reference.bins, reference.counts, strict=True)
        if bins.group == "7d"
    ]
    assert found['scalespace_drift_psi{group="7d"}'] == pytest.approx(max(p for p, _ in week))
    assert found['scalespace_drift_jsd{group="7d"}'] == pytest.approx(max(j for _, j in week))
    groups = {name.partition('"')[2].rstrip('"}') for name in found if "psi" in name}
    assert groups == {"now", "7d", "all", "predictions"}
    assert figures(drift) == found  # read twice, counted once


def test_memory_is_bounded(
    drift: ServedDrift, predictor: Predictor, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_drift, "MOST_USERS", 3)
    for user in sorted(served.log.users)[:6]:
        ask(drift, predictor, user, np.datetime64(served.log.users[user][3].at, "us"))
    assert figures(drift)["scalespace_drift_users"] == 3
    everybody = sorted(served.log.users)
    at = np.datetime64(served.log.users[everybody[0]][3].at, "us")
    examples = predictor.examples(everybody, at)
    drift.observe(predictor, examples, predictor.answer(examples))
    ((kept, said),) = drift._waiting
    assert len(kept) == len(said) == 8


def test_few_requests_are_looked_at(
    predictor: Predictor, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_drift, "_EVERY_S", 60.0)
    drift = ServedDrift(CollectorRegistry())
    drift.follow(predictor)
    for user in sorted(served.log.users)[:4]:
        ask(drift, predictor, user, np.datetime64(served.log.users[user][3].at, "us"))
    assert figures(drift)["scalespace_drift_users"] == 1


def test_a_run_without_a_reference_has_no_figures(own: Served) -> None:
    folder = load_served_run(own.home).folder
    (folder / "reference.json").write_text("{")
    predictor = Predictor(own.home, load_served_run(own.home))
    drift = ServedDrift(CollectorRegistry())
    drift.follow(predictor)
    assert figures(drift) == {}


def test_the_service_counts_what_it_answers(client: TestClient, served: Served) -> None:
    assert "scalespace_drift_users 0.0" in client.get("/metrics").text
    last = max(served.log.users, key=lambda user: served.log.users[user][-1].at)
    assert client.post("/predict", json={"user_id": last}).status_code == 200
    assert "scalespace_drift_users 1.0" in client.get("/metrics").text
