"""Training of tied embeddings: full cross-entropy, or a sampled softmax over many values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainer.early_stopping import EarlyStopping
from trainer.ranking.neural import DIGITS, LAST, Projection, TiedEmbeddings, last_values
from trainer.ranking.rows import RankingRows

MOST_IN_FULL = 10_000  # values; above, the softmax is sampled
_SAMPLED = 2_000
_BATCH = 256
_DROPOUT = 0.3
_HIDDEN = 0.5  # chance that a step knows an item by its content alone, as it will know new ones


class _Network(nn.Module):
    def __init__(
        self, counts: NDArray[np.float64], width: int, content: NDArray[np.float64] | None
    ) -> None:
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
        self.content: Tensor | None = None
        if content is not None:
            # NaN where nothing is known; a row before the first is that of no value.
            given = torch.from_numpy(np.nan_to_num(np.vstack([content[:1] * 0, content])))
            self.content = given.float()
            self.is_read = torch.from_numpy(~np.isnan(content[:, 0]))
            self.project = nn.Linear(content.shape[1], width, bias=False)
            self.tilt = nn.Linear(content.shape[1], 1, bias=False)
            self.base = nn.Parameter(torch.tensor(float(np.log(chances).mean())))
            nn.init.zeros_(self.tilt.weight)
            self.own = torch.ones(values + 1, 1)

    def hide(self) -> None:
        """Draw of which items the next step knows their content alone."""
        if self.content is not None:
            hidden = self.is_read & (torch.rand(len(self.is_read)) < _HIDDEN)
            self.own = torch.cat([torch.ones(1), (~hidden).float()])[:, None]

    def show(self) -> None:
        """Hide nothing."""
        if self.content is not None:
            self.own = torch.ones(len(self.own), 1)

    def vectors(self, values: Tensor) -> Tensor:
        """Vectors of values, from 1; # [..., width]."""
        learned = self.embedding(values)
        if self.content is None:
            return learned
        return learned * self.own[values] + self.project(self.content[values])

    def biases(self, values: Tensor) -> Tensor:
        """Biases of values, from 1; # [...]."""
        learned = self.bias[values - 1]
        if self.content is None:
            return learned
        own = self.own[values, 0]
        return own * learned + (1 - own) * self.base + self.tilt(self.content[values])[..., 0]

    def forward(self, last: Tensor) -> Tensor:
        """What is asked; # [rows, width]."""
        weights = self.decay.exp() * (last > 0)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
        vectors = functional.dropout(self.vectors(last), _DROPOUT, self.training)
        return self.query((weights[:, :, None] * vectors).sum(dim=1))

    def loss(self, last: Tensor, targets: Tensor) -> Tensor:
        asked = self(last)
        values = len(self.bias)
        if values <= MOST_IN_FULL or not self.training:
            every = torch.arange(1, values + 1)
            logits = asked @ self.vectors(every).T + self.biases(every)
            return functional.cross_entropy(logits, targets)
        # Sampled by frequency, with the logarithm of how often a value is drawn taken off.
        chances = self.chances
        assert isinstance(chances, Tensor)
        drawn = torch.multinomial(chances, _SAMPLED, replacement=True)
        expected = (chances * _SAMPLED).clamp(min=1e-9).log()
        own = (asked * self.vectors(targets + 1)).sum(dim=1) + self.biases(targets + 1)
        others = asked @ self.vectors(drawn + 1).T + self.biases(drawn + 1) - expected[drawn]
        others = others.masked_fill(drawn[None, :] == targets[:, None], -torch.inf)
        logits = torch.cat([(own - expected[targets])[:, None], others], dim=1)
        return functional.cross_entropy(logits, torch.zeros_like(targets))


def train_embeddings(
    rows: RankingRows,
    stop: NDArray[np.bool_],
    seed: int,
    width: int,
    epochs: int,
    content: bool = False,
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
    content
        Read what the values are like, where the log says it.

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
    given = _Given.of(rows, stop, trained) if content else None
    network = _Network(counts, width, None if given is None else given.vectors)
    last, targets = torch.from_numpy(asked), torch.from_numpy(rows.targets)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    stopping = EarlyStopping(network, patience=2)
    for _ in range(epochs):
        network.train()
        order = torch.from_numpy(fit_rows)[torch.randperm(len(fit_rows))]
        for begin in range(0, len(order), _BATCH):
            chosen = order[begin : begin + _BATCH]
            network.hide()
            loss = network.loss(last[chosen], targets[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        network.eval()
        network.show()
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
        projection=None
        if given is None
        else Projection(
            weights=values["project.weight"].T.copy(),
            tilt=values["tilt.weight"][0],
            center=given.center,
            size=given.size,
            base=float(values["base"]),
            read=given.read,
        ),
    )


@dataclass(frozen=True)
class _Given:
    """Content of the trained values as the network reads it, NaN where nothing is known."""

    vectors: NDArray[np.float64]
    center: NDArray[np.float64]
    size: float

    @property
    def read(self) -> NDArray[np.bool_]:
        """Of which anything is known; # [trained values]."""
        return np.asarray(~np.isnan(self.vectors[:, 0]))

    @classmethod
    def of(cls, rows: RankingRows, stop: NDArray[np.bool_], trained: int) -> _Given | None:
        """What was known at the last row that is learned from; ``None`` where that is nothing."""
        content = rows.log.content
        if content is None:
            return None
        known = content.known_at(rows.instants[~stop].max())[:trained]
        if not known.any():
            return None
        vectors = content.vectors[:trained]
        center = np.round(vectors[known].mean(axis=0), DIGITS)
        size = round(float((vectors[known] - center).std()), DIGITS) or 1.0
        return cls(np.where(known[:, None], (vectors - center) / size, np.nan), center, size)


@torch.no_grad()
def _mean_loss(network: _Network, last: Tensor, targets: Tensor, rows: NDArray[np.int64]) -> float:
    total = 0.0
    for begin in range(0, len(rows), _BATCH):
        chosen = torch.from_numpy(rows[begin : begin + _BATCH])
        total += float(network.loss(last[chosen], targets[chosen])) * len(chosen)
    return total / len(rows)
