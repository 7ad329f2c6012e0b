"""Runs of every kind are served: baselines, conversions, and fusions with parts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_log as synthetic
from fastapi.testclient import TestClient
from serving_home import KEYS, NO_LIMIT, Served
from typer.testing import CliRunner

from trainer.cli import app
from trainer.config import load_config
from trainer.examples import Examples, unlabelled
from trainer.fitting import fit
from trainer.models.base import ConversionModel, silent
from trainer.reasons import explain
from trainer.runs import load_run
from trainer.sequences import Sequences
from trainer.serving.app import make_app
from trainer.waits import show_wait

USERS = ["u007", "nobody", "u001"]
DAY = timedelta(days=1)


@pytest.fixture
def refit(own: Served) -> Callable[..., TestClient]:
    """Fit another run on the home, and serve it."""

    def make(*keys: str) -> TestClient:
        fit(own.home, load_config(None, [*KEYS, *keys]), silent)
        return TestClient(make_app(own.home, settings=NO_LIMIT))

    return make


def examples_of(served: Served) -> Examples:
    """What is known of the users at the log's end, by the definitions and without a store."""
    known = synthetic.features_at(served.log, USERS, [served.log.end] * len(USERS))
    names = np.array(USERS, dtype=object)
    instants = np.repeat(np.datetime64(served.log.end, "us"), len(USERS))
    return unlabelled(Sequences.from_arrays(names, known), instants, known, served.log.states)


def predicted(served: Served, user: str) -> dict:
    """What the command line says."""
    arguments = ["predict", "--json", "--dataset", str(served.dataset), "--user", user]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("model", ["markov_1", "boosting"])
def test_a_baseline_is_served(model: str, own: Served, refit: Callable[..., TestClient]) -> None:
    client = refit(f"model={model}", "boosting.iterations=5")
    assert client.get("/health").json()["model"] == model
    answer = client.post("/predict", json={"user_ids": USERS}).json()
    run = load_run(own.home)
    assert answer["run"] == run.name
    expected = run.model.predict_proba(examples_of(own))
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    for found, row, cold in zip(answer["predictions"], expected, (False, True, False), strict=True):
        assert found["cold"] is cold
        assert list(found["next_action"]) == ["a", "b", "leave"]
        assert list(found["next_action"].values()) == pytest.approx(row, abs=1e-9)
        assert found["conversion"] == {}
        assert predicted(own, found["user_id"])["next_action"] == found["next_action"]
    page = client.get("/", params={"user": "u007"})
    assert page.status_code == 200
    assert "this run has none" in page.text
    assert f"<strong>{model}</strong>" in page.text
    assert "Without this event" not in page.text


def test_a_conversion_head_is_served(own: Served, refit: Callable[..., TestClient]) -> None:
    """Whether `b` follows within a day: the same from torch, the API, the page and the command."""
    declare_conversions(own)
    client = refit("tasks.conversion=1")
    answer = client.post("/predict", json={"user_ids": USERS}).json()["predictions"]
    model = load_run(own.home).recurrent
    assert model.network.conversion is not None
    expected = model.predict_conversion(examples_of(own))[:, 0]
    assert abs(expected[0] - expected[1]) > 1e-3
    for found, chance in zip(answer, expected, strict=True):
        assert found["conversion"] == {"converted_within_1d": pytest.approx(chance, abs=1e-5)}
        said = predicted(own, found["user_id"])["conversion"]
        assert said == pytest.approx(found["conversion"], abs=1e-6)
    page = client.get("/", params={"user": "u007"}).text
    assert f"<dt>converted_within_1d</dt><dd>{expected[0]:.3f}</dd>" in page
    shown = CliRunner().invoke(
        app, ["predict", "--dataset", str(own.dataset), "--user", "u007"], env={"COLUMNS": "120"}
    )
    assert re.search(rf"converted within 1d\s+│\s+{expected[0]:.3f}", shown.stdout)
    # A baseline knows of conversions too, where it was fitted on them.
    client = refit("model=marginal")
    (found,) = client.post("/predict", json={"user_id": "u007"}).json()["predictions"]
    baseline = load_run(own.home).model
    assert isinstance(baseline, ConversionModel)
    share = baseline.predict_conversion(examples_of(own))[0, 0]
    assert found["conversion"] == {"converted_within_1d": pytest.approx(share)}


