"""When to stop training, and which weights to keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

_SMALLEST_GAIN = 1e-4


def best_epoch(losses: Sequence[float]) -> int:
    """Number of the epoch, from 1, whose weights :class:`EarlyStopping` keeps.

    Examples
    --------
    >>> best_epoch([3.0, 1.0, 0.99995])
    2
    """
    best = 0
    for place, loss in enumerate(losses):
        if loss < losses[best] - _SMALLEST_GAIN:
            best = place
    return best + 1


class EarlyStopping:
    """Keeps the weights of the epoch that did best on held-out rows.

    Parameters
    ----------
    module
        What is being trained.
    patience
        Epochs in a row without a gain after which it is enough.
    """

    def __init__(self, module: nn.Module, patience: int) -> None:
        self._module = module
        self._patience = patience
        self._best: dict[str, Tensor] | None = None
        self._best_loss = float("inf")
        self._waited = 0

    @property
    def waited(self) -> int:
        """Epochs in a row without a gain."""
        return self._waited

    @property
    def enough(self) -> bool:
        """Whether to stop."""
        return self._waited >= self._patience

    def is_enough(self, loss: float) -> bool:
        """Take in an epoch's held-out loss, and say whether to stop."""
        if loss < self._best_loss - _SMALLEST_GAIN:
            self._best_loss, self._waited = loss, 0
            self._best = {name: value.clone() for name, value in self._module.state_dict().items()}
            return False
        self._waited += 1
        return self.enough

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to know."""
        return {"best": self._best, "best_loss": self._best_loss, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._best, self._best_loss = state["best"], state["best_loss"]
        self._waited = state["waited"]

    def restore(self) -> None:
        """Give the module its best weights; the last ones stay where no loss was taken in."""
        if self._best is not None:
            self._module.load_state_dict(self._best)
