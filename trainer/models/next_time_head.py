"""The head of the time to the next event: quantiles of its logarithm.

Notes
-----
A wait that was not seen to its end is known to be longer than what was watched, and to leave such
rows out would make every answer too short. The quantile of min(wait, watched) is
min(quantile, watched), so the loss is that of the two cut at what was watched. Powell 1986,
"Censored regression quantiles".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import FusionConfig, HeadConfig
from trainer.models.fusion import KINDS, ScaleDropout
from trainer.models.heads import start_logits
from trainer.waits import LEVELS

_LEAST_STEP = 1e-3  # between two quantiles that an untrained head starts from


class NextTimeHead(nn.Module):
    """Quantiles of log1p of the seconds to the next event, ascending by construction.

    Parameters
    ----------
    head, fusion, hidden, groups
        See :class:`trainer.models.heads.NextActionHead`.
    """

    def __init__(
        self, head: HeadConfig, fusion: FusionConfig, hidden: int, groups: Sequence[str]
    ) -> None:
        super().__init__()
        self.scale_dropout = ScaleDropout(groups, fusion.scale_dropout)
        self.fusion = KINDS[fusion.kind](head, hidden, groups, len(LEVELS))

    def start_from(self, quantiles: Tensor) -> None:
        """Let the untrained head predict these; # [levels], ascending."""
        steps = quantiles.diff().clamp(min=_LEAST_STEP)
        start_logits(self.fusion, torch.cat([quantiles[:1], steps.expm1().log()]))

    def forward(self, encoded: Tensor, context: Tensor) -> Tensor:
        """Quantiles at :data:`trainer.waits.LEVELS`; # [rows, levels]."""
        outputs = self.fusion(encoded, self.scale_dropout(context))
        steps = functional.softplus(outputs[:, 1:])
        return torch.cat([outputs[:, :1], steps], dim=1).cumsum(dim=1)


def pinball(quantiles: Tensor, waits: Tensor, watched: Tensor) -> Tensor:
    """Mean over the levels of the pinball loss, cut at what was watched; # [rows].

    Parameters
    ----------
    quantiles
        # [rows, levels]
    waits, watched
        # [rows], in the quantiles' unit; a wait is at most what was watched
    """
    levels = quantiles.new_tensor(LEVELS)
    missed = waits[:, None] - torch.minimum(quantiles, watched[:, None])
    return torch.maximum(levels * missed, (levels - 1) * missed).mean(dim=1)
