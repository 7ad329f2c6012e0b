"""Served: a fitted sequence model as a server runs it, in ONNX Runtime and without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainer.chunks import make_windows
from trainer.config import FitConfig, load_config
from trainer.context import ContextEncoder
from trainer.event_inputs import EventEncoder
from trainer.examples import Examples
from trainer.features import Feature
from trainer.models.base import Outputs, read_json
from trainer.models.onnx_network import OnnxNetwork
from trainer.ranking.rankers import Ranker, load_mixtures
from trainer.rollups import roll_up
from trainer.sequences import Sequences
from trainer.waits import as_seconds

_ROWS = 256  # rows of one pass: 1,000 users of 50 events would take 100 MB at once


class Served:
    """What :class:`trainer.models.recurrent.Recurrent` saved, with the same answers.

    Parameters
    ----------
    config
        The fit's configuration.
    features
        The features that enter, in order: the model's signature.
    states, horizons
        Names of the states, in the order of every probability vector, and of the horizons.
    prior, converted
        # [states] and # [horizons], the answers for a user without history
    waits
        # [levels], the same of log1p of the seconds to the next event; empty where that is no task
    means
        # [columns], mean of each column of the context over the training part
    sources
        Names of the parts of a logit; none without additive fusion.
    event_encoder, context, network
        How events and features become numbers, and what reads them.
    rankers
        What says which item, or category, comes next; by target.
    """

    def __init__(
        self,
        config: FitConfig,
        features: tuple[Feature, ...],
        states: tuple[str, ...],
        horizons: tuple[str, ...],
        prior: NDArray[np.float64],
        converted: NDArray[np.float64],
        waits: NDArray[np.float64],
        means: NDArray[np.float32],
        sources: tuple[str, ...],
        event_encoder: EventEncoder,
        context: ContextEncoder,
        network: OnnxNetwork,
        rankers: dict[str, Ranker] | None = None,
    ) -> None:
        self.config = config
        self.features = features
        self.states = states
        self.horizons = horizons
        self.prior = prior
        self.converted = converted
        self.waits = waits
        self.means = means
        self.sources = sources
        self.event_encoder = event_encoder
        self.context = context
        self.network = network
        self.rankers: dict[str, Ranker] = rankers or {}

    @property
    def name(self) -> str:
        """The cell, which is what the model is known by in tables."""
        return self.config.encoder.cell

    @property
    def predicts_next_action(self) -> bool:
        """Whether there is a head of the next action; without it, everyone gets the prior."""
        return self.config.tasks.next_action > 0

    @property
    def predicts_next_time(self) -> bool:
        """Whether there is a head of the time to the next event."""
        return len(self.waits) > 0

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a run's folder: text and ONNX graphs, no weights of torch."""
        config = load_config(folder / "config.yml")
        features = read_json(folder / "features.json")
        vocabularies = read_json(folder / "vocabularies.json")
        horizons = tuple(vocabularies["horizons"])
        return cls(
            config=config,
            features=tuple(Feature(**feature) for feature in features["features"]),
            states=tuple(vocabularies["states"]),
            horizons=horizons,
            prior=np.array(vocabularies["prior"], dtype=np.float64),
            converted=np.array(vocabularies["converted"], dtype=np.float64),
            waits=np.array(vocabularies["waits"], dtype=np.float64),
            means=np.array(features["means"], dtype=np.float32),
            sources=tuple(features["sources"]),
            event_encoder=EventEncoder.from_json(vocabularies["events"]),
            context=ContextEncoder.from_json(features["context"]),
            network=OnnxNetwork(
                folder,
                config.tasks.next_action > 0,
                bool(horizons),
                bool(vocabularies["waits"]),
                config.encoder.coarse,
            ),
            rankers=load_mixtures(folder),
        )

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """Probability of each next state; a row without history gets the prior."""
        return self.predict_encoded(examples, self.context.transform(examples))

    def predict_encoded(
        self, examples: Examples, context: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The same for a context that the caller made, or changed; # [rows, states].

        Parameters
        ----------
        examples
            # [rows]
        context
            # [rows, columns], see :class:`trainer.context.ContextEncoder`
        """
        if not self.predicts_next_action:
            return _repeated(self.prior, examples)
        return self._next_action(examples, self._read(examples, context))

    def predict_conversion(self, examples: Examples) -> NDArray[np.float64]:
        """Calibrated probability of a conversion within each horizon; # [rows, horizons]."""
        if not self.horizons:
            return _repeated(self.converted, examples)
        return self._conversions(examples, self._read(examples))

    def predict_next_time(self, examples: Examples) -> NDArray[np.float64]:
        """Quantiles of the seconds to the next event; # [rows, levels]."""
        return self._next_time(examples, self._read(examples))

    def predict_all(self, examples: Examples) -> Outputs:
        """What each head says; what they read is encoded once."""
        read = self._read(examples)
        return Outputs(
            self._next_action(examples, read)
            if self.predicts_next_action
            else _repeated(self.prior, examples),
            self._conversions(examples, read) if self.horizons else None,
            self._next_time(examples, read) if self.predicts_next_time else None,
        )

    def _read(self, examples: Examples, context: NDArray[np.float32] | None = None) -> _Read:
        if context is None:
            context = self.context.transform(examples)
        return _Read(self._whole(examples, context), list(self._encoded(examples)))

    def _next_action(self, examples: Examples, read: _Read) -> NDArray[np.float64]:
        answer = _repeated(self.prior, examples)
        closed = self._closed(examples)
        for rows, encoded in read.encoded:
            logits = self.network.logits(encoded, read.context[rows], closed[rows])
            answer[rows] = _softmax(logits.astype(np.float64))
        return answer

    def _conversions(self, examples: Examples, read: _Read) -> NDArray[np.float64]:
        answer = _repeated(self.converted, examples)
        for rows, encoded in read.encoded:
            logits = self.network.conversion_logits(encoded, read.context[rows])
            answer[rows] = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
        return answer

    def _next_time(self, examples: Examples, read: _Read) -> NDArray[np.float64]:
        answer = _repeated(self.waits, examples)
        for rows, encoded in read.encoded:
            answer[rows] = self.network.quantiles(encoded, read.context[rows])
        return as_seconds(answer)

    def logit_parts(self, examples: Examples) -> NDArray[np.float64]:
        """What each of :attr:`sources` adds to the logits; # [rows, sources, states].

        0 for a row without history.
        """
        answer = np.zeros((len(examples), len(self.sources), len(self.states)))
        if self.sources:
            context = self._whole(examples, self.context.transform(examples))
            closed = self._closed(examples)
            for rows, encoded in self._encoded(examples):
                answer[rows] = self.network.parts(encoded, context[rows], closed[rows])
        return answer

    def _whole(self, examples: Examples, context: NDArray[np.float32]) -> NDArray[np.float32]:
        """A context with the states of the coarser periods behind it; # [rows, all columns]."""
        periods = self.config.encoder.coarse
        if not periods:
            return context
        rollups = [roll_up(examples, self.event_encoder.actions, period) for period in periods]
        return np.concatenate(
            [
                self.network.whole_context(context[rows], [each.batch(rows) for each in rollups])
                for rows in _slices(max(len(examples), 1), _ROWS)
            ]
        )

    def _closed(self, examples: Examples) -> NDArray[np.bool_]:
        return examples.states == len(self.states) - 1

    def encode(
        self, sequences: Sequences, first: NDArray[np.int64], last: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The encoder's state after each row's last events; # [rows, hidden].

        Parameters
        ----------
        sequences
            Events.
        first, last
            # [rows], flat positions of a user's first event and of the last one that is known
        """
        states = np.zeros((len(first), self.config.encoder.hidden), dtype=np.float32)
        for rows, encoded in self._encoded_windows(sequences, first, last):
            states[rows] = encoded
        return states

    def _encoded(
        self, examples: Examples
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Rows with history, some at a time, and the state after their last events."""
        known = np.flatnonzero(examples.lengths > 0)
        if len(known) == 0:
            return
        first, last = examples.first[known], examples.ends[known] - 1
        for rows, encoded in self._encoded_windows(examples.sequences, first, last):
            yield known[rows], encoded

    def _encoded_windows(
        self, sequences: Sequences, first: NDArray[np.int64], last: NDArray[np.int64]
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        events = self.event_encoder.transform(sequences)
        for rows in _slices(len(first), _ROWS):
            places, lengths = make_windows(first[rows], last[rows], self.config.encoder.window)
            places = places[:, : lengths.max()]
            hidden, _ = self.network.encode(*events.at(places))
            yield rows, hidden[np.arange(len(lengths)), lengths - 1]


@dataclass(frozen=True)
class _Read:
    """What all heads read.

    Attributes
    ----------
    context
        # [rows, all columns]
    encoded
        Rows with history, some at a time, and the state after their last events.
    """

    context: NDArray[np.float32]
    encoded: list[tuple[NDArray[np.int64], NDArray[np.float32]]]


def _repeated(answer: NDArray[np.float64], examples: Examples) -> NDArray[np.float64]:
    """The same answer for every row; # [rows, ...]."""
    return np.repeat(answer[None], len(examples), axis=0)


def _slices(total: int, size: int) -> Iterator[slice]:
    for begin in range(0, total, size):
        yield slice(begin, begin + size)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis; a logit of minus infinity has probability 0."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
