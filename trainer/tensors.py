"""What the training loop gathers from: encoded events and examples, and how much labels count."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.rollups import Rollups


@dataclass(frozen=True)
class Tensors:
    """Everything that the loop gathers from, made once.

    Attributes
    ----------
    actions, items, categories, locations, numbers
        # [events] each, and # [events, numbers]
    context, closed, labels
        # [examples, columns], and # [examples] each
    conversions
        # [examples, horizons], 0 where unknown
    waits, watched
        # [examples], log1p of the seconds to the next event, and of those that were watched, see
        :class:`trainer.examples.Examples`
    first, last
        # [examples], flat positions of the user's first and the example's last event
    rollups
        Those that the coarser periods' networks read, a period each.
    """

    actions: Tensor
    items: Tensor
    categories: Tensor
    locations: Tensor
    numbers: Tensor
    context: Tensor
    closed: Tensor
    labels: Tensor
    conversions: Tensor
    waits: Tensor
    watched: Tensor
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    rollups: tuple[Rollups, ...] = ()

    def events(self, positions: Tensor) -> tuple[Tensor, ...]:
        """What the encoder reads at flat positions; # [*positions], numbers # [*positions, n]."""
        words = (self.actions, self.items, self.categories, self.locations)
        return (*(each[positions] for each in words), self.numbers[positions])

    def to(self, device: torch.device) -> Tensors:
        """The same tensors on a device; positions stay where batches are laid out."""
        return _on(self, device)


@dataclass(frozen=True)
class Targets:
    """How much each label of each example counts; 0 leaves it out.

    Attributes
    ----------
    next_action, next_time
        # [examples]
    conversions
        # [examples, horizons]
    """

    next_action: Tensor
    conversions: Tensor
    next_time: Tensor

    @property
    def rows(self) -> NDArray[np.int64]:
        """Examples of which any label counts."""
        alone = (self.next_action > 0) | (self.next_time > 0)
        return np.flatnonzero((alone | (self.conversions > 0).any(dim=1)).cpu().numpy())

    @property
    def conversion_rows(self) -> NDArray[np.int64]:
        """Examples of which a conversion counts."""
        return np.flatnonzero((self.conversions > 0).any(dim=1).cpu().numpy())

    def take(self, rows: NDArray[np.int64] | slice) -> Targets:
        """Some examples."""
        return Targets(self.next_action[rows], self.conversions[rows], self.next_time[rows])

    @property
    def without_conversions(self) -> Targets:
        """The same without the conversions."""
        return replace(self, conversions=torch.zeros_like(self.conversions))

    def with_stopping(self, stop: Targets) -> Targets:
        """These, and what chose the epoch; conversions of that stay apart, to calibrate by."""
        return replace(
            self,
            next_action=self.next_action + stop.next_action,
            next_time=self.next_time + stop.next_time,
        )

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        return _on(self, device)


def _on(group: Any, device: torch.device) -> Any:
    values = {field.name: getattr(group, field.name) for field in fields(group)}
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()}
    return type(group)(**moved)
