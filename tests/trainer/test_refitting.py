"""When held-out rows have said for how long, a fit learns anew from them too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_fits import fitted, order_two_training, same_weights

from trainer import training_set
from trainer.checkpoints import Checkpoint
from trainer.config import FitConfig, load_config
from trainer.early_stopping import best_epoch
from trainer.examples import Dataset
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent
from trainer.tensors import Targets


@pytest.fixture(scope="module")
def config() -> FitConfig:
    """Two tasks that hold out rows of their own; the strength of the back-off is left out."""
    keys = ("encoder.hidden=8", "batch=4", "epochs=4", "tasks.next_time=0.3")
    return load_config(None, [*keys, "features.user_row=false", "device=cpu", "learning_rate=0.01"])


@pytest.fixture(scope="module")
def training(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> Training:
    return order_two_training(make_dataset, training_of, config)


@pytest.fixture(scope="module")
def refitted(config: FitConfig, training: Training) -> Recurrent:
    return fitted(config, training)


def once(config: FitConfig) -> FitConfig:
    """The same without learning anew."""
    stopping = config.stopping.model_copy(update={"refit": False})
    return config.model_copy(update={"stopping": stopping})


def best_of(model: Recurrent) -> int:
    return best_epoch([epoch.stop_loss or 0.0 for epoch in model.curve])


def same_encoder(one: Recurrent, other: Recurrent) -> bool:
    """The head's last weights hold how far it is believed, which held-out rows say anyway."""
    left, right = (model.network.encoder.state_dict() for model in (one, other))
    return all(torch.equal(left[name], right[name]) for name in left)


def test_it_is_a_fit_of_all_rows_for_as_many_epochs(
    config: FitConfig, training: Training, refitted: Recurrent
) -> None:
    """As if somebody had known the epochs, and had held out nothing."""
    rates = {epoch.rate for epoch in refitted.curve[: best_of(refitted)]}
    assert rates == {config.learning_rate}  # else one fit could not say it with one rate
    known = once(config).model_copy(update={"epochs": best_of(refitted)})
    nobody = np.zeros_like(training.stop)
    every = replace(
        training,
        fit=training.fit | training.stop,
        stop=nobody,
        wait_fit=training.wait_fit | training.wait_stop,
        wait_stop=nobody,
    )
    expected = fitted(known, every)
    # Held-out rows say how far to believe it too, which is one number for all logits.
    last, own = (model.network.head.fusion.logits[-1].bias for model in (expected, refitted))
    slope = float((own / last).mean().detach())
    assert 0.2 < slope <= 1
    expected.network.head.scale(slope)
    for name, weights in refitted.network.state_dict().items():
        assert weights.numpy() == pytest.approx(
            expected.network.state_dict()[name].numpy(), rel=1e-5
        )
    assert not same_weights(fitted(once(config), training), refitted)


@pytest.mark.parametrize("buffer", [10**9, 60 * 200], ids=["in memory", "stored"])
def test_rows_that_chose_the_epoch_are_learned_from(
    buffer: int, config: FitConfig, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = config.model_copy(update={"epochs": 1})  # whatever they say, it is the best one
    labels = training.examples.labels.copy()
    chose = np.flatnonzero(training.stop & ~training.examples.landmarks)
    labels[chose] = np.roll(labels[chose], 1)  # as many of each
    other = replace(training, examples=replace(training.examples, labels=labels))
    monkeypatch.setattr(training_set, "BUFFER_BYTES", buffer)
    assert same_encoder(fitted(once(one), training), fitted(once(one), other))
    assert not same_encoder(fitted(one, training), fitted(one, other))


def test_conversions_that_calibrate_are_never_learned_from() -> None:
    fit = Targets(torch.tensor([1.0, 0, 0]), torch.eye(3)[:, :1], torch.tensor([0, 0.3, 0]))
    stop = Targets(torch.tensor([0, 1.0, 0]), torch.eye(3)[:, 1:2], torch.tensor([0.3, 0, 0]))
    every = fit.with_stopping(stop)
    assert every.next_action.tolist() == [1, 1, 0]
    assert every.next_time.tolist() == pytest.approx([0.3, 0.3, 0])
    assert every.conversions.tolist() == [[1], [0], [0]]


def test_learning_rates_are_those_of_the_first_time(
    training: Training, config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They fall where an epoch brings nothing, which nothing tells the second time."""
    fast = config.model_copy(update={"learning_rate": 0.03, "epochs": 6})
    steps: list[float] = []
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *given: object) -> object:
        steps.append(self.param_groups[0]["lr"])
        return real(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    lines: list[str] = []

    def report(line: str) -> None:
        if line.startswith("learning anew"):
            steps.clear()
        lines.append(line)

    model = fitted(fast, training, report=report)
    best = best_of(model)
    assert f"learning anew from all rows, {best} epochs" in lines
    rates = [epoch.rate for epoch in model.curve[:best]]
    assert len(set(rates)) > 1
    per_epoch = len(steps) // best
    assert steps == [rate for rate in rates for _ in range(per_epoch)]


def test_one_killed_the_second_time_goes_on_to_the_same_weights(
    config: FitConfig, training: Training, refitted: Recurrent, tmp_path: Path
) -> None:
    path = tmp_path / "fit.pt"
    lines: list[str] = []

    def killed(line: str) -> None:
        lines.append(line)
        if any(each.startswith("learning anew") for each in lines) and line.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(config, training, checkpoint=Checkpoint(path), report=killed)
    lines.clear()
    checkpoint = Checkpoint(path, resume=True)
    again = fitted(config, training, checkpoint=checkpoint, report=lines.append)
    assert next(line for line in lines if line.startswith("epoch")).startswith("epoch 3/")
    assert same_weights(again, refitted)
    assert [epoch.number for epoch in again.curve] == [epoch.number for epoch in refitted.curve]
    checkpoint.clear()
    assert list(tmp_path.iterdir()) == []
