"""Fusion of the encoded sequence with the scales, before the logits.

Every kind turns ``encoded`` # [rows, hidden] and ``context`` # [rows, columns] into logits
# [rows, outputs]. The columns of the context are cut into groups: a group is a scale, or what has
none (``now``, ``calendar``, ``user_row``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.config import HeadConfig


class ScaleDropout(nn.Module):
    """Silence whole groups of columns while training, each with the same chance, row by row.

    A silenced group is 0 everywhere, which is its mean in the training part, and the rest is not
    scaled up: a model must answer from what is left, as it will where a scale says nothing.
    """

    places: Tensor

    def __init__(self, groups: Sequence[str], chance: float) -> None:
        super().__init__()
        names = list(dict.fromkeys(groups))
        self.names = tuple(names)
        self.chance = chance
        self.size = len(names)
        self.register_buffer("places", torch.tensor([names.index(g) for g in groups]), False)

    def forward(self, context: Tensor) -> Tensor:
        """Silence groups of # [rows, columns]."""
        if not self.training or not self.chance:
            return context
        kept = torch.rand(len(context), self.size, device=context.device) >= self.chance
        return context * kept[:, self.places]

    def without(self, context: Tensor, name: str) -> Tensor:
        """# [rows, columns] with one group silenced; all of it where there is no such group."""
        if name not in self.names:
            return context
        return context * (self.places != self.names.index(name))


class ConcatFusion(nn.Module):
    """All columns through one layer, beside the sequence."""

    def __init__(
        self, config: HeadConfig, hidden: int, groups: Sequence[str], outputs: int
    ) -> None:
        super().__init__()
        self.context = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(len(groups), config.context), nn.ReLU()
        )
        self.logits = logits_layer(config, hidden + config.context, outputs)

    def forward(self, encoded: Tensor, context: Tensor) -> Tensor:
        """Logits; # [rows, outputs]."""
        return self.logits(torch.cat([encoded, self.context(context)], dim=-1))


class GroupLayers(nn.Module):
    """A layer for each group of columns: # [rows, columns] to # [rows, groups, width]."""

    def __init__(self, groups: Sequence[str], width: int, dropout: float) -> None:
        super().__init__()
        self.names = tuple(dict.fromkeys(groups))
        self.width = width
        self.dropout = nn.Dropout(dropout)
        # One masked matrix is one product, where a layer a group is as many small ones.
        member = torch.tensor([[own == name for own in groups] for name in self.names])
        mask = member.repeat_interleave(width, dim=0)
        self.register_buffer("mask", mask.float(), False)
        self.weight = nn.Parameter(torch.empty(len(self.names) * width, len(groups)))
        self.bias = nn.Parameter(torch.zeros(len(self.names) * width))
        bound = member.sum(dim=1).clamp(min=1).float().rsqrt().repeat_interleave(width)
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(bound[:, None])

    mask: Tensor

    def forward(self, context: Tensor) -> Tensor:
        """Each group by itself; # [rows, groups, width]."""
        out = nn.functional.linear(self.dropout(context), self.weight * self.mask, self.bias)
        out = out.unflatten(1, (len(self.names), self.width))
        return torch.relu(out)


class WeightedFusion(nn.Module):
    """One learned weight a source, the same for everyone: the article's form."""

    def __init__(
        self, config: HeadConfig, hidden: int, groups: Sequence[str], outputs: int
    ) -> None:
        super().__init__()
        self.sequence = nn.Linear(hidden, config.context)
        self.groups = GroupLayers(groups, config.context, config.dropout)
        self.scores = nn.Parameter(torch.zeros(1 + len(self.groups.names)))
        self.logits = logits_layer(config, config.context, outputs)

    def weights(self, encoded: Tensor, _sources: Tensor) -> Tensor:
        """Weight of each source, the sequence first; # [rows, sources]."""
        return torch.softmax(self.scores, dim=-1).expand(encoded.shape[0], -1)

    def sources(self, encoded: Tensor, context: Tensor) -> Tensor:
        """What is weighted, the sequence first; # [rows, sources, width]."""
        # No ReLU: on some seeds it fell silent for every row early in training, and for good; the
        # encoder's own gates bend enough.
        sequence = self.sequence(encoded)[:, None]
        return torch.cat([sequence, self.groups(context)], dim=1)

    def forward(self, encoded: Tensor, context: Tensor) -> Tensor:
        """Logits; # [rows, outputs]."""
        sources = self.sources(encoded, context)
        weights = self.weights(encoded, sources)
        # As many sources as there are: else each speaks the more softly, the more there are.
        fused = (weights[:, :, None] * sources).sum(dim=1) * sources.shape[1]
        return self.logits(fused)


class GatedFusion(WeightedFusion):
    """Attention over the sequence and the scales: weights of a row depend on the row."""

    def __init__(
        self, config: HeadConfig, hidden: int, groups: Sequence[str], outputs: int
    ) -> None:
        super().__init__(config, hidden, groups, outputs)
        self.query = nn.Linear(hidden, config.context)

    def weights(self, encoded: Tensor, sources: Tensor) -> Tensor:
        """Weight of each source, the sequence first; # [rows, sources]."""
        query = self.query(encoded)[:, :, None]
        scores = (sources @ query)[:, :, 0] / query.shape[1] ** 0.5
        return torch.softmax(scores + self.scores, dim=-1)


class AdditiveFusion(nn.Module):
    """Logits of each source, which sum exactly to the prediction's: what each scale says."""

    def __init__(
        self, config: HeadConfig, hidden: int, groups: Sequence[str], outputs: int
    ) -> None:
        super().__init__()
        self.sequence = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(hidden, outputs, bias=False)
        )
        self.groups = GroupLayers(groups, config.additive, config.dropout)
        self.outputs = nn.Parameter(
            torch.empty(len(self.groups.names), config.additive, outputs).normal_(std=0.1)
        )
        self.bias = nn.Parameter(torch.zeros(outputs))

    def parts(self, encoded: Tensor, context: Tensor) -> Tensor:
        """Logits of the bias, the sequence and each group; # [rows, 2 + groups, outputs]."""
        bias = self.bias.expand(encoded.shape[0], 1, -1)
        sequence = self.sequence(encoded)[:, None]
        # [rows, groups, width] by [groups, width, outputs]
        scales = torch.einsum("rgw,gwo->rgo", self.groups(context), self.outputs)
        return torch.cat([bias, sequence, scales], dim=1)

    def forward(self, encoded: Tensor, context: Tensor) -> Tensor:
        """Logits; # [rows, outputs]."""
        return self.parts(encoded, context).sum(dim=1)


KINDS = {
    "concat": ConcatFusion,
    "weighted": WeightedFusion,
    "gated": GatedFusion,
    "additive": AdditiveFusion,
}


def logits_layer(config: HeadConfig, width: int, outputs: int) -> nn.Sequential:
    """From what was fused to logits, through a layer between where the configuration has one."""
    layers: list[nn.Module] = [nn.Dropout(config.dropout)]
    if config.hidden:
        layers += [nn.Linear(width, config.hidden), nn.ReLU(), nn.Dropout(config.dropout)]
        width = config.hidden
    return nn.Sequential(*layers, nn.Linear(width, outputs))
