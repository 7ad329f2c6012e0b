"""From a training part to the rows that a network learns from: in memory, or in row groups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.config import FitConfig
from trainer.models.base import Training
from trainer.scratch import scratch_folder
from trainer.tensors import Targets, Tensors
from trainer.training_rows import BUFFER_BYTES, HeldRows, Rows, StoredRows, store_rows

if TYPE_CHECKING:
    from trainer.models.recurrent import Recurrent

FIT, STOP, EVERY = "fit", "stop", "every"  # folders of stored rows
_FIXED_BYTES = 64  # of a row, beside its context


@dataclass(frozen=True)
class PreparedRows:
    """What a network is trained on.

    Attributes
    ----------
    fit, stop
        Rows to learn from, and rows that choose the epoch, where there are any.
    every
        What is learned from the second time, where there is one.
    means
        # [columns], mean of each column of the context over the rows
    folder
        Where they are stored; ``None`` where they are in memory.
    tensors
        Those in memory, with how much each label counts to learn from and to stop by.
    """

    fit: Rows
    stop: Rows | None
    every: Rows | None
    means: NDArray[np.float32]
    folder: Path | None = None
    tensors: tuple[Tensors, Targets, Targets] | None = None

    def held(
        self, model: Recurrent, training: Training, device: torch.device
    ) -> tuple[Tensors, Targets, Targets]:
        """Tensors of all rows in memory, and how much each label counts: for heads of their own."""
        return self.tensors or held_tensors(model, training, device)


@contextlib.contextmanager
def prepared_rows(
    model: Recurrent, training: Training, device: torch.device, conversions: bool
) -> Iterator[PreparedRows]:
    """Encode the training part; what is stored for it is removed afterwards.

    Parameters
    ----------
    model
        With fitted encoders.
    training
        The training part.
    device
        Where the network is.
    conversions
        Whether labels of conversions count.
    """
    config = model.config
    row_bytes = 4 * len(model.context.columns) + _FIXED_BYTES
    held = len(training.examples) * row_bytes <= BUFFER_BYTES and training.team.size == 1
    if held or training.clients is not None:  # a client's rows are picked out of all
        tensors, fit, stop = held_tensors(model, training, device)
        parts = (fit, stop) if conversions else (fit.without_conversions, stop.without_conversions)
        stops = len(parts[1].rows) > 0
        refits = stops and _refits(config) and training.clients is None
        yield PreparedRows(
            HeldRows(tensors, parts[0], config),
            HeldRows(tensors, parts[1], config) if stops else None,
            HeldRows(tensors, parts[0].with_stopping(parts[1]), config) if refits else None,
            tensors.context.mean(dim=0).cpu().numpy(),
            tensors=(tensors, fit, stop),
        )
        return
    most = BUFFER_BYTES // row_bytes
    with scratch_folder(training.scratch) as folder:
        sums, rows = np.zeros(len(model.context.columns)), 0
        stores: dict[str, Rows | None] = {}
        counts = np.zeros(len(training.examples), dtype=bool)
        for part in (FIT, STOP, EVERY):
            chosen = counted(model, training, part, conversions)
            refits = _refits(config) and stores.get(STOP) is not None
            if not len(chosen) or (part == EVERY and not refits):
                stores[part] = None
                continue

            def encoded(
                places: slice, chosen: NDArray[np.int64] = chosen, part: str = part
            ) -> tuple[Tensors, Targets]:
                nonlocal sums, rows
                own = chosen[places]
                tensors = model.tensors(training.examples.take(own).narrowed())
                new = torch.from_numpy(~counts[own])  # a row of two tasks may be in both parts
                sums += tensors.context[new].double().sum(dim=0).numpy()
                rows += int(new.sum())
                return tensors, targets_of(model, training, part, own, conversions)

            owners = training.examples.owners[chosen]
            store_rows(folder / part, owners, most, encoded, config)
            stores[part] = StoredRows(folder / part, config, device, training.team)
            counts[chosen] = True
        learned = stores[FIT]
        assert learned is not None
        means = (sums / rows).astype(np.float32)
        yield PreparedRows(learned, stores[STOP], stores[EVERY], means, folder)


def _refits(config: FitConfig) -> bool:
    """Whether rows that chose the epoch are learned from: not those of conversions."""
    return config.stopping.refit and config.tasks.next_action + config.tasks.next_time > 0


def held_tensors(
    model: Recurrent, training: Training, device: torch.device
) -> tuple[Tensors, Targets, Targets]:
    """The whole training part in memory, and how much each label counts."""
    every = np.arange(len(training.examples))
    fit, stop = (targets_of(model, training, part, every).to(device) for part in (FIT, STOP))
    return model.tensors(training.examples).to(device), fit, stop


def targets_of(
    model: Recurrent,
    training: Training,
    part: str,
    rows: NDArray[np.int64],
    conversions: bool = True,
) -> Targets:
    """How much the labels of some rows count, to learn from, to stop by, or the second time."""
    if part == EVERY:
        fit, stop = (targets_of(model, training, each, rows, conversions) for each in (FIT, STOP))
        return fit.with_stopping(stop)
    masks = [getattr(training, name)[rows] for name in (part, f"conversion_{part}", f"wait_{part}")]
    found = model.targets(training.examples.landmarks[rows], *masks)
    return found if conversions else found.without_conversions


def counted(
    model: Recurrent, training: Training, part: str, conversions: bool
) -> NDArray[np.int64]:
    """Rows of which any label counts."""
    if part == EVERY:
        stop = counted(model, training, STOP, conversions=False)
        return np.union1d(counted(model, training, FIT, conversions), stop)
    tasks = model.config.tasks
    rows = getattr(training, part) & (tasks.next_action > 0)
    rows = rows | (getattr(training, f"wait_{part}") & (tasks.next_time > 0))
    if conversions and tasks.conversion > 0:
        rows = rows | getattr(training, f"conversion_{part}").any(axis=1)
    return np.flatnonzero(rows)
