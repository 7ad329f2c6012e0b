"""The training loop: chunks in, best weights out, the same ones for the same seed and threads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainer.chunks import Batch, Chunks, batches, make_chunks
from trainer.config import FitConfig
from trainer.models.base import Report
from trainer.models.network import NextActionNetwork

_SMALLEST_GAIN = 1e-4


@dataclass(frozen=True)
class Tensors:
    """Everything that the loop gathers from, made once.

    Attributes
    ----------
    actions, categories, numbers
        # [events], # [events], # [events, numbers]
    context, closed, labels, weights
        # [examples, columns], and # [examples] each
    first, last
        # [examples], flat positions of the user's first and the example's last event
    """

    actions: Tensor
    categories: Tensor
    numbers: Tensor
    context: Tensor
    closed: Tensor
    labels: Tensor
    weights: Tensor
    first: NDArray[np.int64]
    last: NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curve; ``stop_loss`` is ``None`` without rows to stop by."""

    number: int
    loss: float
    stop_loss: float | None
    seconds: float


@contextlib.contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Fix what the weights depend on beside the data, and put it back afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])


def train(
    network: NextActionNetwork,
    tensors: Tensors,
    fit: NDArray[np.bool_],
    stop: NDArray[np.bool_],
    config: FitConfig,
    report: Report,
) -> list[Epoch]:
    """Train in place and leave the weights of the best epoch in the network.

    Parameters
    ----------
    network
        Fresh weights; call inside :func:`reproducible`.
    tensors
        The data.
    fit, stop
        # [examples], rows to learn from and rows that choose the epoch
    config
        Learning rate, epochs and the rest.
    report
        Takes a line an epoch.

    Returns
    -------
    epochs
        The learning curve.
    """
    fit_rows, stop_rows = np.flatnonzero(fit), np.flatnonzero(stop)
    fit_chunks = _chunks_of(tensors, fit_rows, config)
    stop_chunks = _chunks_of(tensors, stop_rows, config) if len(stop_rows) else None
    random = np.random.default_rng(config.seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.4, patience=1)
    best, best_loss, waited = None, float("inf"), 0
    curve: list[Epoch] = []
    for number in range(1, config.epochs + 1):
        begun = time.perf_counter()
        network.train()
        total, weight = 0.0, 0.0
        for batch in batches(fit_chunks, tensors.last[fit_rows], config.batch, random):
            loss, batch_weight = _loss(network, tensors, batch, fit_rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimizer.step()
            total += loss.item() * batch_weight
            weight += batch_weight
        stop_loss = None
        if stop_chunks is not None:
            stop_loss = _mean_loss(network, tensors, stop_chunks, stop_rows, config.batch)
            schedule.step(stop_loss)
        epoch = Epoch(number, total / weight, stop_loss, time.perf_counter() - begun)
        curve.append(epoch)
        report(_line(epoch, config.epochs))
        if stop_loss is None:
            continue
        if stop_loss < best_loss - _SMALLEST_GAIN:
            best_loss, waited = stop_loss, 0
            best = {name: value.clone() for name, value in network.state_dict().items()}
        else:
            waited += 1
            if waited >= config.stopping.patience:
                break
    if best is not None:
        network.load_state_dict(best)
    network.eval()
    return curve


def _chunks_of(tensors: Tensors, rows: NDArray[np.int64], config: FitConfig) -> Chunks:
    return make_chunks(tensors.first[rows], tensors.last[rows], config.chunk, config.burn_in)


def _loss(
    network: NextActionNetwork, tensors: Tensors, batch: Batch, rows: NDArray[np.int64]
) -> tuple[Tensor, float]:
    """Weighted mean cross-entropy of the examples in one batch of chunks, and their weight."""
    positions = torch.from_numpy(batch.positions)
    hidden, _ = network.encoder(
        tensors.actions[positions], tensors.categories[positions], tensors.numbers[positions]
    )
    encoded = hidden[torch.from_numpy(batch.rows), torch.from_numpy(batch.steps)]
    chosen = torch.from_numpy(rows[batch.examples])
    logits = network.logits(encoded, tensors.context[chosen], tensors.closed[chosen])
    losses = functional.cross_entropy(logits, tensors.labels[chosen], reduction="none")
    weights = tensors.weights[chosen]
    return (losses * weights).sum() / weights.sum(), float(weights.sum())


@torch.no_grad()
def _mean_loss(
    network: NextActionNetwork,
    tensors: Tensors,
    chunks: Chunks,
    rows: NDArray[np.int64],
    size: int,
) -> float:
    network.eval()
    total, weight = 0.0, 0.0
    for batch in batches(chunks, tensors.last[rows], size):
        loss, batch_weight = _loss(network, tensors, batch, rows)
        total += loss.item() * batch_weight
        weight += batch_weight
    return total / weight


def _line(epoch: Epoch, epochs: int) -> str:
    held_out = "" if epoch.stop_loss is None else f"  held out {epoch.stop_loss:.4f}"
    return (
        f"epoch {epoch.number}/{epochs}  loss {epoch.loss:.4f}{held_out}  ({epoch.seconds:.1f} s)"
    )
