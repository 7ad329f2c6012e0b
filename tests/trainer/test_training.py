"""A fit that is killed goes on, and ends with the weights of one that was not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from toy_fits import fitted, order_two_training, same_weights

from feature_repo.errors import BadInput
from trainer import terminal
from trainer.checkpoints import Checkpoint, checkpoint_of
from trainer.config import FitConfig, load_config
from trainer.devices import choose_device
from trainer.examples import Dataset
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent
from trainer.training import reproducible

DEVICES = ("cpu", *(["cuda"] if torch.cuda.is_available() else []))


class Killed(Exception):
    """What ends a fit in the middle."""


@pytest.fixture(scope="module")
def config() -> FitConfig:
    """Dropout between layers and of scales draws random numbers, and a second head learns too."""
    keys = ("encoder.hidden=8", "batch=8", "epochs=5", "tasks.next_time=0.3")
    return load_config(None, [*keys, "learning_rate=0.01", "device=cpu"])


@pytest.fixture(scope="module")
def training(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> Training:
    return order_two_training(make_dataset, training_of, config)


@pytest.fixture(scope="module")
def whole(config: FitConfig, training: Training) -> Recurrent:
    return fitted(config, training)


def after_line(begin: str) -> Callable[[str], None]:
    """Kills when a line of progress begins so."""

    def report(line: str) -> None:
        if line.startswith(begin):
            raise Killed

    return report


def within(epoch: str) -> Callable[..., Iterator[Any]]:
    """Kills at the second batch of an epoch."""

    def track(items: Iterable[Any], _total: int, what: str) -> Iterator[Any]:
        for place, item in enumerate(items):
            if place and what.startswith(epoch):
                raise Killed
            yield item

    return track


@pytest.mark.parametrize(
    "kill",
    [
        {"report": after_line("epoch 1/")},
        {"report": after_line("epoch 3/")},
        {"track": within("epoch 2/")},
        {"report": after_line("epoch 5/")},
    ],
    ids=["after the first", "after the third", "in the second", "after the last"],
)
@pytest.mark.parametrize("device", DEVICES)
def test_a_killed_fit_goes_on_to_the_same_weights(
    kill: dict[str, Any], device: str, config: FitConfig, training: Training, tmp_path: Path
) -> None:
    own = config.model_copy(update={"device": device})
    path = tmp_path / "fit.pt"
    with pytest.raises(Killed):
        fitted(own, training, checkpoint=Checkpoint(path), **kill)
    lines: list[str] = []
    resumed = fitted(own, training, checkpoint=Checkpoint(path, resume=True), report=lines.append)
    assert lines[0].startswith("going on after epoch ")
    assert same_weights(resumed, fitted(own, training))
    assert [epoch.number for epoch in resumed.curve] == list(range(1, len(resumed.curve) + 1))


def test_one_killed_again_and_again(
    config: FitConfig, training: Training, whole: Recurrent, tmp_path: Path
) -> None:
    path = tmp_path / "fit.pt"
    for number in range(1, 6):
        with pytest.raises(Killed):
            report = after_line(f"epoch {number}/")
            fitted(config, training, checkpoint=Checkpoint(path, resume=True), report=report)
    assert same_weights(fitted(config, training, checkpoint=Checkpoint(path, resume=True)), whole)


def test_early_stopping_is_part_of_what_goes_on(
    config: FitConfig, training: Training, tmp_path: Path
) -> None:
    """At this rate nothing is learned: the first epochs are the best, and patience runs out."""
    wild = config.model_copy(update={"learning_rate": 3.0, "epochs": 30})
    path = tmp_path / "fit.pt"
    straight = fitted(wild, training)
    assert len(straight.curve) < 30
    last = len(straight.curve) - 1
    with pytest.raises(Killed):
        fitted(wild, training, checkpoint=Checkpoint(path), report=after_line(f"epoch {last}/"))
    resumed = fitted(wild, training, checkpoint=Checkpoint(path, resume=True))
    assert len(resumed.curve) == len(straight.curve)
    assert same_weights(resumed, straight)


def test_without_resume_what_is_there_is_not_read(
    config: FitConfig, training: Training, whole: Recurrent, tmp_path: Path
) -> None:
    path = tmp_path / "fit.pt"
    Checkpoint(path).write({"not": "a checkpoint"})
    assert same_weights(fitted(config, training, checkpoint=Checkpoint(path)), whole)


def test_a_checkpoint_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "fit.pt"
    checkpoint = Checkpoint(path, resume=True)
    assert checkpoint.read() is None
    checkpoint.write({"epoch": 1, "weights": torch.ones(2)})
    with pytest.raises(Exception, match="pickle"):
        checkpoint.write({"epoch": 2, "no value": (value for value in ())})
    state = checkpoint.read()
    assert state is not None
    assert state["epoch"] == 1
    assert [each.name for each in path.parent.iterdir()] == ["fit.pt"]
    path.write_bytes(path.read_bytes()[:100])  # half of it, as no power cut leaves it
    assert checkpoint.read() is None
    checkpoint.clear()
    checkpoint.clear()
    assert not path.exists()


def test_another_fit_has_another_checkpoint(tmp_path: Path) -> None:
    one = checkpoint_of(tmp_path, True, config={"seed": 1}, data="a")
    assert one.path == checkpoint_of(tmp_path, False, data="a", config={"seed": 1}).path
    others = ({"config": {"seed": 2}, "data": "a"}, {"config": {"seed": 1}, "data": "b"})
    assert len({one.path, *(checkpoint_of(tmp_path, True, **other).path for other in others)}) == 3


@pytest.mark.parametrize("device", DEVICES)
def test_each_device_learns_the_same_law(
    device: str, config: FitConfig, training: Training, whole: Recurrent
) -> None:
    """Where there is CUDA the answers are those of the processor, but for the order of sums."""
    own = config.model_copy(update={"device": device})
    one, other = fitted(own, training), fitted(own, training)
    assert same_weights(one, other)
    assert all(not weight.is_cuda for weight in one.network.state_dict().values())
    assert one.curve[0].loss == pytest.approx(whole.curve[0].loss, rel=0.05)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for available in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert choose_device("auto").type == ("cuda" if available else "cpu")
        assert choose_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="device=cuda: torch finds no CUDA device here"):
        choose_device("cuda")


def test_what_reproducible_changes_is_put_back() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with reproducible(7, 1):
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize("watched", [True, False])
def test_progress_is_shown_where_somebody_watches(
    watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=watched, width=80)
    monkeypatch.setattr(terminal, "console", console)
    assert list(terminal.track(iter("abc"), 3, "epoch 1/5")) == ["a", "b", "c"]
    assert ("epoch 1/5" in written.getvalue()) == watched
    assert bool(written.getvalue()) == watched
