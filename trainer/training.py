"""The training loop: chunks in, best weights out, the same ones for the same seed and threads."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

from trainer.checkpoints import Checkpoint
from trainer.chunks import Batch, Chunks, batches, count_batches, make_chunks
from trainer.config import FitConfig
from trainer.early_stopping import EarlyStopping
from trainer.models.base import Report, unwatched
from trainer.models.network import Network
from trainer.models.next_time_head import pinball
from trainer.progress import Track, untracked

LEAST_WEIGHT = 1e-6  # of a batch without a label of the task
_TASKS = 3  # next action, conversion, time to the next event


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
    waits, watched
        # [examples], log1p of the seconds to the next event, and of those that were watched, see
        :class:`trainer.examples.Examples`
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
    waits: Tensor
    watched: Tensor
    first: NDArray[np.int64]
    last: NDArray[np.int64]

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

    @property
    def without_conversions(self) -> Targets:
        """The same without the conversions."""
        return replace(self, conversions=torch.zeros_like(self.conversions))

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        return _on(self, device)


def _on(group: Any, device: torch.device) -> Any:
    values = {field.name: getattr(group, field.name) for field in fields(group)}
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()}
    return type(group)(**moved)


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
    """Train in place and leave the weights of the best epoch in the network.

    Parameters
    ----------
    network
        Fresh weights; call inside :func:`reproducible`.
    tensors
        The data, where the network is.
    fit, stop
        Labels to learn from, and labels that choose the epoch.
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

    Returns
    -------
    epochs
        The learning curve.
    """
    loop = _Loop(network, config)
    if checkpoint is not None and (state := checkpoint.read()) is not None:
        loop.load_state_dict(state)
        report(f"going on after epoch {len(loop.curve)} of {config.epochs}")
    fit_rows, stop_rows = fit.rows, stop.rows
    tasks = config.tasks
    shares = torch.tensor([tasks.next_action, tasks.conversion, tasks.next_time])
    shares = shares.to(fit.next_action.device)
    fit_chunks = chunks_of(tensors, fit_rows, config)
    stop_chunks = chunks_of(tensors, stop_rows, config) if len(stop_rows) else None
    fit_last = tensors.last[fit_rows]
    while len(loop.curve) < config.epochs and not loop.stopping.enough:
        number, begun = len(loop.curve) + 1, time.perf_counter()
        network.train()
        total, weight = shares.new_zeros(_TASKS), shares.new_zeros(_TASKS)
        laid_out = batches(fit_chunks, fit_last, config.batch, loop.random)
        steps = count_batches(fit_chunks, config.batch)
        for batch in track(laid_out, steps, f"epoch {number}/{config.epochs}"):
            sums, weights = _losses(network, tensors, fit, batch, fit_rows)
            loss = (shares * sums / weights.clamp(min=LEAST_WEIGHT)).sum()
            loop.step(loss)
            total += sums.detach()
            weight += weights
        mean = float((shares * total / weight.clamp(min=LEAST_WEIGHT)).sum())
        stop_loss = None
        if stop_chunks is not None:
            stop_loss = _mean_loss(network, tensors, stop, stop_chunks, shares, config.batch)
            loop.schedule.step(stop_loss)
            loop.stopping.is_enough(stop_loss)
        epoch = Epoch(number, mean, stop_loss, time.perf_counter() - begun)
        loop.curve.append(epoch)
        if checkpoint is not None:
            checkpoint.write(loop.state_dict())
        report(_line(epoch, config.epochs))
        watch(epoch)
    loop.stopping.restore()
    network.eval()
    return loop.curve


class _Loop:
    """What an epoch leaves to the next one."""

    def __init__(self, network: Network, config: FitConfig) -> None:
        self.network = network
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
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "curve": [vars(epoch) for epoch in self.curve],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.stopping.load_state_dict(state["stopping"])
        self.random.bit_generator.state = json.loads(state["random"])
        torch.set_rng_state(state["torch_random"])
        if state["cuda_random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.curve = [Epoch(**epoch) for epoch in state["curve"]]


def chunks_of(tensors: Tensors, rows: NDArray[np.int64], config: FitConfig) -> Chunks:
    """Chunks in which each of some examples is scored once."""
    return make_chunks(tensors.first[rows], tensors.last[rows], config.chunk, config.burn_in)


def encode_batch(network: Network, tensors: Tensors, batch: Batch) -> Tensor:
    """The encoder's state at the last event of each scored example; # [scored, hidden]."""
    positions = torch.from_numpy(batch.positions).to(tensors.actions.device)
    hidden, _ = network.encoder(
        tensors.actions[positions], tensors.categories[positions], tensors.numbers[positions]
    )
    # Of a flat view: one index instead of two costs half, forwards and backwards.
    flat = torch.from_numpy(batch.rows * batch.positions.shape[1] + batch.steps)
    return hidden.flatten(0, 1).index_select(0, flat.to(hidden.device))


def _losses(
    network: Network, tensors: Tensors, targets: Targets, batch: Batch, rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Weighted sums of the losses in one batch of chunks, and the weights; # [tasks] each."""
    encoded = encode_batch(network, tensors, batch)
    chosen = torch.from_numpy(rows[batch.examples]).to(encoded.device)
    context = tensors.context[chosen]
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
    network: Network,
    tensors: Tensors,
    targets: Targets,
    chunks: Chunks,
    shares: Tensor,
    size: int,
) -> float:
    network.eval()
    rows = targets.rows
    total, weight = shares.new_zeros(_TASKS), shares.new_zeros(_TASKS)
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
