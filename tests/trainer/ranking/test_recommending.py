"""Recommendations on a home as a build leaves it: the store, the command and the service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import synthetic_log as synthetic
import yaml
from fastapi.testclient import TestClient
from ranking_logs import START, habit_log
from typer.testing import CliRunner, Result

from feature_repo.errors import BadInput
from trainer.cli import app
from trainer.ranking.recommending import Recommendations, Recommender, read_recommender
from trainer.serving.app import make_app
from trainer.serving.settings import ServingSettings
from trainer.similarity import cosines

END = START + timedelta(days=14)
CUT = np.datetime64(END, "us")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small sequence model beside the log; `twin` does what u01 does."""
    from feature_repo.store import apply
    from feature_repo.sync import sync
    from trainer.config import load_config
    from trainer.fitting import fit
    from trainer.instants import to_datetime
    from trainer.models.base import silent

    folder = tmp_path_factory.mktemp("recommended")
    log = habit_log(users=8, events=30)
    log.users["twin"] = list(log.users["u01"])
    split = {"train_end": "2024-01-07", "valid_end": "2024-01-09"}
    home = synthetic.publish(log, folder / "home", split=split)
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "toy", "events_path": "toy.csv", "columns": columns}
    (folder / "toy.yml").write_text(yaml.safe_dump(content | {"actions": ["a", "b"]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(home))
        apply(home)
        sync(home, to_datetime(CUT))
        keys = ("encoder.hidden=8", "encoder.layers=1", "epochs=1")
        fit(home, load_config(None, keys), silent)
        yield home


@pytest.fixture
def recommender(home: Path, monkeypatch: pytest.MonkeyPatch) -> Recommender:
    monkeypatch.setenv("SCALESPACE_HOME", str(home))
    return read_recommender(home)


def trainer(home: Path, *arguments: str) -> Result:
    dataset = str(home.parent / "toy.yml")
    return CliRunner().invoke(app, [*arguments, "--dataset", dataset], env={"COLUMNS": "200"})


def check(answer: Recommendations) -> None:
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)
    for item in answer.items:
        assert sum(item.reasons.values()) == pytest.approx(item.score)
        assert sum(item.parts.values()) == pytest.approx(item.score)
        assert set(item.reasons) == {"just_now", "this_week", "long_taste"}


def test_a_favourite_comes_first_and_says_why(recommender: Recommender) -> None:
    answer = recommender.at("u01", CUT, 5)
    check(answer)
    owner = int(np.searchsorted(recommender.log.users, "u01"))
    own = recommender.log.codes[slice(*recommender.log.offsets[owner : owner + 2])]
    favourite = recommender.log.names[np.bincount(own).argmax()]
    assert not answer.cold
    assert answer.items[0].item_id == favourite
    assert answer.items[0].seen
    assert sum(value for name, value in answer.items[0].parts.items() if "own" in name) > 0.3


def test_seen_items_can_be_left_out(recommender: Recommender) -> None:
    everything = recommender.at("u01", CUT, 1000)
    assert {item.item_id for item in everything.items} == set(recommender.log.names.tolist())
    new = recommender.at("u01", CUT, 1000, seen=False)
    expected = [item.item_id for item in everything.items if not item.seen]
    assert [item.item_id for item in new.items] == expected
    assert not any(item.seen for item in new.items)


def test_a_stranger_gets_what_is_popular(recommender: Recommender) -> None:
    answer = recommender.at("nobody", CUT, 3)
    check(answer)
    assert answer.cold
    assert len(answer.items) == 3
    for item in answer.items:
        assert not item.seen
        assert not [name for name in item.parts if "own" in name or "step" in name]


def test_nothing_outside_the_catalogue_of_the_instant(recommender: Recommender) -> None:
    log = recommender.log
    early = log.first_seen[3]
    answer = recommender.at("u01", early, 1000)
    known = set(log.names[: log.known_at(np.array([early]))[0]].tolist())
    assert {item.item_id for item in answer.items} <= known
    assert recommender.at("u01", np.datetime64("2000-01-01", "us"), 10).items == []


def test_now_is_what_was_known_then(recommender: Recommender) -> None:
    # The online store was loaded for CUT: both ways know the same events.
    now, then = recommender.now("u05", 10), recommender.at("u05", CUT, 10)
    assert [item.item_id for item in now.items] == [item.item_id for item in then.items]
    assert [i.score for i in now.items] == pytest.approx([i.score for i in then.items])


def test_events_of_the_stream_count_before_the_next_build(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.ranking import recommending

    before = recommender.now("nobody", 30)

    def streamed(store: object, users: object, wanted: object) -> object:
        import pyarrow as pa

        last = CUT.item() - timedelta(minutes=1)
        return pa.table(
            {
                "sequence_items": [["i07", "not built yet", "i07"]],
                "sequence_gaps_ms": [[-1, 60_000, 60_000]],
                "last_action_at": pa.array([last], pa.timestamp("us")),
            }
        )

    monkeypatch.setattr(recommending, "features_now", streamed)
    after = recommender.now("nobody", 30)
    assert (before.cold, after.cold) == (True, False)
    own = {i.item_id for i in after.items if i.seen}
    assert own == {"i07"}
    assert next(i for i in after.items if i.seen).parts["own_all"] > 0
    assert "i08" in {i.item_id for i in after.items[:2]}  # it follows in the circle
    assert "not built yet" not in {item.item_id for item in after.items}


# ---- commands ------------------------------------------------------------------------------------


def test_the_command_prints_what_the_recommender_says(home: Path, recommender: Recommender) -> None:
    at = "2024-01-10T00:00:00Z"
    result = trainer(home, "recommend", "--user", "u03", "-k", "4", "--at", at, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    expected = recommender.at("u03", np.datetime64(datetime(2024, 1, 10), "us"), 4)
    assert [item["item_id"] for item in found["items"]] == [i.item_id for i in expected.items]
    shown = trainer(home, "recommend", "--user", "nobody", "--no-seen")
    assert shown.exit_code == 0
    assert "what is popular" in shown.stdout


def test_the_most_alike_are_found(home: Path, recommender: Recommender) -> None:
    result = trainer(home, "similar", "--user", "u01", "-k", "3", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["users"]
    assert found[0]["user_id"] == "twin"
    assert found[0]["cosine"] == pytest.approx(1.0, abs=1e-6)
    assert [user["cosine"] for user in found] == sorted(
        (user["cosine"] for user in found), reverse=True
    )
    everybody = json.loads(trainer(home, "similar", "--user", "u01", "-k", "99", "--json").stdout)[
        "users"
    ]
    assert len(everybody) == 8  # all but himself
    refused = trainer(home, "similar", "--user", "nobody")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: --user: no event of 'nobody' is known")


def test_a_baseline_is_fitted_and_judged_by_the_same_commands(
    home: Path, recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home, tmp_path / "home", symlinks=True)
    monkeypatch.setenv("SCALESPACE_HOME", str(tmp_path / "home"))
    fitted = trainer(home, "fit", "model=item_mixture")
    assert fitted.exit_code == 0, fitted.output
    assert "next item, test part" in fitted.stdout
    run = tmp_path / "home" / "models" / "latest"
    written = json.loads((run / "metrics.json").read_text())["item_mixture"]
    assert {"next_item", "next_category"} < set(written)
    split = json.loads((run / "split.json").read_text())["rankings"]
    assert split["item"]["test"] == written["next_item"]["rows"]
    assert split["item"]["data"] == recommender.log.digest()
    evaluated = trainer(home, "evaluate", "--json")  # twice on one run: identical
    assert json.loads(evaluated.stdout)["item_mixture"] == written
    assert trainer(home, "evaluate").exit_code == 0
    one = trainer(home, "evaluate", "--metric", "next_item:mrr_20")
    assert one.stdout.strip() == f"next_item:mrr_20={written['next_item']['mrr_20']!r}"
    missing = trainer(home, "evaluate", "--metric", "next_item:accuracy")
    assert missing.exit_code == 2
    refused = trainer(home, "similar", "--user", "u01")
    assert "is a item_mixture" not in refused.stderr
    assert refused.exit_code == 2
    prior = trainer(home, "predict", "--user", "u01", "--json")
    assert prior.exit_code == 0


def test_the_cosine_by_hand() -> None:
    states = np.array([[3.0, 4.0], [-4.0, 3.0], [6.0, 8.0], [0.0, 0.0]], dtype=np.float32)
    assert cosines(states, states[0]) == pytest.approx([1.0, 0.0, 1.0, 0.0])


def test_a_run_without_items_recommends_nothing(home: Path, recommender: Recommender) -> None:
    recommender.predictor.run.model.rankers.pop("item")  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match="does not say which item comes next"):
        Recommender(recommender.predictor)


# ---- the service ---------------------------------------------------------------------------------


@pytest.fixture
def client(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("SCALESPACE_HOME", str(home))
    with TestClient(make_app(home, settings=ServingSettings(requests_per_second=0))) as client:
        yield client


def test_the_service_says_what_the_command_says(
    client: TestClient, recommender: Recommender
) -> None:
    body = {"user_id": "u04", "k": 3, "seen": False}
    for more, expected in (
        ({}, recommender.now("u04", 3, seen=False)),
        (
            {"at": "2024-01-11T00:00:00Z"},
            recommender.at("u04", np.datetime64("2024-01-11", "us"), 3, False),
        ),
    ):
        answer = client.post("/recommend", json=body | more)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["user_id"], found["at"]) == ("u04", expected.at)
        assert [item["item_id"] for item in found["items"]] == [i.item_id for i in expected.items]
        for item in found["items"]:
            assert sum(item["reasons"].values()) == pytest.approx(item["score"])
    assert client.post("/recommend", json={"user_id": "who"}).json()["cold"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": ""},
        {"user_id": "u", "k": 0},
        {"user_id": "u", "k": 1001},
        {"user_id": "u", "k": "3"},
        {"user_id": "u", "seen": 1},
        {"user_id": "u", "at": 5},
        {"user_id": "u", "more": 1},
    ],
)
def test_a_malformed_request_is_refused(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/recommend", json=body).status_code == 422
