"""A private fit through the command line: what it says, what it refuses, what it leaves."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import synthetic_log as synthetic
from private_home import publish, run

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.config import load_config
from trainer.dataset import Taxonomy
from trainer.features import Feature
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent
from trainer.private import guarantee as guarantees
from trainer.private.fitting import make_private
from trainer.private.guarantee import Guarantee
from trainer.private.inputs import fixed_context
from trainer.private.rules import private_config
from trainer.splits import Cuts

SMALL = ("encoder.hidden=8", "encoder.layers=1", "epochs=2", "privacy.users=8")
PRIVATE = (*SMALL, "privacy.epsilon=3")
TAXONOMY = Taxonomy(
    dataset="toy",
    actions=("a", "b"),
    session_gap=np.timedelta64(30, "m"),
    longest_horizon=np.timedelta64(0, "us"),
    train_end=np.datetime64("2024-01-20", "us"),
)


@pytest.fixture(scope="module")
def fitted(folder: Path) -> tuple[Path, str]:
    """A private run, and what the fit said."""
    result = run(folder, "fit", *PRIVATE)
    assert result.exit_code == 0, result.output + result.stderr
    return (folder / "home" / "models" / "latest").resolve(), result.output + result.stderr


def read(run_folder: Path, name: str) -> Any:
    return json.loads((run_folder / name).read_text())


def test_the_run_says_what_it_promises(fitted: tuple[Path, str]) -> None:
    privacy = read(fitted[0], "run.json")["privacy"]
    assert 2.8 < privacy["epsilon"] <= 3
    assert (privacy["delta"], privacy["unit"]) == (1e-5, "user")
    assert privacy["accountant"] == "prv"
    counted, steps = privacy["mechanisms"]
    assert (counted["steps"], counted["sample_rate"]) == (1, 1.0)
    assert steps["sample_rate"] == pytest.approx(8 / privacy["users"])
    assert steps["steps"] == -(-2 * privacy["users"] // 8)  # two epochs
    assert "for each of" in fitted[1]
    assert "it covers the weights" in fitted[1]
    assert "it does not cover metrics.json" in fitted[1]


def test_the_model_is_an_ordinary_one(folder: Path, fitted: tuple[Path, str]) -> None:
    files = {path.name for path in fitted[0].iterdir()}
    assert {"weights.pt", "encoder.onnx", "head.onnx", "config.yml", "metrics.json"} <= files
    assert run(folder, "sync", "--at", "end").exit_code == 0
    for command in (("evaluate",), ("predict", "--user", "u001"), ("explain", "--user", "u001")):
        result = run(folder, *command)
        assert result.exit_code == 0, result.output + result.stderr


def test_the_graphs_answer_as_the_weights_do(fitted: tuple[Path, str], folder: Path) -> None:
    from trainer.examples import unlabelled
    from trainer.models.served import Served
    from trainer.sequences import Sequences

    log = synthetic.order_two_log(users=40, events=20)
    users = np.array(sorted(log.users)[:9], dtype=object)
    at = np.repeat(np.datetime64(datetime(2024, 1, 25), "us"), len(users))
    features = synthetic.features_at(log, users.tolist(), at.tolist())
    examples = unlabelled(Sequences.from_arrays(users, features), at, features, log.states)
    served = Served.load(fitted[0]).predict_proba(examples)
    np.testing.assert_allclose(
        served, Recurrent.load(fitted[0]).predict_proba(examples), rtol=1e-4, atol=1e-6
    )


def test_nothing_but_weights_and_noised_counts_comes_of_the_users(
    fitted: tuple[Path, str], tmp_path: Path
) -> None:
    # Two logs that have no user in common give the same encoders, to the letter.
    other = synthetic.order_two_log(users=18, events=40, seed=7)
    theirs = publish(other, tmp_path)
    assert run(theirs, "fit", *PRIVATE).exit_code == 0
    latest = (tmp_path / "home" / "models" / "latest").resolve()
    one, two = read(fitted[0], "vocabularies.json"), read(latest, "vocabularies.json")
    assert one["events"] == two["events"]
    assert one["events"]["categories"] == []
    one, two = read(fitted[0], "features.json"), read(latest, "features.json")
    assert one["context"]["features"] == two["context"]["features"]
    assert one["means"] == two["means"] == [0.0] * len(one["columns"])
    assert read(fitted[0], "run.json")["curve"] == []
    assert read(fitted[0], "marginal.json")["converted"] == {}


def test_counts_of_the_baselines_have_the_noise_that_the_run_tells(
    folder: Path, fitted: tuple[Path, str]
) -> None:
    log = synthetic.order_two_log(users=40, events=20)
    end = datetime(2024, 1, 20)
    users = [user for user, events in log.users.items() if events[0].at <= end]
    table = synthetic.features_at(log, users, [end] * len(users))
    own = np.array(table[C.TRANSITION_COUNTS].to_pylist(), dtype=float)
    cut = own * np.minimum(1, 10 / np.linalg.norm(own, axis=1, keepdims=True))
    noise = read(fitted[0], "run.json")["privacy"]["mechanisms"][0]["noise_multiplier"] * 10
    counts = np.array(read(fitted[0], "markov_1.json")["counts"]).flatten()
    assert not np.array_equal(counts, np.round(counts))
    assert np.abs(counts - cut.sum(axis=0)).max() < 6 * noise
    assert np.array_equal(
        read(fitted[0], "marginal.json")["counts"], counts.reshape(3, 3).sum(axis=0)
    )


def test_the_sum_is_bounded_by_user_and_noised(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(None, ["privacy.epsilon=1"]).privacy
    rows = np.array([[30.0, 40.0], [3.0, 4.0]])  # 50 long, and 5 long
    with monkeypatch.context() as patch:
        patch.setattr(guarantees, "gaussian", lambda size, _deviation: np.zeros(size))
        assert Guarantee(config, 2).release_sum(rows, 10.0).tolist() == [6.0 + 3.0, 8.0 + 4.0]
    draws = np.array([Guarantee(config, 2).release_sum(rows, 10.0)[0] for _ in range(400)])
    made = Guarantee(config, 2)
    made.release_sum(rows, 10.0)
    assert draws.std() == pytest.approx(10 * made.released[0].noise, rel=0.15)
    assert len(set(draws)) == 400


@pytest.mark.parametrize("model", ["marginal", "markov_1"])
def test_a_model_that_only_counts_has_the_whole_budget(folder: Path, model: str) -> None:
    result = run(folder, "fit", f"model={model}", "privacy.epsilon=2")
    assert result.exit_code == 0, result.output + result.stderr
    privacy = read((folder / "home" / "models" / "latest").resolve(), "run.json")["privacy"]
    assert len(privacy["mechanisms"]) == 1
    assert 1.9 < privacy["epsilon"] <= 2


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (("privacy.records=2",), "a user with several records has several times the say"),
        (("encoder.categories=50",), "counted from everybody's events without noise"),
        (("encoder.items=50",), "counted from everybody's events without noise"),
        (("encoder.locations=50",), "counted from everybody's events without noise"),
        (("stopping.share=0.2",), "held-out users would choose the epoch"),
        (("tasks.conversion=1",), "calibration are fitted without noise"),
        (("tasks.next_time=0.3",), "starting quantiles are fitted without noise"),
        (("tasks.next_item=1",), "counts everybody's items without noise"),
        (("model=boosting",), "its statistics are fitted without noise"),
        (("privacy.delta=0.1",), "publishing one of the"),
    ],
)
def test_what_would_break_the_guarantee_is_refused_with_the_reason(
    folder: Path, keys: tuple[str, ...], reason: str
) -> None:
    result = run(folder, "fit", *PRIVATE, *keys)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()[-1:]
    assert line.startswith("error: ")
    assert reason in line


def test_a_fit_that_goes_on_or_is_one_of_many_is_refused(folder: Path) -> None:
    assert "--resume: the noise" in run(folder, "fit", *PRIVATE, "--resume").stderr
    for command in ("compare", "backtest", "tune"):
        result = run(folder, command, "privacy.epsilon=3")
        assert result.exit_code == 2
        assert "each fit would spend that much anew" in result.stderr


def test_features_of_others_and_cuts_by_quantiles_are_refused() -> None:
    config = load_config(None, ["privacy.epsilon=3"])
    undated = Taxonomy("toy", ("a",), np.timedelta64(30, "m"), np.timedelta64(0, "us"))
    with pytest.raises(BadInput, match=r"split\.train_end is not in the dataset file"):
        private_config(config, undated)
    pattern = Feature("user_pattern", "pattern_distance", "DOUBLE", "user_pattern")
    with pytest.raises(BadInput, match="clusters are fitted on everybody's days"):
        fixed_context(None, [pattern], config)  # type: ignore[arg-type]


def test_defaults_that_would_break_it_are_off_and_stay_off(tmp_path: Path) -> None:
    from trainer.config import save_config

    keys = ["privacy.epsilon=3", "privacy.categories=[x, y]"]
    config = private_config(load_config(None, keys), TAXONOMY)
    assert config.stopping.share == config.tasks.next_item == config.tasks.next_category == 0
    assert config.encoder.categories == 2
    save_config(config, tmp_path / "config.yml")
    assert private_config(load_config(tmp_path / "config.yml"), TAXONOMY) == config


def test_a_private_fit_leaves_no_checkpoint(folder: Path, fitted: tuple[Path, str]) -> None:
    assert not list((folder / "home").glob("checkpoints/*"))


def test_two_fits_of_one_seed_differ(folder: Path, fitted: tuple[Path, str]) -> None:
    assert run(folder, "fit", "model=markov_1", "privacy.epsilon=3", "seed=0").exit_code == 0
    one = read((folder / "home" / "models" / "latest").resolve(), "markov_1.json")
    assert run(folder, "fit", "model=markov_1", "privacy.epsilon=3", "seed=0").exit_code == 0
    assert one != read((folder / "home" / "models" / "latest").resolve(), "markov_1.json")


def test_labels_of_the_last_purge_are_left_out(small_training: Training) -> None:
    end, purge = np.datetime64("2024-01-20", "us"), np.timedelta64(60, "m")
    cuts = Cuts(end, end, purge, purge)
    known_at = np.full(len(small_training.fit), end - purge)
    late = np.arange(len(known_at)) % 3 == 0
    known_at[late] += np.timedelta64(1, "us")
    counts = pa.table({C.TRANSITION_COUNTS: pa.array([[0] * 9] * 3, pa.list_(pa.int64()))})
    config = private_config(load_config(None, ["privacy.epsilon=3"]), TAXONOMY)
    made = make_private(small_training, known_at, cuts, counts, config)
    assert np.array_equal(made.fit, small_training.fit & ~late)
    assert made.guarantee is not None
    owners = small_training.examples.owners[made.fit]
    assert made.guarantee.users == len(set(owners.tolist()))
