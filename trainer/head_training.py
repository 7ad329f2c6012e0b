"""Training of a head on an encoder that stays as it is: the encoded rows are made once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.chunks import batches
from trainer.config import FitConfig
from trainer.early_stopping import EarlyStopping
from trainer.models.heads import ConversionHead
from trainer.models.network import Network
from trainer.training import LEAST_WEIGHT, Targets, Tensors, chunks_of, encode_batch

_BATCH = 256


def train_conversion(
    network: Network, tensors: Tensors, fit: Targets, stop: Targets, config: FitConfig
) -> None:
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

    Notes
    -----
    Trained together, the two losses pull at one encoder, and early stopping serves neither.
    """
    head = network.conversion
    assert head is not None
    fit_rows, stop_rows = fit.conversion_rows, stop.conversion_rows
    fit_encoded = encode_rows(network, tensors, fit_rows, config)
    stop_encoded = encode_rows(network, tensors, stop_rows, config)
    random = np.random.default_rng(config.seed)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    stopping = EarlyStopping(head, config.stopping.patience)
    for _ in range(config.epochs):
        head.train()
        order = random.permutation(len(fit_rows))
        for begin in range(0, len(order), _BATCH):
            chosen = order[begin : begin + _BATCH]
            loss = _loss(head, fit_encoded[chosen], tensors, fit, fit_rows[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), config.clip_norm)
            optimizer.step()
        head.eval()
        if not len(stop_rows):
            continue
        with torch.no_grad():
            stop_loss = float(_loss(head, stop_encoded, tensors, stop, stop_rows))
        if stopping.is_enough(stop_loss):
            break
    stopping.restore()


@torch.no_grad()
def encode_rows(
    network: Network, tensors: Tensors, rows: NDArray[np.int64], config: FitConfig
) -> Tensor:
    """The encoder's state at the last event of each row, by chunks; # [rows, hidden]."""
    network.eval()
    encoded = torch.zeros(len(rows), config.encoder.hidden)
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