def test_the_time_to_the_next_event_is_served(
    own: Served, refit: Callable[..., TestClient]
) -> None:
    """The same from torch, the API, the page and the command; a run without the head says none."""
    client = refit("tasks.next_time=0.5")
    answer = client.post("/predict", json={"user_ids": USERS}).json()["predictions"]
    expected = load_run(own.home).recurrent.predict_next_time(examples_of(own))
    for found, seconds in zip(answer, expected, strict=True):
        assert list(found["next_time"]) == ["p10", "p25", "p50", "p75", "p90"]
        assert list(found["next_time"].values()) == pytest.approx(seconds, rel=1e-4)
        said = predicted(own, found["user_id"])["next_time"]
        assert said == pytest.approx(found["next_time"], rel=1e-4)
    page = client.get("/", params={"user": "u007"}).text
    assert f"comes in {show_wait(expected[0, 2])} (median)" in page
    client = refit("model=marginal")
    (found,) = client.post("/predict", json={"user_id": "u007"}).json()["predictions"]
    assert found["next_time"] == {}


def test_a_run_of_conversions_alone_is_served(
    own: Served, refit: Callable[..., TestClient]
) -> None:
    """Everyone gets the prior of the next action, nobody a reason for it."""
    declare_conversions(own)
    client = refit("tasks.conversion=1", "tasks.next_action=0")
    known, nobody, _ = client.post("/predict", json={"user_ids": USERS}).json()["predictions"]
    assert known["next_action"] == nobody["next_action"]
    assert known["conversion"] != nobody["conversion"]
    page = client.get("/", params={"user": "u007"}).text
    assert "this run has none" in page
    given = ["--dataset", str(own.dataset), "--user", "u007"]
    refused = CliRunner().invoke(app, ["explain", *given])
    assert refused.exit_code == 2
    assert "does not predict the next action (tasks.next_action=0)" in refused.stderr


def declare_conversions(served: Served) -> None:
    """Labels of `b` within a day by the words of their definition, and the horizon in the vars."""
    spine = pq.read_table(served.home / "labels" / "spine.parquet")
    table = spine.select(["user_id", "event_timestamp"])
    labels: list[bool | None] = []
    for row in table.to_pylist():
        at = row["event_timestamp"].replace(tzinfo=None)
        later = [e for e in served.log.users[row["user_id"]] if at < e.at <= at + DAY]
        known = at + DAY <= served.log.end
        labels.append(any(event.action == "b" for event in later) if known else None)
    table = table.append_column("converted_within_1d", pa.array(labels, pa.bool_()))
    pq.write_table(table, served.home / "labels" / "label_conversion.parquet")
    path = served.home / "target" / "manifest.json"
    manifest = json.loads(path.read_text())
    meta = manifest["nodes"]["model.scalespace.stg_events"]["config"]["meta"]
    meta["dataset_vars"]["horizons"] = {"conversion": ["1d"]}
    path.write_text(json.dumps(manifest))


def test_additive_fusion_shows_the_parts_of_its_logit(
    own: Served, refit: Callable[..., TestClient]
) -> None:
    """The page's parts are those of `trainer explain`, which come from torch."""
    client = refit("fusion.kind=additive")
    page = client.get("/", params={"user": "u007"}).text
    assert "What each scale adds to the logit" in page
    assert "at their training mean" not in page
    assert "Without this event" in page
    table = page.partition('aria-label="Parts of the logit"')[2].partition("</table>")[0]
    found = dict(re.findall(r'<th scope="row">([^<]+)</th>\s*<td[^>]*>\s*([-+.\d]+)</td>', table))
    top = re.search(r"Most likely <strong>(\w+)</strong>", page)
    assert top
    row = examples_of(own).take(np.array([0]))
    reasons = explain(load_run(own.home).recurrent, row, top[1])
    expected = {name: f"{value:+.3f}" for name, value in reasons.scales.items()}
    assert list(found) == [
        *("prior", "sequence", "7d", "all", "calendar", "now", "user_row", "user_row:counted"),
        "sum",
    ]
    assert float(found.pop("sum")) == pytest.approx(reasons.logit, abs=6e-4)
    assert {n: float(v) for n, v in found.items()} == pytest.approx(
        {n: float(v) for n, v in expected.items()}, abs=1.1e-3
    )
