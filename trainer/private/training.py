"""DP-SGD over users: each drawn by a coin, his gradient cut to a length, noise added to the sum."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.optimizers import DPOptimizer

from trainer.chunks import Chunks
from trainer.config import FitConfig
from trainer.models.base import Report
from trainer.models.network import Network
from trainer.private.accounting import Mechanism
from trainer.private.gradients import record_gradients
from trainer.private.guarantee import Guarantee
from trainer.private.noise import gaussian_like, secret_generator
from trainer.private.records import make_records, pad
from trainer.progress import Track, untracked
from trainer.tensors import Targets, Tensors

_AT_ONCE = 64  # records whose gradients are held in memory


class PrivateOptimizer(DPOptimizer):
    """The optimizer of opacus with noise from the operating system's random numbers."""

    def add_noise(self) -> None:
        """Add noise to the sum of the cut gradients."""
        for weight in self.params:
            noise = gaussian_like(weight.summed_grad, self.noise_multiplier * self.max_grad_norm)
            weight.grad = (weight.summed_grad + noise).view_as(weight)


def train_privately(
    network: Network,
    tensors: Tensors,
    fit: Targets,
    config: FitConfig,
    guarantee: Guarantee,
    report: Report,
    track: Track = untracked,
) -> None:
    """Train in place; the weights of the last step stay.

    Parameters
    ----------
    network
        Fresh weights.
    tensors, fit
        The data, and labels to learn from.
    config
        Learning rate, epochs and the rest. An epoch is as many steps as take each user once on
        average.
    guarantee
        The budget; what was done is entered there.
    report
        Takes a line every few epochs.
    track
        Shows how far training is.

    Notes
    -----
    No loss is reported: one without noise would be a release of its own.
    """
    records = make_records(tensors, fit.rows, config.chunk, config.burn_in)
    steps = max(1, math.ceil(config.epochs / guarantee.rate))
    noise = guarantee.noise_of_steps(steps)
    optimizer = private_optimizer(network, config, noise, guarantee.rate * len(records))
    coins = secret_generator()
    network.train()
    for _ in track(range(steps), steps, "private steps"):
        members = np.flatnonzero(coins.random(len(records)) < guarantee.rate)
        private_step(network, optimizer, tensors, fit, records, members)
    guarantee.released.append(Mechanism(noise, guarantee.rate, steps))
    network.eval()
    report(f"{steps:,} steps over {guarantee.rate * len(records):.0f} users on average")


def private_optimizer(
    network: Network, config: FitConfig, noise: float, expected: float
) -> PrivateOptimizer:
    """The optimizer of a private fit.

    Parameters
    ----------
    network
        What is trained.
    config
        Learning rate, decay, and the length that gradients are cut to.
    noise
        Standard deviation, in units of that length.
    expected
        Users in a step on average, which the sum is divided by: how many there were is private.
    """
    plain = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    return PrivateOptimizer(
        plain,
        noise_multiplier=noise,
        max_grad_norm=config.privacy.max_grad_norm,
        expected_batch_size=max(expected, 1.0),
        loss_reduction="mean",
    )


def private_step(
    network: Network,
    optimizer: DPOptimizer,
    tensors: Tensors,
    targets: Targets,
    records: Chunks,
    members: NDArray[np.int64],
) -> None:
    """One step over some records, which may be none: noise is added all the same.

    Parameters
    ----------
    network, optimizer
        What is trained, and how.
    tensors, targets
        The data, and how much each label counts.
    records
        One a user.
    members
        The records that were drawn.
    """
    lengths = records.stops[members] - records.starts[members]
    members = members[np.argsort(lengths, kind="stable")]
    for begin in range(0, max(len(members), 1), _AT_ONCE):
        some = members[begin : begin + _AT_ONCE]
        found = (
            record_gradients(network, tensors, targets, pad(records, tensors.last, some))[0]
            if len(some)
            else {name: value.new_zeros(0, *value.shape) for name, value in _weights(network)}
        )
        for name, weight in _weights(network):
            weight.grad_sample = found[name]  # type: ignore[attr-defined]
        optimizer.signal_skip_step(begin + _AT_ONCE < len(members))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _weights(network: Network) -> list[tuple[str, torch.nn.Parameter]]:
    return list(network.named_parameters())
