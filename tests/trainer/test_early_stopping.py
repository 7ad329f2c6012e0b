"""The best epoch's weights are those that stay."""

from __future__ import annotations

import torch
from torch import nn

from trainer.early_stopping import EarlyStopping, best_epoch


def trained(losses: list[float], patience: int) -> tuple[float, int]:
    """The weight that stays, each epoch's being its number, and the epochs that were run."""
    module = nn.Linear(1, 1, bias=False)
    stopping = EarlyStopping(module, patience)
    epochs = 0
    for epochs, loss in enumerate(losses, 1):
        nn.init.constant_(module.weight, epochs)
        if stopping.is_enough(loss):
            break
    stopping.restore()
    return float(module.weight.detach()), epochs


def test_the_epoch_that_is_said_to_be_kept_is() -> None:
    for losses in ([3.0, 1.0, 2.0, 2.0], [3.0, 1.0, 2.0, 0.5], [1.0, 0.99995, 0.99991], [2.0]):
        assert trained(losses, patience=9) == (best_epoch(losses), len(losses))


def test_the_best_epoch_stays() -> None:
    assert trained([3.0, 1.0, 2.0, 2.0, 0.5], patience=2) == (2.0, 4)
    assert trained([3.0, 1.0, 2.0, 0.5], patience=2) == (4.0, 4)


def test_a_gain_that_is_hardly_one_is_none() -> None:
    assert trained([1.0, 0.99995, 0.99991, 0.5], patience=2) == (1.0, 3)


def test_without_a_loss_the_last_weights_stay() -> None:
    module = nn.Linear(1, 1, bias=False)
    stopping = EarlyStopping(module, patience=1)
    nn.init.constant_(module.weight, 7.0)
    stopping.restore()
    assert torch.equal(module.weight.detach(), torch.tensor([[7.0]]))
