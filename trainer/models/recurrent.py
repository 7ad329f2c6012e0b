"""Recurrent: LSTM, GRU or RNN over the last events, with the multi-scale features beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.chunks import make_windows
from trainer.config import FitConfig, load_config
from trainer.event_inputs import EventEncoder
from trainer.examples import Examples
from trainer.features import Feature
from trainer.inputs import FeatureEncoder
from trainer.models.base import Training, read_json, smoothed, write_json
from trainer.models.network import NextActionNetwork
from trainer.training import Epoch, Tensors, reproducible, train

_ROWS = 1024  # rows of one forward pass of a prediction; results do not depend on it


class Recurrent:
    """The sequence model behind the interface of :class:`trainer.models.base.Model`.

    Training reads long chunks; a prediction always runs the last ``encoder.window`` events from a
    zero state, so that evaluating, predicting and serving give the same numbers.

    Parameters
    ----------
    config
        The fit's configuration.
    features
        The features that enter, in order.
    """

    WEIGHTS, CONFIG = "weights.pt", "config.yml"
    VOCABULARIES, FEATURES = "vocabularies.json", "features.json"

    def __init__(self, config: FitConfig, features: tuple[Feature, ...]) -> None:
        self.config = config
        self.features = features
        self.states: tuple[str, ...] = ()
        self.curve: list[Epoch] = []

    @property
    def name(self) -> str:
        """The cell, which is what the model is known by in tables."""
        return self.config.encoder.cell

    def fit(self, training: Training) -> None:
        """Fit vocabularies and moments on the training part, then the weights."""
        config, examples = self.config, training.examples
        self.states = training.states
        self.event_encoder = EventEncoder.fit(
            examples.sequences,
            training.known_events,
            actions=training.states[:-1],
            categories=config.encoder.categories,
        )
        self.feature_encoder = FeatureEncoder.fit(
            examples.features,
            {feature.name: feature.type for feature in self.features},
            examples.instants,
            config.features.vocabulary,
            config.features.clip,
        )
        tensors = self._tensors(examples)
        with reproducible(config.seed, config.threads):
            self.network = self._fresh_network()
            self.network.start_from(torch.from_numpy(smoothed(training.label_counts)).float())
            self.curve = train(
                self.network, tensors, training.fit, training.stop, config, training.report
            )

    @torch.no_grad()
    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """Probability of each next state; a row without history gets the prior."""
        answer = np.tile(self.network.prior.double().numpy(), (len(examples), 1))
        known = np.flatnonzero(examples.lengths > 0)
        if len(known) == 0:
            return answer
        examples = examples.take(known)
        tensors = self._tensors(examples)
        self.network.eval()
        for begin in range(0, len(known), _ROWS):
            rows = slice(begin, begin + _ROWS)
            window = self.config.encoder.window
            places, lengths = make_windows(tensors.first[rows], tensors.last[rows], window)
            positions = torch.from_numpy(places[:, : lengths.max()])
            hidden, _ = self.network.encoder(
                tensors.actions[positions],
                tensors.categories[positions],
                tensors.numbers[positions],
            )
            encoded = hidden[torch.arange(len(lengths)), torch.from_numpy(lengths - 1)]
            logits = self.network.logits(encoded, tensors.context[rows], tensors.closed[rows])
            answer[known[rows]] = torch.softmax(logits.double(), dim=-1).numpy()
        return answer

    def save(self, folder: Path) -> None:
        """Write weights as plain tensors, and everything else as text."""
        import yaml

        torch.save(self.network.state_dict(), folder / self.WEIGHTS)
        config = yaml.safe_dump(self.config.model_dump(), sort_keys=False)
        (folder / self.CONFIG).write_text(config, encoding="utf-8")
        write_json(
            folder / self.VOCABULARIES,
            {"states": list(self.states), "events": self.event_encoder.to_json()},
        )
        write_json(
            folder / self.FEATURES,
            {
                "features": [vars(feature) for feature in self.features],
                "columns": self.feature_encoder.columns,
                "encoder": self.feature_encoder.to_json(),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote; no pickle is ever executed."""
        features = read_json(folder / cls.FEATURES)
        vocabularies = read_json(folder / cls.VOCABULARIES)
        model = cls(
            load_config(folder / cls.CONFIG),
            tuple(Feature(**feature) for feature in features["features"]),
        )
        model.states = tuple(vocabularies["states"])
        model.event_encoder = EventEncoder.from_json(vocabularies["events"])
        model.feature_encoder = FeatureEncoder.from_json(features["encoder"])
        model.network = model._fresh_network()
        weights = torch.load(folder / cls.WEIGHTS, weights_only=True)
        model.network.load_state_dict(weights)
        model.network.eval()
        return model

    def _fresh_network(self) -> NextActionNetwork:
        return NextActionNetwork(
            self.config.encoder,
            self.config.head,
            actions=len(self.event_encoder.actions),
            categories=len(self.event_encoder.categories),
            numbers=EventEncoder.NUMBERS,
            context=len(self.feature_encoder.columns),
            states=len(self.states),
        )

    def _tensors(self, examples: Examples) -> Tensors:
        events = self.event_encoder.transform(examples.sequences)
        context = self.feature_encoder.transform(examples.features, examples.instants)
        return Tensors(
            actions=torch.from_numpy(events.actions),
            categories=torch.from_numpy(events.categories),
            numbers=torch.from_numpy(events.numbers),
            context=torch.from_numpy(context),
            closed=torch.from_numpy(examples.states == len(self.states) - 1),
            labels=torch.from_numpy(examples.labels),
            weights=torch.where(
                torch.from_numpy(examples.landmarks), self.config.landmark_weight, 1.0
            ),
            first=examples.first,
            last=examples.ends - 1,
        )
