"""Training by clients: each begins at the server's weights, and gives its own back.

What is shared are weights, sums of losses and numbers of rows, and before the first round what
vocabularies and scalers are made of, which are counts and sums as well. No row leaves a client.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.chunks import Batch, batches
from trainer.config import FitConfig
from trainer.early_stopping import EarlyStopping
from trainer.federated.flower import Weights, run_rounds
from trainer.losses import LEAST_WEIGHT, batch_losses
from trainer.models.base import Report
from trainer.models.network import Network
from trainer.team import ALONE
from trainer.tensors import Targets, Tensors
from trainer.training import Epoch, _mean_loss, chunks_of, train
from trainer.training_rows import HeldRows


def train_by_clients(
    network: Network,
    tensors: Tensors,
    fit: Targets,
    stop: Targets,
    config: FitConfig,
    clients: NDArray[np.int64],
    report: Report,
) -> list[Epoch]:
    """Train in place by federated averaging, and leave the weights of the best round.

    Parameters
    ----------
    network
        Fresh weights; call inside :func:`trainer.training.reproducible`.
    tensors
        The rows of all clients; each reads its own alone.
    fit, stop
        Labels to learn from, and labels that choose the round. Each client judges its own, and the
        mean over clients by their rows is the loss over all.
    config
        ``federated`` and what a central fit goes by.
    clients
        # [examples], the client of each, from 0
    report
        Takes a line a round.

    Returns
    -------
    rounds
        The learning curve.

    Notes
    -----
    McMahan et al. 2017, "Communication-efficient learning of deep networks from decentralized
    data". A client's optimizer begins anew in each round; it learns from no other client's rows,
    and in one round of one client without held-out rows the weights are those of a central fit.
    """
    federated = config.federated
    own = [_own(fit, clients == number) for number in range(int(clients.max()) + 1)]
    own = [each for each in own if len(each.rows)]
    stopping = EarlyStopping(network, config.stopping.patience)
    stop_rows = HeldRows(tensors, stop, config) if len(stop.rows) else None
    tasks = config.tasks
    shares = torch.tensor([tasks.next_action, tasks.conversion, tasks.next_time])
    shares = shares.to(fit.next_action.device)
    curve: list[Epoch] = []
    begun = time.perf_counter()
    report(f"{len(own)} clients of {[len(each.rows) for each in own]} rows")

    def local_fit(number: int) -> Callable[[Weights, int], tuple[Weights, float, float]]:
        targets = own[number]

        def fitted(weights: Weights, round_number: int) -> tuple[Weights, float, float]:
            _put(network, weights)
            # The first client's first round is seeded as a central fit is.
            seed = config.seed + (round_number - 1) * len(own) + number
            local = config.model_copy(update={"seed": seed, "epochs": federated.epochs})
            torch.manual_seed(seed)
            loss = train_locally(network, tensors, targets, local, shares)
            return _weights(network), float(targets.next_action.sum() or len(targets.rows)), loss

        return fitted

    def after(number: int, weights: Weights, loss: float) -> None:
        nonlocal begun
        _put(network, weights)
        held_out = None
        if stop_rows is not None:
            held_out = _mean_loss(network, stop_rows, shares, config.batch, ALONE)
            stopping.is_enough(held_out)
        now = time.perf_counter()
        curve.append(Epoch(number, loss, held_out, now - begun))
        begun = now
        said = "" if held_out is None else f"  held out {held_out:.4f}"
        report(f"round {number}/{federated.rounds}  loss {loss:.4f}{said}")

    last = run_rounds(
        [local_fit(number) for number in range(len(own))],
        _weights(network),
        federated.rounds,
        after,
    )
    _put(network, last)
    stopping.restore()
    network.eval()
    return curve


def train_locally(
    network: Network, tensors: Tensors, fit: Targets, config: FitConfig, shares: Tensor
) -> float:
    """What a client does with the weights that it was given; the mean loss of its last epoch."""
    if not config.federated.user_clip:
        none = Targets(*(torch.zeros_like(each) for each in vars(fit).values()))
        return train(network, tensors, fit, none, config, lambda _line: None)[-1].loss
    rows = fit.rows
    chunks, last = chunks_of(tensors, rows, config), tensors.last[rows]
    random = np.random.default_rng(config.seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    network.train()
    mean = 0.0
    for _ in range(config.epochs):
        losses = []
        for batch in batches(chunks, last, config.batch, random):
            every = []
            for part in by_user(batch, tensors.first[rows]):
                sums, weights = batch_losses(network, tensors, fit, part, rows)
                every.append((shares * sums / weights.clamp(min=LEAST_WEIGHT)).sum())
            clipped_mean_gradient(network, every, config.federated.user_clip)
            optimizer.step()
            losses += [float(each.detach()) for each in every]
        mean = float(np.mean(losses))
    return mean


def by_user(batch: Batch, first: NDArray[np.int64]) -> list[Batch]:
    """The parts of a batch that are one user's each.

    Parameters
    ----------
    batch
        Chunks, each of one user.
    first
        # [examples], flat position of the first event of each example's user
    """
    owners = first[batch.examples]
    parts = []
    for owner in np.unique(owners):
        chosen = owners == owner
        rows, place = np.unique(batch.rows[chosen], return_inverse=True)
        parts.append(
            Batch(batch.positions[rows], batch.examples[chosen], place, batch.steps[chosen])
        )
    return parts


def clipped_mean_gradient(network: nn.Module, losses: list[Tensor], limit: float) -> None:
    """Leave in ``grad`` the mean of the losses' gradients, each cut to a norm of `limit`.

    One user's loss then moves it by at most twice the limit over the number of users, whatever he
    did (Abadi et al. 2016, with a user where they have an example; no noise is added).
    """
    parameters = [each for each in network.parameters() if each.requires_grad]
    total = [torch.zeros_like(each) for each in parameters]
    for loss in losses:
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        norm = torch.sqrt(sum((each**2).sum() for each in found if each is not None))  # type: ignore[arg-type]
        scale = torch.clamp(limit / (norm + 1e-12), max=1.0)
        for into, each in zip(total, found, strict=True):
            if each is not None:
                into += scale * each
    for parameter, into in zip(parameters, total, strict=True):
        parameter.grad = into / len(losses)


def _own(targets: Targets, rows: NDArray[np.bool_]) -> Targets:
    """The labels of some rows alone."""
    kept = torch.from_numpy(rows).to(targets.next_action.device)
    return replace(
        targets,
        next_action=targets.next_action * kept,
        conversions=targets.conversions * kept[:, None],
        next_time=targets.next_time * kept,
    )


def _weights(network: nn.Module) -> Weights:
    return {name: each.detach().cpu().numpy().copy() for name, each in network.named_parameters()}


@torch.no_grad()
def _put(network: nn.Module, weights: Weights) -> None:
    for name, parameter in network.named_parameters():
        parameter.copy_(torch.from_numpy(np.array(weights[name])).to(parameter.device))
