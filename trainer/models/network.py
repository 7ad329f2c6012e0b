"""The network: events through a recurrent encoder, features beside it, fused before the logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.config import EncoderConfig, HeadConfig

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class SequenceEncoder(nn.Module):
    """Events to hidden states; causal, so padding on the right changes nothing before it.

    Parameters
    ----------
    config
        Cell, layers and widths.
    actions, categories
        Sizes of the vocabularies, without the place for unknown.
    numbers
        Numbers of an event.
    """

    def __init__(self, config: EncoderConfig, actions: int, categories: int, numbers: int) -> None:
        super().__init__()
        self.action = nn.Embedding(actions + 1, config.action_size)
        # Later events bring categories that training never saw. They are read as unknown, which is
        # trained by hiding some of the known ones; else the network leans on what will be gone.
        self.category = nn.Embedding(categories + 1, config.category_size) if categories else None
        self.unknown = config.unknown
        for embedding in (self.action, self.category):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.3)
        width = config.action_size + numbers + (config.category_size if categories else 0)
        self.cell = CELLS[config.cell](
            width,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )

    def forward(
        self, actions: Tensor, categories: Tensor, numbers: Tensor, state: object = None
    ) -> tuple[Tensor, object]:
        """Encode events.

        Parameters
        ----------
        actions, categories
            # [batch, time]
        numbers
            # [batch, time, numbers]
        state
            What the previous call returned, to go on from there; ``None`` starts from zero.

        Returns
        -------
        hidden
            # [batch, time, hidden]
        state
            To go on from.
        """
        parts = [self.action(actions), numbers]
        if self.category is not None:
            if self.training and self.unknown:
                categories = categories * (torch.rand(categories.shape) >= self.unknown)
            parts.append(self.category(categories))
        return self.cell(torch.cat(parts, dim=-1), state)


class NextActionNetwork(nn.Module):
    """Encoder, features and the head of the next action.

    Parameters
    ----------
    encoder, head
        Configuration.
    actions, categories, numbers
        See :class:`SequenceEncoder`.
    context
        Columns of the feature matrix.
    states
        States to predict, ``leave`` last.
    """

    prior: Tensor

    def __init__(
        self,
        encoder: EncoderConfig,
        head: HeadConfig,
        actions: int,
        categories: int,
        numbers: int,
        context: int,
        states: int,
    ) -> None:
        super().__init__()
        self.encoder = SequenceEncoder(encoder, actions, categories, numbers)
        self.context = nn.Sequential(
            nn.Dropout(head.dropout), nn.Linear(context, head.context), nn.ReLU()
        )
        fused = encoder.hidden + head.context
        layers: list[nn.Module] = [nn.Dropout(head.dropout)]
        if head.hidden:
            layers += [nn.Linear(fused, head.hidden), nn.ReLU(), nn.Dropout(head.dropout)]
            fused = head.hidden
        layers.append(nn.Linear(fused, states))
        self.head = nn.Sequential(*layers)
        self.register_buffer("prior", torch.full((states,), 1.0 / states))

    def start_from(self, prior: Tensor) -> None:
        """Keep the prior, and let the untrained network predict it; # [states]."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            self.prior.copy_(prior)
            last.bias.copy_(prior.log())
            last.weight.mul_(0.1)

    def logits(self, encoded: Tensor, context: Tensor, closed: Tensor) -> Tensor:
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
        fused = torch.cat([encoded, self.context(context)], dim=-1)
        logits = self.head(fused)
        impossible = torch.zeros_like(logits, dtype=torch.bool)
        impossible[:, -1] = closed
        return logits.masked_fill(impossible, float("-inf"))
