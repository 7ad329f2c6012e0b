"""Training of tied embeddings: full cross-entropy, or a sampled softmax over many values."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainer.early_stopping import EarlyStopping
from trainer.ranking.neural import DIGITS, LAST, TiedEmbeddings, last_values
from trainer.ranking.rows import RankingRows

MOST_IN_FULL = 10_000  # values; above, the softmax is sampled
_SAMPLED = 2_000
_BATCH = 256
_DROPOUT = 0.3


class _Network(nn.Module):
    def __init__(self, counts: NDArray[np.float64], width: int) -> None:
        super().__init__()
        values = len(counts)
        self.embedding = nn.Embedding(values + 1, width, padding_idx=0)
        with torch.no_grad():
            self.embedding.weight[1:].normal_(std=0.1)
        chances = (counts + 0.5) / (counts.sum() + 0.5 * values)
        self.register_buffer("chances", torch.from_numpy(chances).float())
        # Training starts from how frequent values are.
        self.bias = nn.Parameter(torch.from_numpy(np.log(chances)).float())
        self.decay = nn.Parameter(torch.linspace(-1.0, 1.0, LAST))
        self.query = nn.Linear(width, width)

    def forward(self, last: Tensor) -> Tensor:
        """What is asked; # [rows, width]."""
        weights = self.decay.exp() * (last > 0)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
        vectors = functional.dropout(self.embedding(last), _DROPOUT, self.training)
        return self.query((weights[:, :, None] * vectors).sum(dim=1))

    def loss(self, last: Tensor, targets: Tensor) -> Tensor:
        asked = self(last)
        values = len(self.bias)
        if values <= MOST_IN_FULL or not self.training:
            logits = asked @ self.embedding.weight[1:].T + self.bias
            return functional.cross_entropy(logits, targets)
        # Sampled by frequency, with the logarithm of how often a value is drawn taken off.
        chances = self.chances
        assert isinstance(chances, Tensor)
        drawn = torch.multinomial(chances, _SAMPLED, replacement=True)
        expected = (chances * _SAMPLED).clamp(min=1e-9).log()
        own = (asked * self.embedding(targets + 1)).sum(dim=1) + self.bias[targets]
        others = asked @ self.embedding(drawn + 1).T + self.bias[drawn] - expected[drawn]
        others = others.masked_fill(drawn[None, :] == targets[:, None], -torch.inf)
        logits = torch.cat([(own - expected[targets])[:, None], others], dim=1)
        return functional.cross_entropy(logits, torch.zeros_like(targets))


def train_embeddings(
    rows: RankingRows, stop: NDArray[np.bool_], seed: int, width: int, epochs: int
) -> TiedEmbeddings | None:
    """Fit tied embeddings; call inside :func:`trainer.training.reproducible`.

    Parameters
    ----------
    rows
        Of the training part.
    stop
        # [rows], those that choose the epoch
    seed
        Of the first weights, the order of the rows and the samples.
    width
        Of a vector.
    epochs
        At most.

    Returns
    -------
    embeddings
        Of the values known at the last row that is learned from; ``None`` without any such row.
    """
    if stop.all():
        return None
    trained = int(rows.known[~stop].max())
    asked = last_values(rows, trained)
    usable = (rows.targets >= 0) & (rows.targets < trained) & asked.any(axis=1)
    fit_rows, stop_rows = np.flatnonzero(usable & ~stop), np.flatnonzero(usable & stop)
    if not len(fit_rows):
        return None
    torch.manual_seed(seed)
    counts = np.bincount(rows.targets[fit_rows], minlength=trained).astype(np.float64)
    network = _Network(counts, width)
    last, targets = torch.from_numpy(asked), torch.from_numpy(rows.targets)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    stopping = EarlyStopping(network, patience=2)
    for _ in range(epochs):
        network.train()
        order = torch.from_numpy(fit_rows)[torch.randperm(len(fit_rows))]
        for begin in range(0, len(order), _BATCH):
            chosen = order[begin : begin + _BATCH]
            loss = network.loss(last[chosen], targets[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        network.eval()
        if len(stop_rows) and stopping.is_enough(_mean_loss(network, last, targets, stop_rows)):
            break
    stopping.restore()
    values = {
        name: np.round(value.detach().double().numpy(), DIGITS)
        for name, value in network.named_parameters()
    }
    return TiedEmbeddings(
        vectors=values["embedding.weight"][1:],
        bias=values["bias"],
        decay=values["decay"],
        query=values["query.weight"].T.copy(),
        query_bias=values["query.bias"],
    )


@torch.no_grad()
def _mean_loss(network: _Network, last: Tensor, targets: Tensor, rows: NDArray[np.int64]) -> float:
    total = 0.0
    for begin in range(0, len(rows), _BATCH):
        chosen = torch.from_numpy(rows[begin : begin + _BATCH])
        total += float(network.loss(last[chosen], targets[chosen])) * len(chosen)
    return total / len(rows)
