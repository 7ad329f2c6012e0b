"""Training of a head on an encoder that stays as it is: the encoded rows are made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.chunks import batches
from trainer.config import FitConfig
from trainer.early_stopping import EarlyStopping
from trainer.losses import LEAST_WEIGHT, encode_batch
from trainer.models.heads import ConversionHead
from trainer.models.network import Network
from trainer.tensors import Targets, Tensors
from trainer.training import chunks_of

_BATCH = 256


def train_conversion(
    network: Network, tensors: Tensors, fit: Targets, stop: Targets, config: FitConfig
) -> int:
    """Train the conversion head in place and leave its best weights in the network.

    Parameters
    ----------
    network
        With a trained encoder; call inside :func:`trainer.training.reproducible`.
    tensors
        The data.
    fit, stop
        Labels to learn from, and labels that choose the epoch.
    config
        Learning rate, epochs and the rest.

    Returns
    -------
    epochs
        After how many the weights were best.

    Notes
    -----
    Trained together, the two losses pull at one encoder, and early stopping serves neither.
    """
    head = network.conversion
    assert head is not None
    fit_rows, stop_rows = fit.conversion_rows, stop.conversion_rows
    fit_encoded = encode_rows(network, tensors, fit_rows, config)
    stop_encoded = encode_rows(network, tensors, stop_rows, config)
    stopping = EarlyStopping(head, config.stopping.patience)
    best = config.epochs
    for epoch in _epochs(head, fit_encoded, tensors, fit, fit_rows, config):
        if not len(stop_rows):
            continue
        with torch.no_grad():
            stop_loss = float(_loss(head, stop_encoded, tensors, stop, stop_rows))
        enough = stopping.is_enough(stop_loss)
        best = epoch - stopping.waited
        if enough:
            break
    stopping.restore()
    return best


def logits_of_later(
    network: Network,
    tensors: Tensors,
    targets: Targets,
    earlier: NDArray[np.bool_],
    later: NDArray[np.int64],
    config: FitConfig,
    epochs: int,
) -> Tensor:
    """What a head says of some rows that learned from earlier ones alone; # [later, horizons].

    Parameters
    ----------
    network
        With a trained encoder; its own heads stay as they are.
    tensors, targets
        The data, and how much each label counts.
    earlier
        # [examples, horizons], the labels to learn from
    later
        Examples that are asked about.
    config, epochs
        How the head is trained, and for how long.
    """
    head = network.fresh_conversion()
    known = torch.from_numpy(earlier).to(head.device)
    own = replace(targets, conversions=targets.conversions * known)
    rows = own.conversion_rows
    encoded = encode_rows(network, tensors, rows, config)
    labels, weights = tensors.conversions[rows], own.conversions[rows]
    shares = ((labels * weights).sum(dim=0) + 0.5) / (weights.sum(dim=0) + 1.0)
    head.start_from(shares)
    for epoch in _epochs(head, encoded, tensors, own, rows, config):
        if epoch == epochs:
            break
    with torch.no_grad():
        return head(encode_rows(network, tensors, later, config), tensors.context[later])


def _epochs(
    head: ConversionHead,
    encoded: Tensor,
    tensors: Tensors,
    targets: Targets,
    rows: NDArray[np.int64],
    config: FitConfig,
) -> Iterator[int]:
    """Train a head; give the number of each epoch, with the head as it answers."""
    random = np.random.default_rng(config.seed)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    for epoch in range(1, config.epochs + 1):
        head.train()
        order = random.permutation(len(rows))
        for begin in range(0, len(order), _BATCH):
            chosen = order[begin : begin + _BATCH]
            loss = _loss(head, encoded[chosen], tensors, targets, rows[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), config.clip_norm)
            optimizer.step()
        head.eval()
        yield epoch


@torch.no_grad()
def encode_rows(
    network: Network, tensors: Tensors, rows: NDArray[np.int64], config: FitConfig
) -> Tensor:
    """The encoder's state at the last event of each row, by chunks; # [rows, hidden]."""
    network.eval()
    encoded = tensors.context.new_zeros(len(rows), config.encoder.hidden)
    if not len(rows):
        return encoded
    chunks = chunks_of(tensors, rows, config)
    for batch in batches(chunks, tensors.last[rows], config.batch):
        encoded[torch.from_numpy(batch.examples)] = encode_batch(network, tensors, batch)
    return encoded


def _loss(
    head: ConversionHead,
    encoded: Tensor,
    tensors: Tensors,
    targets: Targets,
    rows: NDArray[np.int64],
) -> Tensor:
    logits = head(encoded, tensors.context[rows])
    labels, weights = tensors.conversions[rows], targets.conversions[rows]
    losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=LEAST_WEIGHT)
