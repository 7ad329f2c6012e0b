"""Recurrent: LSTM, GRU or RNN over the last events, with the multi-scale features beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.calibration import intercept, platt, slope_over_time
from trainer.chunks import make_windows
from trainer.config import FitConfig, load_config, save_config
from trainer.context import ContextEncoder
from trainer.devices import choose_device
from trainer.event_inputs import EventEncoder
from trainer.examples import Examples
from trainer.features import Feature
from trainer.federated.training import train_by_clients
from trainer.head_training import logits_of_later, train_conversion
from trainer.instants import parse_duration
from trainer.models.base import Training, read_json, smoothed, write_json
from trainer.models.network import Network
from trainer.models.onnx_export import export_onnx
from trainer.ranking.fitting import fit_mixture
from trainer.ranking.log import CATEGORY, ITEM
from trainer.ranking.rankers import Ranker, load_mixtures, save_mixtures
from trainer.rollups import roll_up
from trainer.tensors import Targets, Tensors
from trainer.together import train_together
from trainer.training import Epoch, reproducible, settled
from trainer.training_set import prepared_rows
from trainer.waits import as_seconds

_BLOCKS = 4  # of time, of the training part
_ROWS = 1024  # rows of one forward pass of a prediction; results do not depend on it
_BLOCK = 64 * _ROWS  # rows of a prediction that are encoded at a time


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
        self.horizons: tuple[str, ...] = ()
        self.curve: list[Epoch] = []
        self.rankers: dict[str, Ranker] = {}

    @property
    def name(self) -> str:
        """The cell, which is what the model is known by in tables."""
        return self.config.encoder.cell

    def fit(self, training: Training) -> None:
        """Fit vocabularies and moments on the training part, then the weights."""
        if training.guarantee is not None:
            from trainer.private.fitting import fit_privately

            fit_privately(self, training)
            return
        config, examples = self.config, training.examples
        self.states = training.states
        self.horizons = training.horizons if config.tasks.conversion else ()
        self.event_encoder = EventEncoder.fit(
            examples.sequences,
            training.known_events,
            actions=training.states[:-1],
            config=config.encoder,
        )
        entering = config.features
        self.context = ContextEncoder.fit(
            training, self.features, entering.vocabulary, entering.clip, entering.user_row
        )
        device = choose_device(config.device)
        with reproducible(config.seed, config.threads):
            self.network = self.fresh_network()
            converted = training.converted[: len(self.horizons)]
            self.network.start_from(
                torch.from_numpy(smoothed(training.label_counts)).float(),
                torch.from_numpy(converted).float(),
                torch.from_numpy(np.log1p(training.waits)).float(),
            )
            self.network.to(device)
            after = self._conversion_is_trained_after
            with prepared_rows(self, training, device, conversions=not after) as prepared:
                self.means = prepared.means
                if training.clients is None:
                    self.curve = train_together(self.network, prepared, config, training)
                else:
                    self.curve = train_by_clients(
                        self.network,
                        *prepared.held(self, training, device),
                        config,
                        training.clients[examples.owners],
                        training.report,
                    )
            slopes = []
            if self.network.conversion is not None:
                tensors, fit, stop = prepared.held(self, training, device)
                tensors = settled(self.network, tensors)
                epochs = len(self.curve)
                if after:
                    epochs = train_conversion(self.network, tensors, fit, stop, config)
                slopes = self._slopes_over_time(training, tensors, [fit, stop], epochs)
            # Predictions are the processor's, whatever trained the weights: one run, one answer.
            self.network.to("cpu")
            if self.network.conversion is not None:
                self._calibrate(training, slopes)
            wanted = {ITEM: config.tasks.next_item, CATEGORY: config.tasks.next_category}
            self.rankers = {
                each.target: fit_mixture(each, config)
                for each in training.rankings
                if wanted[each.target]
            }

    @property
    def _conversion_is_trained_after(self) -> bool:
        """Whether the encoder is the next action's alone."""
        network = self.network
        both = network.head is not None and network.conversion is not None
        return both and not self.config.tasks.together

    @property
    def predicts_next_action(self) -> bool:
        """Whether there is a head of the next action; without it, everyone gets the prior."""
        return self.config.tasks.next_action > 0

    @property
    def predicts_next_time(self) -> bool:
        """Whether there is a head of the time to the next event."""
        return self.config.tasks.next_time > 0

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """Probability of each next state; a row without history gets the prior."""
        head = self.network.head
        prior = self.network.prior
        if head is None:
            return np.tile(prior.double().numpy(), (len(examples), 1))

        def chances(encoded: Tensor, context: Tensor, closed: Tensor) -> Tensor:
            return torch.softmax(head(encoded, context, closed).double(), dim=-1)

        return self._predict(examples, prior, chances)

    def predict_conversion(self, examples: Examples) -> NDArray[np.float64]:
        """Calibrated probability of a conversion within each horizon; # [rows, horizons]."""
        head = self.network.conversion
        shares = self.network.converted
        if head is None:
            return np.tile(shares.double().numpy(), (len(examples), 1))

        def chances(encoded: Tensor, context: Tensor, _closed: Tensor) -> Tensor:
            return torch.sigmoid(head.calibrated(encoded, context).double())

        return self._predict(examples, shares, chances)

    def predict_next_time(self, examples: Examples) -> NDArray[np.float64]:
        """Quantiles of the seconds to the next event; # [rows, levels]."""
        head = self.network.next_time
        assert head is not None

        def quantiles(encoded: Tensor, context: Tensor, _closed: Tensor) -> Tensor:
            return head(encoded, context).double()

        return as_seconds(self._predict(examples, self.network.waits, quantiles))

    @torch.no_grad()
    def _predict(
        self, examples: Examples, prior: Tensor, chances: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> NDArray[np.float64]:
        """Encode the last events of each row and ask a head; # [rows, outputs]."""
        answer = np.tile(prior.double().numpy(), (len(examples), 1))
        known = np.flatnonzero(examples.lengths > 0)
        self.network.eval()
        for start in range(0, len(known), _BLOCK):
            block = known[start : start + _BLOCK]
            tensors = settled(self.network, self.tensors(examples.take(block).narrowed()))
            for begin in range(0, len(block), _ROWS):
                rows = slice(begin, begin + _ROWS)
                encoded = self._encode(tensors, rows)
                found = chances(encoded, tensors.context[rows], tensors.closed[rows])
                answer[block[rows]] = found.numpy()
        return answer

    @torch.no_grad()
    def encode(self, tensors: Tensors) -> Tensor:
        """The state after the last events of every row, each with history; # [rows, hidden]."""
        self.network.eval()
        rows = range(0, len(tensors.last), _ROWS)
        parts = [self._encode(tensors, slice(begin, begin + _ROWS)) for begin in rows]
        return torch.cat(parts) if parts else torch.zeros(0, self.config.encoder.hidden)

    def _encode(self, tensors: Tensors, rows: slice) -> Tensor:
        """The state after the last events of some rows; # [rows, hidden]."""
        window = self.config.encoder.window
        places, lengths = make_windows(tensors.first[rows], tensors.last[rows], window)
        positions = torch.from_numpy(places[:, : lengths.max()])
        hidden, _ = self.network.encoder(*tensors.events(positions))
        return hidden[torch.arange(len(lengths)), torch.from_numpy(lengths - 1)]

    def _slopes_over_time(
        self, training: Training, tensors: Tensors, targets: list[Targets], epochs: int
    ) -> list[float]:
        """How much of what a head learns still holds later, one a horizon.

        Rows held out by user share the weeks, the courses and the campaigns of those learned from.
        So the training part is cut into blocks of time, and each but the first is asked of a head
        that has learned from the blocks before it.
        """
        instants = training.examples.instants
        labels = training.examples.conversions
        every = replace(targets[0], conversions=targets[0].conversions + targets[1].conversions)
        rows = every.conversion_rows
        cuts = np.sort(instants[rows])[np.arange(1, _BLOCKS) * len(rows) // _BLOCKS]
        lengths = [parse_duration(horizon, "horizons") for horizon in self.horizons]
        found, asked, folds = [], [], []
        for fold, begin in enumerate(cuts):
            end = cuts[fold + 1] if fold + 1 < len(cuts) else instants.max()
            earlier = np.column_stack([instants + length <= begin for length in lengths])
            later = rows[(instants[rows] > begin) & (instants[rows] <= end)]
            if not earlier[rows].any() or not len(later):
                continue
            answers = logits_of_later(
                self.network, tensors, every, earlier, later, self.config, epochs
            )
            found.append(answers.cpu().numpy())
            asked.append(later)
            folds.append(np.full(len(later), fold))
        if not found:
            return [1.0] * len(lengths)
        logits, later = np.concatenate(found), np.concatenate(asked)
        of_fold = np.concatenate(folds)
        slopes = []
        for place in range(len(lengths)):
            known = ~np.isnan(labels[later, place])
            of_horizon = logits[known, place], labels[later[known], place], of_fold[known]
            slopes.append(slope_over_time(*of_horizon))
        training.report(
            "conversion: of the logits, what held later is "
            + ", ".join(f"{slope:.2f}" for slope in slopes)
        )
        return slopes

    def _calibrate(self, training: Training, slopes: list[float]) -> None:
        """Settle each horizon's slope, and its intercept on the rows of early stopping."""
        chosen = np.flatnonzero(training.conversion_stop.any(axis=1))
        if len(chosen) == 0 or self.network.conversion is None:
            return
        held_out = training.examples.take(chosen)
        chances = self.predict_conversion(held_out)
        logits = np.log(chances) - np.log1p(-chances)
        for place in range(len(self.horizons)):
            rows = training.conversion_stop[chosen, place]
            own, labels = logits[rows, place], held_out.conversions[rows, place]
            slope = min(platt(own, labels)[0], slopes[place])
            settled = torch.tensor([slope, intercept(slope * own, labels)])
            self.network.conversion.calibration[place] = settled

    def targets(
        self,
        landmarks: NDArray[np.bool_],
        rows: NDArray[np.bool_],
        conversions: NDArray[np.bool_],
        waits: NDArray[np.bool_],
    ) -> Targets:
        """How much each label counts, of rows at landmarks and at events; # [rows] each."""
        weights = torch.where(torch.from_numpy(landmarks), self.config.landmark_weight, 1.0)
        tasks = self.config.tasks
        return Targets(
            next_action=weights * torch.from_numpy(rows & (tasks.next_action > 0)),
            conversions=weights[:, None] * torch.from_numpy(conversions & (tasks.conversion > 0)),
            next_time=weights * torch.from_numpy(waits & (tasks.next_time > 0)),
        )

    def save(self, folder: Path) -> None:
        """Write weights as plain tensors, the graphs that serving runs, and the rest as text."""
        torch.save(self.network.state_dict(), folder / self.WEIGHTS)
        save_config(self.config, folder / self.CONFIG)
        write_json(
            folder / self.VOCABULARIES,
            {
                "states": list(self.states),
                "horizons": list(self.horizons),
                "prior": self.network.prior.tolist(),
                "converted": self.network.converted.tolist(),
                "waits": self.network.waits.tolist() if self.predicts_next_time else [],
                "events": self.event_encoder.to_json(),
            },
        )
        save_mixtures(self.rankers, folder)
        head = self.network.head
        write_json(
            folder / self.FEATURES,
            {
                "features": [vars(feature) for feature in self.features],
                "columns": self.context.columns,
                "means": self.means.tolist(),
                "sources": list(head.sources) if head is not None else [],
                "context": self.context.to_json(),
            },
        )
        columns = len(self.context.columns)
        export_onnx(self.network, self.event_encoder.sizes["numbers"], columns, folder)

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
        model.horizons = tuple(vocabularies["horizons"])
        model.event_encoder = EventEncoder.from_json(vocabularies["events"])
        model.context = ContextEncoder.from_json(features["context"])
        model.means = np.array(features["means"], dtype=np.float32)
        model.network = model.fresh_network()
        weights = torch.load(folder / cls.WEIGHTS, weights_only=True)
        model.network.load_state_dict(weights)
        model.network.eval()
        model.rankers = load_mixtures(folder)
        return model

    def fresh_network(self) -> Network:
        """An untrained network of the configuration."""
        return Network(
            self.config,
            **self.event_encoder.sizes,
            groups=self.context.groups,
            states=len(self.states),
            horizons=len(self.horizons),
        )

    def tensors(self, examples: Examples) -> Tensors:
        """The examples as the network reads them."""
        events = self.event_encoder.transform(examples.sequences)
        context = self.context.transform(examples)
        return Tensors(
            actions=torch.from_numpy(events.actions),
            items=torch.from_numpy(events.items),
            categories=torch.from_numpy(events.categories),
            locations=torch.from_numpy(events.locations),
            numbers=torch.from_numpy(events.numbers),
            context=torch.from_numpy(context),
            closed=torch.from_numpy(examples.states == len(self.states) - 1),
            labels=torch.from_numpy(examples.labels),
            conversions=torch.from_numpy(np.nan_to_num(examples.conversions)),
            waits=torch.from_numpy(np.log1p(examples.waits)).float(),
            watched=torch.from_numpy(np.log1p(examples.watched)).float(),
            first=examples.first,
            last=examples.ends - 1,
            rollups=tuple(
                roll_up(examples, self.event_encoder.actions, period)
                for period in self.config.encoder.coarse
            ),
        )

    def whole_context(self, examples: Examples) -> Tensor:
        """The context with the states of the coarser periods; # [rows, all columns]."""
        return settled(self.network, self.tensors(examples)).context
