"""The training loop: chunks in, best weights out, the same ones for the same seed and threads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

from trainer.chunks import Batch, Chunks, batches, make_chunks
from trainer.config import FitConfig
from trainer.early_stopping import EarlyStopping
from trainer.models.base import Report
from trainer.models.network import Network

LEAST_WEIGHT = 1e-6  # of a batch without a label of the task


@dataclass(frozen=True)
class Tensors:
    """Everything that the loop gathers from, made once.

    Attributes
    ----------
    actions, categories, numbers
        # [events], # [events], # [events, numbers]
    context, closed, labels
        # [examples, columns], and # [examples] each
    conversions
        # [examples, horizons], 0 where unknown
    first, last
        # [examples], flat positions of the user's first and the example's last event
    """

    actions: Tensor
    categories: Tensor
    numbers: Tensor
    context: Tensor
    closed: Tensor
    labels: Tensor
    conversions: Tensor
    first: NDArray[np.int64]
    last: NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """How much each label of each example counts; 0 leaves it out.

    Attributes
    ----------
    next_action
        # [examples]
    conversions
        # [examples, horizons]
    """

    next_action: Tensor
    conversions: Tensor

    @property
    def rows(self) -> NDArray[np.int64]:
        """Examples of which any label counts."""
        counts = (self.next_action > 0) | (self.conversions > 0).any(dim=1)
        return np.flatnonzero(counts.numpy())

    @property
    def conversion_rows(self) -> NDArray[np.int64]:
        """Examples of which a conversion counts."""
        return np.flatnonzero((self.conversions > 0).any(dim=1).numpy())

    @property
    def next_action_alone(self) -> Targets:
        """The same without the conversions."""
        return Targets(self.next_action, torch.zeros_like(self.conversions))


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curve; ``stop_loss`` is ``None`` without rows to stop by."""

    number: int
    loss: float
    stop_loss: float | None
    seconds: float


@contextlib.contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Fix what the weights depend on beside the data, and put it back afterwards.

    The threads are those of torch and of the numeric libraries under scikit-learn, whose sums
    depend on them too.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with threadpool_limits(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])


def train(
    network: Network,
    tensors: Tensors,
    fit: Targets,
    stop: Targets,
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
        Labels to learn from, and labels that choose the epoch.
    config
        Learning rate, epochs and the rest.
    report
        Takes a line an epoch.

    Returns
    -------
    epochs
        The learning curve.
    """
    fit_rows, stop_rows = fit.rows, stop.rows
    shares = torch.tensor([config.tasks.next_action, config.tasks.conversion])
    fit_chunks = chunks_of(tensors, fit_rows, config)
    stop_chunks = chunks_of(tensors, stop_rows, config) if len(stop_rows) else None
    random = np.random.default_rng(config.seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.4, patience=1)
    stopping = EarlyStopping(network, config.stopping.patience)
    curve: list[Epoch] = []
    for number in range(1, config.epochs + 1):
        begun = time.perf_counter()
        network.train()
        total, weight = torch.zeros(2), torch.zeros(2)
        for batch in batches(fit_chunks, tensors.last[fit_rows], config.batch, random):
            sums, weights = _losses(network, tensors, fit, batch, fit_rows)
            loss = (shares * sums / weights.clamp(min=LEAST_WEIGHT)).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimizer.step()
            total += sums.detach()
            weight += weights
        mean = float((shares * total / weight.clamp(min=LEAST_WEIGHT)).sum())
        stop_loss = None
        if stop_chunks is not None:
            stop_loss = _mean_loss(network, tensors, stop, stop_chunks, shares, config.batch)
            schedule.step(stop_loss)
        epoch = Epoch(number, mean, stop_loss, time.perf_counter() - begun)
        curve.append(epoch)
        report(_line(epoch, config.epochs))
        if stop_loss is not None and stopping.is_enough(stop_loss):
            break
    stopping.restore()
    network.eval()
    return curve


def chunks_of(tensors: Tensors, rows: NDArray[np.int64], config: FitConfig) -> Chunks:
    """Chunks in which each of some examples is scored once."""
    return make_chunks(tensors.first[rows], tensors.last[rows], config.chunk, config.burn_in)


def encode_batch(network: Network, tensors: Tensors, batch: Batch) -> Tensor:
    """The encoder's state at the last event of each scored example; # [scored, hidden]."""
    positions = torch.from_numpy(batch.positions)
    hidden, _ = network.encoder(
        tensors.actions[positions], tensors.categories[positions], tensors.numbers[positions]
    )
    return hidden[torch.from_numpy(batch.rows), torch.from_numpy(batch.steps)]


def _losses(
    network: Network, tensors: Tensors, targets: Targets, batch: Batch, rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Weighted sums of the losses in one batch of chunks, and the weights; # [2 tasks] each."""
    encoded = encode_batch(network, tensors, batch)
    chosen = torch.from_numpy(rows[batch.examples])
    context = tensors.context[chosen]
    sums, weights = [], []
    for losses, weight in (
        _next_action_losses(network, tensors, targets, encoded, context, chosen),
        _conversion_losses(network, tensors, targets, encoded, context, chosen),
    ):
        sums.append((losses * weight).sum())
        weights.append(weight.sum())
    return torch.stack(sums), torch.stack(weights)


def _next_action_losses(
    network: Network,
    tensors: Tensors,
    targets: Targets,
    encoded: Tensor,
    context: Tensor,
    chosen: Tensor,
) -> tuple[Tensor, Tensor]:
    if network.head is None:
        return torch.zeros(1), torch.zeros(1)
    logits = network.head(encoded, context, tensors.closed[chosen])
    # An unknown label is the first state at no weight.
    labels = tensors.labels[chosen].clamp(min=0)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    return losses, targets.next_action[chosen]


def _conversion_losses(
    network: Network,
    tensors: Tensors,
    targets: Targets,
    encoded: Tensor,
    context: Tensor,
    chosen: Tensor,
) -> tuple[Tensor, Tensor]:
    weights = targets.conversions[chosen]
    # A head that does not learn here must not draw the dropout of those that do.
    if network.conversion is None or not weights.any():
        return torch.zeros(1), torch.zeros(1)
    logits = network.conversion(encoded, context)
    losses = functional.binary_cross_entropy_with_logits(
        logits, tensors.conversions[chosen], reduction="none"
    )
    return losses, weights


@torch.no_grad()
def _mean_loss(
    network: Network,
    tensors: Tensors,
    targets: Targets,
    chunks: Chunks,
    shares: Tensor,
    size: int,
) -> float:
    network.eval()
    rows = targets.rows
    total, weight = torch.zeros(2), torch.zeros(2)
    for batch in batches(chunks, tensors.last[rows], size):
        sums, weights = _losses(network, tensors, targets, batch, rows)
        total += sums
        weight += weights
    return float((shares * total / weight.clamp(min=LEAST_WEIGHT)).sum())


def _line(epoch: Epoch, epochs: int) -> str:
    held_out = "" if epoch.stop_loss is None else f"  held out {epoch.stop_loss:.4f}"
    return (
        f"epoch {epoch.number}/{epochs}  loss {epoch.loss:.4f}{held_out}  ({epoch.seconds:.1f} s)"
    )
