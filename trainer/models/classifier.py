"""What logistic regression and boosting share: the context as input, the states as classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from trainer.config import FitConfig
from trainer.context import ContextEncoder
from trainer.examples import Examples
from trainer.features import Feature
from trainer.models.base import Training, read_json, smoothed, write_json
from trainer.user_rows import without_leave_twice

_PRIOR_SHARE = 1e-3  # of every answer: a state that training hardly saw is not impossible


@dataclass(frozen=True)
class ClassRows:
    """Rows to fit a classifier on, and rows that choose between fits.

    Attributes
    ----------
    matrix, labels, weights
        # [rows, columns], # [rows] and # [rows]; labels are places among the classes, each of which
        occurs
    held_matrix, held_labels, held_weights
        The same of the rows that choose; there may be none.
    """

    matrix: NDArray
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    held_matrix: NDArray
    held_labels: NDArray[np.int64]
    held_weights: NDArray[np.float64]

    def held_loss(self, probabilities: NDArray) -> float:
        """Weighted log-loss of # [held, classes]; 0 without rows."""
        if len(self.held_labels) == 0:
            return 0.0
        own = np.take_along_axis(probabilities, self.held_labels[:, None], axis=1)[:, 0]
        return float(-np.average(np.log(np.maximum(own, 1e-12)), weights=self.held_weights))


class Classifier(Protocol):
    """A fitted classifier."""

    @classmethod
    def fit(cls, rows: ClassRows, config: FitConfig) -> Self:
        """Fit on the rows."""

    def probabilities(self, matrix: NDArray) -> NDArray[np.float64]:
        """Probability of each class; # [rows, classes]."""

    def to_arrays(self) -> dict[str, NDArray]:
        """The fitted state."""

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Self:
        """What :meth:`to_arrays` described."""


@dataclass
class FittedClasses:
    """A classifier over the classes that training saw.

    Attributes
    ----------
    prior
        # [classes], shares in the training part, unseen classes too
    seen
        The classes that occurred.
    classifier
        ``None`` where fewer than two occurred.
    """

    prior: NDArray[np.float64]
    seen: NDArray[np.int64]
    classifier: Classifier | None

    @classmethod
    def fit(
        cls,
        kind: type[Classifier],
        matrix: NDArray,
        labels: NDArray[np.int64],
        weights: NDArray,
        fit: NDArray[np.bool_],
        stop: NDArray[np.bool_],
        prior: NDArray,
        config: FitConfig,
    ) -> FittedClasses:
        """Fit on the rows of one mask; those of the other choose. # [rows] each."""
        rows = np.flatnonzero(fit & (weights > 0))
        seen = np.unique(labels[rows])
        if len(seen) < 2:
            return cls(prior, seen, None)
        place = np.searchsorted(seen, labels)
        held = np.flatnonzero(stop & np.isin(labels, seen) & (weights > 0))
        class_rows = ClassRows(
            matrix[rows], place[rows], weights[rows], matrix[held], place[held], weights[held]
        )
        return cls(prior, seen, kind.fit(class_rows, config))

    def probabilities(self, matrix: NDArray) -> NDArray[np.float64]:
        """Probability of each class, with a little of the prior; # [rows, classes]."""
        answer = np.zeros((len(matrix), len(self.prior)))
        if self.classifier is None:
            answer[:] = self.prior
        else:
            answer[:, self.seen] = self.classifier.probabilities(matrix)
        return (1 - _PRIOR_SHARE) * answer + _PRIOR_SHARE * self.prior


class ContextClassifier:
    """The next state and conversions by the context alone, without the sequence.

    Parameters
    ----------
    config
        The fit's configuration.
    features
        The features that enter, in order.
    """

    name: ClassVar[str]
    KIND: ClassVar[type[Classifier]]

    context: ContextEncoder

    def __init__(self, config: FitConfig, features: Sequence[Feature]) -> None:
        self.config = config
        self.features = tuple(features)
        self.horizons: tuple[str, ...] = ()
        self.tasks: list[FittedClasses] = []  # the next action, then one a horizon

    def fit(self, training: Training) -> None:
        """Fit the context on the training part, then a classifier a task; held-out rows choose."""
        features = self.config.features
        self.context = ContextEncoder.fit(
            training, self.features, features.vocabulary, features.clip, features.user_row
        )
        self.horizons = training.horizons
        examples = training.examples
        matrix = self.context.transform(examples)
        weights = np.where(examples.landmarks, self.config.landmark_weight, 1.0)
        prior = smoothed(training.label_counts)
        targets = [(examples.labels, training.fit, training.stop, prior)]
        for place, share in enumerate(training.converted):
            known = np.nan_to_num(examples.conversions[:, place]).astype(np.int64)
            fit, stop = training.conversion_fit[:, place], training.conversion_stop[:, place]
            targets.append((known, fit, stop, np.array([1 - share, share])))
        self.tasks = [
            FittedClasses.fit(self.KIND, matrix, labels, weights, fit, stop, prior, self.config)
            for labels, fit, stop, prior in targets
        ]

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """Probability of each next state; # [rows, states]."""
        next_action = self.tasks[0]
        answer = next_action.probabilities(self.context.transform(examples))
        answer[examples.lengths == 0] = next_action.prior
        return without_leave_twice(answer, examples.states)

    def predict_conversion(self, examples: Examples) -> NDArray[np.float64]:
        """Probability of a conversion within each horizon; # [rows, horizons]."""
        matrix = self.context.transform(examples)
        answer = np.zeros((len(examples), len(self.horizons)))
        for place, task in enumerate(self.tasks[1:]):
            answer[:, place] = task.probabilities(matrix)[:, 1]
            answer[examples.lengths == 0, place] = task.prior[1]
        return answer

    def save(self, folder: Path) -> None:
        """Write ``<name>.json`` and the classifiers' arrays as plain tensors, ``<name>.pt``."""
        import torch

        write_json(
            folder / f"{self.name}.json",
            {
                "config": self.config.model_dump(),
                "features": [vars(feature) for feature in self.features],
                "horizons": list(self.horizons),
                "context": self.context.to_json(),
                "tasks": [
                    {"prior": task.prior.tolist(), "seen": task.seen.tolist()}
                    for task in self.tasks
                ],
            },
        )
        tensors = {
            f"{place}.{name}": torch.from_numpy(np.ascontiguousarray(array))
            for place, task in enumerate(self.tasks)
            if task.classifier is not None
            for name, array in task.classifier.to_arrays().items()
        }
        torch.save(tensors, folder / f"{self.name}.pt")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote; no pickle is ever executed."""
        import torch

        content = read_json(folder / f"{cls.name}.json")
        model = cls(
            FitConfig.model_validate(content["config"]),
            [Feature(**feature) for feature in content["features"]],
        )
        model.context = ContextEncoder.from_json(content["context"])
        model.horizons = tuple(content["horizons"])
        tensors = torch.load(folder / f"{cls.name}.pt", weights_only=True)
        for place, task in enumerate(content["tasks"]):
            own = {
                name.partition(".")[2]: tensor.numpy()
                for name, tensor in tensors.items()
                if name.partition(".")[0] == str(place)
            }
            seen = np.array(task["seen"], dtype=np.int64)
            classifier = cls.KIND.from_arrays(own) if own else None
            model.tasks.append(FittedClasses(np.array(task["prior"]), seen, classifier))
        return model
