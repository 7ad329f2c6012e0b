"""The training loop: chunks in, best weights out, the same ones for the same seed and threads."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from trainer.checkpoints import Checkpoint
from trainer.chunks import Batch, Chunks, make_chunks
from trainer.config import FitConfig
from trainer.early_stopping import EarlyStopping
from trainer.losses import LEAST_WEIGHT, TASKS, batch_losses
from trainer.models.base import Report, unwatched
from trainer.models.network import Network
from trainer.progress import Track, untracked
from trainer.team import ALONE, Team
from trainer.tensors import Targets, Tensors
from trainer.training_rows import HeldRows, Part, Rows

_ROWS = 8192  # whose roll-ups are encoded at a time, where no gradient is wanted


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curve; ``stop_loss`` is ``None`` without rows to stop by.

    ``rate`` is the learning rate of its steps, 0 where each client had its own.
    """

    number: int
    loss: float
    stop_loss: float | None
    seconds: float
    rate: float = 0.0


@contextlib.contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Fix what the weights depend on beside the data, and put it back afterwards.

    The threads are those of torch and of the numeric libraries under scikit-learn, whose sums
    depend on them too. Random numbers are those of the CPU and of every CUDA device.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # a module with a property, which mypy does not know
    filled = memory.fill_uninitialized_memory
    with threadpool_limits(threads), torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        # Else torch writes NaN into every new tensor first: a fifth of the time of small networks.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])
            memory.fill_uninitialized_memory = filled


def train(
    network: Network,
    tensors: Tensors,
    fit: Targets,
    stop: Targets,
    config: FitConfig,
    report: Report,
    track: Track = untracked,
    checkpoint: Checkpoint | None = None,
    watch: Callable[[Epoch], None] = unwatched,
) -> list[Epoch]:
    """Train on tensors that are in memory; see :func:`train_rows`."""
    stop_rows = HeldRows(tensors, stop, config) if len(stop.rows) else None
    fit_rows = HeldRows(tensors, fit, config)
    return train_rows(network, fit_rows, stop_rows, config, report, track, checkpoint, watch)


def train_rows(
    network: Network,
    fit: Rows,
    stop: Rows | None,
    config: FitConfig,
    report: Report,
    track: Track = untracked,
    checkpoint: Checkpoint | None = None,
    watch: Callable[[Epoch], None] = unwatched,
    team: Team = ALONE,
    rates: Sequence[float] = (),
) -> list[Epoch]:
    """Train in place and leave the weights of the best epoch in the network.

    Parameters
    ----------
    network
        Fresh weights; call inside :func:`reproducible`.
    fit, stop
        Rows to learn from, and rows that choose the epoch, where the network is.
    config
        Learning rate, epochs and the rest.
    report
        Takes a line an epoch.
    track
        Shows how far an epoch is.
    checkpoint
        Written after each epoch. What it holds already is gone on from, random numbers included,
        so that a fit that was killed ends with the weights of one that was not.
    watch
        Takes each epoch.
    team
        The processes that train together, each with its share of the rows.
    rates
        Learning rates of the epochs where both are known, as there are no rows to find them by.

    Returns
    -------
    epochs
        The learning curve.
    """
    loop = _Loop(network, config, team)
    if checkpoint is not None and (state := checkpoint.read()) is not None:
        loop.load_state_dict(state)
        report(f"going on after epoch {len(loop.curve)} of {len(rates) or config.epochs}")
    tasks = config.tasks
    shares = torch.tensor([tasks.next_action, tasks.conversion, tasks.next_time]).to(fit.device)
    losses: nn.Module = _BatchLosses(network)
    if team.size > 1:
        # The head of conversion takes no part in a batch without a label of it.
        losses = nn.parallel.DistributedDataParallel(
            losses,
            forward_sync_buffers=False,
            find_unused_parameters=network.conversion is not None,
        )
    epochs = len(rates) or config.epochs
    while len(loop.curve) < epochs and not loop.stopping.enough:
        number, begun = len(loop.curve) + 1, time.perf_counter()
        if rates:
            loop.rate = rates[number - 1]
        rate = loop.rate
        network.train()
        total, weight = shares.new_zeros(TASKS), shares.new_zeros(TASKS)
        steps, laid_out = fit.epoch(config.batch, loop.random)
        for part, batch in track(laid_out, steps, f"epoch {number}/{epochs}"):
            sums, weights = losses(part, batch)
            # The mean is over all processes' labels, of which one may have more than another. What
            # DDP makes of the gradients is their mean, and their sum is wanted.
            everyone = team.total(weights)
            loop.step((shares * sums / everyone.clamp(min=LEAST_WEIGHT)).sum() * team.size)
            total += sums.detach()
            weight += weights
        total, weight = team.total(total), team.total(weight)
        mean = float((shares * total / weight.clamp(min=LEAST_WEIGHT)).sum())
        stop_loss = None
        if stop is not None:
            stop_loss = _mean_loss(network, stop, shares, config.batch, team)
            loop.schedule.step(stop_loss)
            loop.stopping.is_enough(stop_loss)
        epoch = Epoch(number, mean, stop_loss, time.perf_counter() - begun, rate)
        loop.curve.append(epoch)
        if checkpoint is not None:
            state = loop.state_dict()
            if team.rank == 0:
                checkpoint.write(state)
        report(_line(epoch, epochs))
        watch(epoch)
    loop.stopping.restore()
    network.eval()
    return loop.curve


