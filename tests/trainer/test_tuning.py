"""A search goes on where it was stopped, ranks by the validation part, and proposes what it ran."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pytest
import synthetic_log as synthetic

from feature_repo.errors import BadInput
from trainer import metrics, tuning
from trainer.config import FitConfig, load_config
from trainer.examples import Dataset
from trainer.fitting import TrainingSet
from trainer.models.base import Training, silent
from trainer.models.recurrent import Recurrent
from trainer.search_space import SPACE, Range, distributions, is_inside, value_of
from trainer.training import reproducible

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 24)
# All but three keys are fixed, so that each trial is a small and fast one.
FIXED = (
    *("encoder.cell=gru", "encoder.layers=1", "encoder.hidden=24", "encoder.unknown=0.4"),
    *("fusion.kind=weighted", "head.context=16", "batch=8", "epochs=2", "encoder.dropout=0.0"),
)


def make_config(more: Sequence[str]) -> FitConfig:
    return load_config(None, [*FIXED, *more])


@pytest.fixture(scope="module")
def data(make_dataset: Callable[..., Dataset], training_of: Callable[..., Training]) -> TrainingSet:
    log = synthetic.order_two_log(users=12, events=30)
    dataset = make_dataset(log, TRAIN_END, VALID_END)
    return TrainingSet(dataset, training_of(log, dataset, make_config(())), synthetic.INPUTS)


@pytest.fixture
def home(tmp_path: Path, data: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose training set is there already."""
    monkeypatch.setattr(tuning, "read_training_set", lambda *_: data)
    monkeypatch.setattr(tuning, "fingerprint", lambda _: "build")
    return tmp_path


def search(home: Path, trials: int) -> tuning.Winner:
    return tuning.tune(home, make_config, FIXED, trials, silent)


def found(home: Path) -> dict:
    return json.loads((home / "reports" / tuning.REPORT).read_text())


def test_the_space_is_of_keys_that_there_are() -> None:
    for key, entry in SPACE.items():
        default = value_of(FitConfig(), key)
        assert is_inside(key, default), key
        ends = (entry.low, entry.high) if isinstance(entry, Range) else entry.values
        for value in ends:
            assert value_of(load_config(None, [f"{key}={tuning._text(value)}"]), key) == value
    assert list(distributions(("batch",))) == ["batch"]
    tiny = load_config(None, [f"weight_decay={tuning._text(1.5e-05)}"])
    assert tiny.weight_decay == 1.5e-05  # as 1.5e-05, YAML would take it for a text


def test_stopped_and_asked_again_it_finds_the_same(
    home: Path, tmp_path: Path, data: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = search(home / "straight", 4)
    search(home / "stopped", 1)

    class Killed(Exception):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Recurrent, "fit", killed)  # in the middle of the second trial
        with pytest.raises(Killed):
            search(home / "stopped", 4)
    assert search(home / "stopped", 4) == straight
    assert found(home / "stopped") == found(home / "straight")
    content = found(home / "straight")
    assert len(content["trials"]) == 4
    assert len({tuple(trial["overrides"]) for trial in content["trials"]}) == 4
    # The first one is the configuration itself, and the best is the least.
    defaults = {f"{key}={tuning._text(value_of(make_config(()), key))}" for key in SPACE}
    assert set(content["trials"][0]["overrides"]) <= defaults
    losses = [trial["log_loss"] for trial in content["trials"] if trial["log_loss"] is not None]
    assert straight.value == min(losses) == content["best"]["log_loss"]


def test_what_is_printed_gives_what_was_found(home: Path, data: TrainingSet) -> None:
    winner = search(home, 2)
    line = winner.command("--dataset", "my log.yml", *FIXED)
    assert line.startswith("trainer fit --dataset 'my log.yml' encoder.cell=gru ")
    config = make_config(winner.overrides)
    with reproducible(config.seed, config.threads):
        model = Recurrent(config, data.features)
        model.fit(data.training)
    valid = data.dataset.valid
    loss = metrics.log_loss(model.predict_proba(valid), valid.labels)
    assert loss == winner.value


def test_a_trial_that_is_behind_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_STARTUP", 1)
    monkeypatch.setattr(tuning, "_WARM_UP", 0)
    rates = iter((0.003, 3.0))

    def make_slow(more: Sequence[str]) -> FitConfig:
        config = make_config(more)
        if not more:
            return config
        return config.model_copy(update={"learning_rate": next(rates), "epochs": 4})

    winner = tuning.tune(home, make_slow, FIXED, 2, silent)
    first, second = found(home)["trials"]
    assert winner.number == 0
    assert first["log_loss"] is not None
    assert second["log_loss"] is None
    assert 1 <= second["epochs"] < 4


def test_what_cannot_be_searched_is_refused(home: Path) -> None:
    with pytest.raises(BadInput, match="nothing to search"):
        tuning.tune(home, make_config, [f"{key}=1" for key in SPACE], 1, silent)
    with pytest.raises(BadInput, match="model=recurrent"):
        tuning.tune(home, lambda _: load_config(None, ["model=marginal"]), (), 1, silent)
    with tuning._alone(home / tuning.FOLDER), pytest.raises(BadInput, match="another trainer tune"):
        search(home, 1)
