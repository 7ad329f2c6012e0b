"""The network: events through a recurrent encoder, and a head for each task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.config import EncoderConfig, FitConfig
from trainer.models.heads import ConversionHead, NextActionHead
from trainer.models.next_time_head import NextTimeHead
from trainer.rollups import EXTRA, RollupBatch, group_of
from trainer.waits import LEVELS

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class SequenceEncoder(nn.Module):
    """Events to hidden states; causal, so padding on the right changes nothing before it.

    Parameters
    ----------
    config
        Cell, layers and widths.
    actions, items, categories, locations
        Sizes of the vocabularies, without the place for unknown; one of no size is not read.
    numbers
        Numbers of an event.
    """

    def __init__(
        self,
        config: EncoderConfig,
        actions: int,
        items: int,
        categories: int,
        locations: int,
        numbers: int,
    ) -> None:
        super().__init__()
        self.action = nn.Embedding(actions + 1, config.action_size)
        # Later events bring words that training never saw. They are read as unknown, which is
        # trained by hiding some of the known ones; else the network leans on what will be gone.
        self.category = nn.Embedding(categories + 1, config.category_size) if categories else None
        self.item = nn.Embedding(items + 1, config.item_size) if items else None
        self.location = nn.Embedding(locations + 1, config.location_size) if locations else None
        self.unknown = config.unknown
        width = numbers
        for embedding in (self.action, self.category, self.item, self.location):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.3)
                width += embedding.embedding_dim
        self.cell = CELLS[config.cell](
            width,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )

    def forward(
        self,
        actions: Tensor,
        items: Tensor,
        categories: Tensor,
        locations: Tensor,
        numbers: Tensor,
        state: object = None,
    ) -> tuple[Tensor, object]:
        """Encode events.

        Parameters
        ----------
        actions, items, categories, locations
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
        return self.cell(self.embed(actions, items, categories, locations, numbers), state)

    def embed(
        self,
        actions: Tensor,
        items: Tensor,
        categories: Tensor,
        locations: Tensor,
        numbers: Tensor,
    ) -> Tensor:
        """Events as the cell reads them; # [batch, time, width]."""
        words = self.hide(items, categories, locations)
        return self.vectors(actions, *words, numbers)

    def hide(
        self, items: Tensor, categories: Tensor, locations: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same words with some of each unknown, while training; # [batch, time] each."""

        def some(embedding: nn.Embedding | None, words: Tensor) -> Tensor:
            if embedding is None or not self.training or not self.unknown:
                return words
            return words * (torch.rand(words.shape, device=words.device) >= self.unknown)

        return (
            some(self.item, items),
            some(self.category, categories),
            some(self.location, locations),
        )

    def vectors(
        self,
        actions: Tensor,
        items: Tensor,
        categories: Tensor,
        locations: Tensor,
        numbers: Tensor,
    ) -> Tensor:
        """Events as they are, side by side; # [batch, time, width]."""
        parts = [self.action(actions), numbers]
        for embedding, words in (
            (self.category, categories),
            (self.item, items),
            (self.location, locations),
        ):
            if embedding is not None:
                parts.append(embedding(words))
        return torch.cat(parts, dim=-1)


class RollupEncoder(nn.Module):
    """Roll-ups of one period to hidden states, by the encoder's cell with one layer.

    Parameters
    ----------
    config
        Cell and width.
    numbers
        Numbers of a roll-up.
    """

    def __init__(self, config: EncoderConfig, numbers: int) -> None:
        super().__init__()
        self.cell = CELLS[config.cell](numbers, config.coarse_hidden, batch_first=True)

    def forward(self, numbers: Tensor) -> Tensor:
        """Encode # [batch, time, numbers]; # [batch, time, hidden], causal."""
        return self.cell(numbers)[0]

    def columns(self, batch: RollupBatch, device: torch.device) -> Tensor:
        """A row's state after its last roll-up, 0 without one, and its ages; # [rows, columns]."""
        hidden = self(torch.from_numpy(batch.numbers).to(device))
        lengths = torch.from_numpy(batch.lengths).to(device)
        each = torch.arange(len(lengths), device=device)
        last = hidden[each, (lengths - 1).clamp(min=0)] * (lengths > 0)[:, None]
        own = last.index_select(0, torch.from_numpy(batch.own).to(device))
        return torch.cat([own, torch.from_numpy(batch.ages).to(device)], dim=1)


class Network(nn.Module):
    """One encoder, one for each coarser period, and a head for each task.

    Parameters
    ----------
    config
        Configuration; a task of weight 0 has no head.
    actions, items, categories, locations, numbers
        See :class:`SequenceEncoder`.
    groups
        # [columns], the group of each column of the context
    states
        States to predict, ``leave`` last.
    horizons
        Horizons within which a conversion is predicted.
    """

    prior: Tensor
    converted: Tensor
    waits: Tensor

    def __init__(
        self,
        config: FitConfig,
        actions: int,
        items: int,
        categories: int,
        locations: int,
        numbers: int,
        groups: Sequence[str],
        states: int,
        horizons: int,
    ) -> None:
        super().__init__()
        #: What a network of the same shape is made with, beside the configuration.
        events = {
            "actions": actions,
            "items": items,
            "categories": categories,
            "locations": locations,
            "numbers": numbers,
        }
        self.sizes = {
            **events,
            "groups": list(groups),
            "states": states,
            "horizons": horizons,
        }
        hidden, parts = config.encoder.hidden, (config.head, config.fusion)
        self.encoder = SequenceEncoder(config.encoder, **events)
        self.coarse = nn.ModuleDict(
            {
                period: RollupEncoder(config.encoder, actions + EXTRA)
                for period in config.encoder.coarse
            }
        )
        # The state of a coarser period joins like a scale: one more group of the context.
        width = config.encoder.coarse_hidden + EXTRA
        groups = [*groups, *(group_of(p) for p in config.encoder.coarse for _ in range(width))]
        self.head = (
            NextActionHead(*parts, hidden, groups, states) if config.tasks.next_action else None
        )
        self._conversion_parts = (*parts, hidden, groups, horizons)
        self.conversion = (
            ConversionHead(*self._conversion_parts)
            if config.tasks.conversion and horizons
            else None
        )
        self.next_time = NextTimeHead(*parts, hidden, groups) if config.tasks.next_time else None
        if self.next_time is not None:
            self.register_buffer("waits", torch.zeros(len(LEVELS)))
        self.register_buffer("prior", torch.full((states,), 1.0 / states))
        self.register_buffer("converted", torch.full((horizons,), 0.5))

    def whole_context(self, context: Tensor, batches: Sequence[RollupBatch]) -> Tensor:
        """The context with the states of the coarser periods behind it; # [rows, all columns].

        Parameters
        ----------
        context
            # [rows, columns]
        batches
            The rows' roll-ups, a period each.
        """
        states = []
        for encoder, batch in zip(self.coarse.values(), batches, strict=True):
            assert isinstance(encoder, RollupEncoder)
            states.append(encoder.columns(batch, context.device))
        return torch.cat([context, *states], dim=1) if states else context

    def fresh_conversion(self) -> ConversionHead:
        """An untrained head of conversion like the network's own, where that is."""
        return ConversionHead(*self._conversion_parts).to(self.prior.device)

    def start_from(self, prior: Tensor, converted: Tensor, waits: Tensor) -> None:
        """Keep what is known of nobody, and let the untrained heads predict what counting says.

        Parameters
        ----------
        prior
            # [states]
        converted
            # [horizons]
        waits
            # [levels], quantiles of log1p of the seconds to the next event
        """
        self.prior.copy_(prior)
        self.converted.copy_(converted)
        if self.head is not None:
            self.head.start_from(prior)
        if self.conversion is not None:
            self.conversion.start_from(converted)
        if self.next_time is not None:
            self.waits.copy_(waits)
            self.next_time.start_from(waits)