class _Loop:
    """What an epoch leaves to the next one."""

    def __init__(self, network: Network, config: FitConfig, team: Team) -> None:
        self.network = network
        self.team = team
        self.clip_norm = config.clip_norm
        self.random = np.random.default_rng(config.seed)
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,  # one pass over all weights, which are many and small
        )
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.4, patience=1
        )
        self.stopping = EarlyStopping(network, config.stopping.patience)
        self.curve: list[Epoch] = []

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.optimizer.param_groups[0]["lr"]

    @rate.setter
    def rate(self, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate

    def step(self, loss: Tensor) -> None:
        """Move the weights."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "stopping": self.stopping.state_dict(),
            # Integers of 128 bits, which are no tensor.
            "random": json.dumps(self.random.bit_generator.state),
            # Of each process, in order.
            "torch_random": self.team.gathered(torch.get_rng_state()),
            "cuda_random": self.team.gathered(
                torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
            ),
            "curve": [vars(epoch) for epoch in self.curve],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.stopping.load_state_dict(state["stopping"])
        self.random.bit_generator.state = json.loads(state["random"])
        torch.set_rng_state(state["torch_random"][self.team.rank])
        cuda_random = state["cuda_random"][self.team.rank]
        if cuda_random and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(cuda_random)
        self.curve = [Epoch(**epoch) for epoch in state["curve"]]


class _BatchLosses(nn.Module):
    """Sums of the losses of a batch, and their weights; a module, as DDP wants it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, part: Part, batch: Batch) -> tuple[Tensor, Tensor]:
        """See :func:`trainer.losses.batch_losses`.

        A batch of others' chunks alone is nothing to all weights.
        """
        if not len(batch.examples):
            nothing = torch.stack([weight.sum() for weight in self.network.parameters()]).sum() * 0
            return nothing.expand(TASKS), nothing.detach().new_zeros(TASKS)
        return batch_losses(self.network, part.tensors, part.targets, batch, part.rows)


def chunks_of(tensors: Tensors, rows: NDArray[np.int64], config: FitConfig) -> Chunks:
    """Chunks in which each of some examples is scored once."""
    return make_chunks(tensors.first[rows], tensors.last[rows], config.chunk, config.burn_in)


@torch.no_grad()
def settled(network: Network, tensors: Tensors) -> Tensors:
    """The same with the states of the coarser periods as columns: for networks that stay."""
    if not tensors.rollups:
        return tensors
    network.eval()
    parts = []
    for begin in range(0, max(len(tensors.last), 1), _ROWS):
        rows = slice(begin, begin + _ROWS)
        rollups = [each.batch(rows) for each in tensors.rollups]
        parts.append(network.whole_context(tensors.context[rows], rollups))
    return replace(tensors, context=torch.cat(parts), rollups=())


@torch.no_grad()
def _mean_loss(
    network: Network, stop: Rows, shares: Tensor, size: int, team: Team = ALONE
) -> float:
    network.eval()
    total, weight = shares.new_zeros(TASKS), shares.new_zeros(TASKS)
    for part, batch in stop.epoch(size)[1]:
        if not len(batch.examples):
            continue
        sums, weights = batch_losses(network, part.tensors, part.targets, batch, part.rows)
        total += sums
        weight += weights
    total, weight = team.total(total), team.total(weight)
    return float((shares * total / weight.clamp(min=LEAST_WEIGHT)).sum())


def _line(epoch: Epoch, epochs: int) -> str:
    held_out = "" if epoch.stop_loss is None else f"  held out {epoch.stop_loss:.4f}"
    return (
        f"epoch {epoch.number}/{epochs}  loss {epoch.loss:.4f}{held_out}  ({epoch.seconds:.1f} s)"
    )
