"""The losses of a batch of chunks, one a task."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.chunks import Batch
from trainer.models.network import Network
from trainer.models.next_time_head import pinball
from trainer.tensors import Targets, Tensors

LEAST_WEIGHT = 1e-6  # of a batch without a label of the task
TASKS = 3  # next action, conversion, time to the next event


def encode_batch(network: Network, tensors: Tensors, batch: Batch) -> Tensor:
    """The encoder's state at the last event of each scored example; # [scored, hidden]."""
    positions = torch.from_numpy(batch.positions).to(tensors.actions.device)
    hidden, _ = network.encoder(*tensors.events(positions))
    # Of a flat view: one index instead of two costs half, forwards and backwards.
    flat = torch.from_numpy(batch.rows * batch.positions.shape[1] + batch.steps)
    return hidden.flatten(0, 1).index_select(0, flat.to(hidden.device))


def inputs_of(
    network: Network, tensors: Tensors, batch: Batch, rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor, Tensor]:
    """What heads read of a batch: # [scored, hidden], # [scored, columns], and which examples."""
    encoded = encode_batch(network, tensors, batch)
    places = rows[batch.examples]
    chosen = torch.from_numpy(places).to(encoded.device)
    rollups = [each.batch(places) for each in tensors.rollups]
    return encoded, network.whole_context(tensors.context[chosen], rollups), chosen


def batch_losses(
    network: Network, tensors: Tensors, targets: Targets, batch: Batch, rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Weighted sums of the losses in one batch of chunks, and the weights; # [tasks] each."""
    encoded, context, chosen = inputs_of(network, tensors, batch, rows)
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
