"""Heads: from the encoded sequence and the context to the logits of a task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.config import FusionConfig, HeadConfig
from trainer.context import COUNTED_ROW, PRIOR, SEQUENCE, USER_ROW
from trainer.models.fusion import KINDS, AdditiveFusion, ScaleDropout


class NextActionHead(nn.Module):
    """Logits of the next state.

    Parameters
    ----------
    head, fusion
        Configuration.
    hidden
        Width of the encoded sequence.
    groups
        # [columns], the group of each column of the context
    states
        States to predict, ``leave`` last.

    Notes
    -----
    Where the user's own row is among the columns, its logarithms are added to the logits, times a
    learned factor: the network starts from what counting says and learns what to change in it.
    """

    def __init__(
        self,
        head: HeadConfig,
        fusion: FusionConfig,
        hidden: int,
        groups: Sequence[str],
        states: int,
    ) -> None:
        super().__init__()
        self.states = states
        self.scale_dropout = ScaleDropout(groups, fusion.scale_dropout)
        self.fusion = KINDS[fusion.kind](head, hidden, groups, states)
        row = [place for place, group in enumerate(groups) if group == USER_ROW]
        self.row_begin = row[0] if row and fusion.row_skip else None
        self.row_factor = nn.Parameter(torch.tensor(fusion.row_skip)) if self.has_row else None

    @property
    def has_row(self) -> bool:
        """Whether the user's own row is added to the logits."""
        return self.row_begin is not None

    def own_row(self, context: Tensor) -> Tensor | None:
        """What the user's own row adds to the logits; # [rows, states], or ``None``."""
        if self.row_begin is None or self.row_factor is None:
            return None
        return self.row_factor * context[:, self.row_begin : self.row_begin + self.states]

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the :meth:`parts`: ``prior``, ``sequence``, the groups, and
        ``user_row:counted`` where the user's own row is added; none without additive fusion.
        """
        if not isinstance(self.fusion, AdditiveFusion):
            return ()
        counted = (COUNTED_ROW,) if self.has_row else ()
        return (PRIOR, SEQUENCE, *self.fusion.groups.names, *counted)

    def parts(self, encoded: Tensor, context: Tensor) -> Tensor:
        """What each source adds to the logits; # [rows, sources, states].

        They sum to the logits, but for who has left.
        """
        assert isinstance(self.fusion, AdditiveFusion)
        parts = self.fusion.parts(encoded, context)
        row = self.own_row(context)
        return parts if row is None else torch.cat([parts, row[:, None]], dim=1)

    def scale(self, slope: float) -> None:
        """Multiply all logits, and what each source adds to them, by a number.

        The last weights take it in: whoever reads the head, exported or not, needs to know nothing.
        """
        scale_logits(self.fusion, slope)
        if self.row_factor is not None:
            with torch.no_grad():
                self.row_factor.mul_(slope)

    def start_from(self, prior: Tensor) -> None:
        """Let the untrained head predict the prior, or the user's own row; # [states]."""
        start_logits(self.fusion, torch.zeros_like(prior) if self.has_row else prior.log())

    def forward(self, encoded: Tensor, context: Tensor, closed: Tensor) -> Tensor:
        """Logits of the next state.

        Parameters
        ----------
        encoded
            # [rows, hidden]
        context
            # [rows, columns]
        closed
            # [rows], true where the session is closed: who has left cannot leave

        Returns
        -------
        logits
            # [rows, states]
        """
        logits = self.fusion(encoded, self.scale_dropout(context))
        return self._finished(logits, self.own_row(context), closed)

    def without(self, encoded: Tensor, context: Tensor, closed: Tensor, source: str) -> Tensor:
        """Logits with one source left out as scale-dropout leaves it out; # [rows, states].

        Parameters
        ----------
        encoded, context, closed
            See :meth:`forward`.
        source
            A group of columns, or ``user_row:counted``: the row that is added as it is.
        """
        row = None if source == COUNTED_ROW else self.own_row(context)
        return self._finished(
            self.fusion(encoded, self.scale_dropout.without(context, source)), row, closed
        )

    def _finished(self, logits: Tensor, row: Tensor | None, closed: Tensor) -> Tensor:
        if row is not None:
            logits = logits + row
        # Of shapes that broadcast: the export would fix those of a mask that is made here.
        leave = torch.arange(self.states, device=closed.device) == self.states - 1
        return logits.masked_fill(closed[:, None] & leave, float("-inf"))


class ConversionHead(nn.Module):
    """Logits of a conversion within each horizon.

    Parameters
    ----------
    head, fusion, hidden, groups
        See :class:`NextActionHead`.
    horizons
        How many.
    """

    calibration: Tensor

    def __init__(
        self,
        head: HeadConfig,
        fusion: FusionConfig,
        hidden: int,
        groups: Sequence[str],
        horizons: int,
    ) -> None:
        super().__init__()
        self.scale_dropout = ScaleDropout(groups, fusion.scale_dropout)
        self.fusion = KINDS[fusion.kind](head, hidden, groups, horizons)
        # Slope and intercept of each horizon's logit, fitted on held-out rows after training.
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0]] * horizons))

    @property
    def device(self) -> torch.device:
        """Where the head is."""
        return self.calibration.device

    def start_from(self, shares: Tensor) -> None:
        """Let the untrained head predict the shares of the training part; # [horizons]."""
        start_logits(self.fusion, torch.logit(shares))

    def forward(self, encoded: Tensor, context: Tensor) -> Tensor:
        """Uncalibrated logits; # [rows, horizons]."""
        return self.fusion(encoded, self.scale_dropout(context))

    def calibrated(self, encoded: Tensor, context: Tensor) -> Tensor:
        """Logits whose sigmoid is as frequent as it says; # [rows, horizons]."""
        slope, intercept = self.calibration.unbind(dim=1)
        return self(encoded, context) * slope + intercept


def start_logits(fusion: nn.Module, logits: Tensor) -> None:
    """Let an untrained fusion answer these logits, whatever it is given; # [outputs]."""
    with torch.no_grad():
        if isinstance(fusion, AdditiveFusion):
            fusion.bias.copy_(logits)
            return
        last = _last_of(fusion.logits)
        last.bias.copy_(logits)
        last.weight.mul_(0.1)


def scale_logits(fusion: nn.Module, slope: float) -> None:
    """Multiply what a fusion answers by a number."""
    with torch.no_grad():
        if isinstance(fusion, AdditiveFusion):
            weights: tuple[Tensor, ...] = (
                fusion.bias,
                _last_of(fusion.sequence).weight,
                fusion.outputs,
            )
        else:
            last = _last_of(fusion.logits)
            weights = (last.bias, last.weight)
        for each in weights:
            each.mul_(slope)


def _last_of(layers: nn.Module | Tensor) -> nn.Linear:
    assert isinstance(layers, nn.Sequential)
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    return last
