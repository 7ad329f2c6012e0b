"""The training loop: chunks in, best weights out, the same ones for the same seed and threads."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

from trainer.checkpoints import Checkpoint
from trainer.chunks import Batch, Chunks, make_chunks
from trainer.config import FitConfig
from trainer.early_stopping import EarlyStopping
from trainer.models.base import Report, unwatched
from trainer.models.network import Network
from trainer.models.next_time_head import pinball
from trainer.progress import Track, untracked
from trainer.team import ALONE, Team
from trainer.tensors import Targets, Tensors
from trainer.training_rows import HeldRows, Part, Rows

LEAST_WEIGHT = 1e-6  # of a batch without a label of the task
_ROWS = 8192  # whose roll-ups are encoded at a time, where no gradient is wanted
_TASKS = 3  # next action, conversion, time to the next event


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

    Returns
    -------
    epochs
        The learning curve.
    """
    loop = _Loop(network, config, team)
    if checkpoint is not None and (state := checkpoint.read()) is not None:
        loop.load_state_dict(state)
        report(f"going on after epoch {len(loop.curve)} of {config.epochs}")
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
    while len(loop.curve) < config.epochs and not loop.stopping.enough:
        number, begun = len(loop.curve) + 1, time.perf_counter()
        network.train()
        total, weight = shares.new_zeros(_TASKS), shares.new_zeros(_TASKS)
        steps, laid_out = fit.epoch(config.batch, loop.random)
        for part, batch in track(laid_out, steps, f"epoch {number}/{config.epochs}"):
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
        epoch = Epoch(number, mean, stop_loss, time.perf_counter() - begun)
        loop.curve.append(epoch)
        if checkpoint is not None:
            state = loop.state_dict()
            if team.rank == 0:
                checkpoint.write(state)
        report(_line(epoch, config.epochs))
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
        """See :func:`_losses`; a batch of others' chunks alone is nothing to all weights."""
        if not len(batch.examples):
            nothing = torch.stack([weight.sum() for weight in self.network.parameters()]).sum() * 0
            return nothing.expand(_TASKS), nothing.detach().new_zeros(_TASKS)
        return _losses(self.network, part.tensors, part.targets, batch, part.rows)


def chunks_of(tensors: Tensors, rows: NDArray[np.int64], config: FitConfig) -> Chunks:
    """Chunks in which each of some examples is scored once."""
    return make_chunks(tensors.first[rows], tensors.last[rows], config.chunk, config.burn_in)


def encode_batch(network: Network, tensors: Tensors, batch: Batch) -> Tensor:
    """The encoder's state at the last event of each scored example; # [scored, hidden]."""
    positions = torch.from_numpy(batch.positions).to(tensors.actions.device)
    hidden, _ = network.encoder(*tensors.events(positions))
    # Of a flat view: one index instead of two costs half, forwards and backwards.
    flat = torch.from_numpy(batch.rows * batch.positions.shape[1] + batch.steps)
    return hidden.flatten(0, 1).index_select(0, flat.to(hidden.device))


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


def _losses(
    network: Network, tensors: Tensors, targets: Targets, batch: Batch, rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Weighted sums of the losses in one batch of chunks, and the weights; # [tasks] each."""
    encoded = encode_batch(network, tensors, batch)
    places = rows[batch.examples]
    chosen = torch.from_numpy(places).to(encoded.device)
    rollups = [each.batch(places) for each in tensors.rollups]
    context = network.whole_context(tensors.context[chosen], rollups)
    sums, weights = [], []
    for losses, weight in (
        _next_action_losses(network, tensors, targets, encoded, context, chosen),
        _conversion_losses(network, tensors, targets, encoded, context, chosen),
        _next_time_losses(network, tensors, targets, encoded, context, chosen),
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
        return encoded.new_zeros(1), encoded.new_zeros(1)
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
    # A head that does not learn here must not draw the dropout of those that do.
    if network.conversion is None or not (weights := targets.conversions[chosen]).any():
        return encoded.new_zeros(1), encoded.new_zeros(1)
    logits = network.conversion(encoded, context)
    losses = functional.binary_cross_entropy_with_logits(
        logits, tensors.conversions[chosen], reduction="none"
    )
    return losses, weights


def _next_time_losses(
    network: Network,
    tensors: Tensors,
    targets: Targets,
    encoded: Tensor,
    context: Tensor,
    chosen: Tensor,
) -> tuple[Tensor, Tensor]:
    if network.next_time is None:
        return encoded.new_zeros(1), encoded.new_zeros(1)
    quantiles = network.next_time(encoded, context)
    losses = pinball(quantiles, tensors.waits[chosen], tensors.watched[chosen])
    return losses, targets.next_time[chosen]


@torch.no_grad()
def _mean_loss(
    network: Network, stop: Rows, shares: Tensor, size: int, team: Team = ALONE
) -> float:
    network.eval()
    total, weight = shares.new_zeros(_TASKS), shares.new_zeros(_TASKS)
    for part, batch in stop.epoch(size)[1]:
        if not len(batch.examples):
            continue
        sums, weights = _losses(network, part.tensors, part.targets, batch, part.rows)
        total += sums
        weight += weights
    total, weight = team.total(total), team.total(weight)
    return float((shares * total / weight.clamp(min=LEAST_WEIGHT)).sum())


def _line(epoch: Epoch, epochs: int) -> str:
    held_out = "" if epoch.stop_loss is None else f"  held out {epoch.stop_loss:.4f}"
    return (
        f"epoch {epoch.number}/{epochs}  loss {epoch.loss:.4f}{held_out}  ({epoch.seconds:.1f} s)"
    )
