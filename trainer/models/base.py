"""The interface of a model, and what it is fitted on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Examples
from trainer.progress import Track, untracked
from trainer.team import ALONE, Team
from trainer.waits import censored_quantiles

if TYPE_CHECKING:
    from trainer.checkpoints import Checkpoint  # with torch, which a server does without
    from trainer.private.guarantee import Guarantee
    from trainer.training import Epoch

if TYPE_CHECKING:
    from trainer.ranking.fitting import RankingTraining

Report = Callable[[str], None]


def silent(_line: str) -> None:
    """Report nothing."""


def unwatched(_epoch: Epoch) -> None:
    """Let an epoch pass."""


@dataclass(frozen=True)
class Training:
    """What a model may learn from: the training part of the split and nothing later.

    Attributes
    ----------
    examples
        The training part, whole.
    fit, stop
        # [rows] of ``examples``: rows with a next action to learn from, and rows whose next action
        says when to stop, and is learned from only when that is known
    conversion_fit, conversion_stop
        # [rows, horizons]: the same of the conversions
    horizons
        Those within which a conversion is labelled, as ``7d``.
    known_events
        # [events] of ``examples.sequences``: those that vocabularies and moments may see
    transition_counts
        # [states, states], the population's transitions in force at ``train_end``
    states
        Names of the states, in the order of every probability vector.
    session_gap
        A longer pause than this ends a session.
    wait_fit, wait_stop
        # [rows]: the same of the time to the next event
    report
        Takes a line of progress.
    track
        Shows how far a long loop is.
    checkpoint
        Where a long fit leaves what it needs to go on after a kill; ``None`` leaves nothing.
    watch
        Takes each epoch of a long fit, and may end it by an exception.
    rankings
        What may be learned of the next item and the next category, where the dataset has them.
    team
        The processes that train together.
    scratch
        A folder for what does not fit into memory, which every process can read; by default one
        for temporary files.
    clients
        # [users] of the sequences, whose client each is; ``None`` where one place has all rows
    guarantee
        The budget of a private fit, whose counts have noise; ``None`` where it is none.
    """

    examples: Examples
    fit: NDArray[np.bool_]
    stop: NDArray[np.bool_]
    known_events: NDArray[np.bool_]
    transition_counts: NDArray[np.int64]
    states: tuple[str, ...]
    session_gap: np.timedelta64
    conversion_fit: NDArray[np.bool_]
    conversion_stop: NDArray[np.bool_]
    wait_fit: NDArray[np.bool_]
    wait_stop: NDArray[np.bool_]
    horizons: tuple[str, ...] = ()
    report: Report = silent
    track: Track = untracked
    checkpoint: Checkpoint | None = None
    watch: Callable[[Epoch], None] = unwatched
    rankings: tuple[RankingTraining, ...] = ()
    team: Team = ALONE
    scratch: Path | None = None
    clients: NDArray[np.int64] | None = None
    guarantee: Guarantee | None = None

    @property
    def held_out(self) -> Examples:
        """Rows that may choose between fits: those of early stopping, else the whole part."""
        return self.examples.take(self.stop if self.stop.any() else self.fit)

    @property
    def label_counts(self) -> NDArray:
        """Rows of each next state at event instants: landmarks are as many as one makes them.

        In a private fit they are what the noised transitions say.
        """
        if self.guarantee is not None:
            return self.transition_counts.sum(axis=0)
        examples = self.examples
        labels = examples.labels[~examples.landmarks & (examples.labels >= 0)]
        return np.bincount(labels, minlength=len(self.states))

    @property
    def converted(self) -> NDArray[np.float64]:
        """Smoothed share of rows with a conversion; # [horizons], none in a private fit."""
        if self.guarantee is not None:
            return np.zeros(0)
        labels = self.examples.conversions
        known = ~np.isnan(labels)
        return (np.nansum(labels, axis=0, dtype=np.float64) + 0.5) / (known.sum(axis=0) + 1.0)

    @property
    def waits(self) -> NDArray[np.float64]:
        """Quantiles of the seconds to the next event at event instants; # [levels].

        Empty where that is no task.
        """
        examples = self.examples
        rows = (examples.watched > 0) & ~examples.landmarks
        if not rows.any():
            return np.zeros(0)
        return censored_quantiles(examples.waits[rows], examples.watched[rows])

    @property
    def waits_by_state(self) -> NDArray[np.float64]:
        """The same by current state, at all instants, and at last those of :attr:`waits`.

        Returns
        -------
        quantiles
            # [states + 1, levels]; a state in which nobody was watched has the last row
        """
        examples = self.examples
        answer = np.tile(self.waits, (len(self.states) + 1, 1))
        for state in range(len(self.states)):
            rows = (examples.watched > 0) & (examples.states == state)
            if rows.any():
                answer[state] = censored_quantiles(examples.waits[rows], examples.watched[rows])
        return answer


class Predicting(Protocol):
    """What answers with the next action."""

    @property
    def name(self) -> str:
        """What tables and ``metrics.json`` call it."""

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """Probability of each next state; # [rows, states], rows sum to 1."""


class Model(Predicting, Protocol):
    """A model of the next action."""

    def fit(self, training: Training) -> None:
        """Learn from the training part."""

    def save(self, folder: Path) -> None:
        """Write the fitted state into ``folder``, as text or plain tensors."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model that :meth:`save` wrote into ``folder``."""


@runtime_checkable
class ConversionModel(Protocol):
    """A model that also says whether a conversion follows within each horizon."""

    horizons: tuple[str, ...]

    def predict_conversion(self, examples: Examples) -> NDArray[np.float64]:
        """Probability of a conversion within each horizon; # [rows, horizons]."""


@runtime_checkable
class NextTimeModel(Protocol):
    """A model that also says how long it takes to the next event."""

    @property
    def predicts_next_time(self) -> bool:
        """Whether it was fitted to."""

    def predict_next_time(self, examples: Examples) -> NDArray[np.float64]:
        """Quantiles of the seconds to the next event, ascending; # [rows, levels].

        The levels are :data:`trainer.waits.LEVELS`.
        """


@dataclass(frozen=True)
class Outputs:
    """What a model says of rows.

    Attributes
    ----------
    next_action
        # [rows, states]
    conversions
        # [rows, horizons]; ``None`` where it predicts none
    next_time
        # [rows, levels], seconds; ``None`` where it predicts none
    """

    next_action: NDArray[np.float64]
    conversions: NDArray[np.float64] | None = None
    next_time: NDArray[np.float64] | None = None


@runtime_checkable
class AnsweringAtOnce(Protocol):
    """A model whose heads read the same, so that asked for all of them it reads that once."""

    def predict_all(self, examples: Examples) -> Outputs:
        """What each of its heads says."""


def answering(model: Predicting) -> Callable[[Examples], Outputs]:
    """What asks a model for everything that it says of rows."""
    if isinstance(model, AnsweringAtOnce):
        return model.predict_all
    converting = model if isinstance(model, ConversionModel) and model.horizons else None
    timing = model if isinstance(model, NextTimeModel) and model.predicts_next_time else None

    def answer(examples: Examples) -> Outputs:
        return Outputs(
            model.predict_proba(examples),
            None if converting is None else converting.predict_conversion(examples),
            None if timing is None else timing.predict_next_time(examples),
        )

    return answer


class TextModel:
    """A model whose whole fitted state is one file of text, ``<name>.json``."""

    name: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write ``<name>.json``."""
        write_json(folder / f"{self.name}.json", self.to_json())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote into ``folder``."""
        return cls.from_json(read_json(folder / f"{cls.name}.json"))


def smoothed(counts: NDArray, prior: float = 1.0) -> NDArray[np.float64]:
    """Probabilities ``(count + prior / states) / (total + prior)`` along the last axis."""
    counts = np.asarray(counts, dtype=np.float64)
    states = counts.shape[-1]
    return (counts + prior / states) / (counts.sum(axis=-1, keepdims=True) + prior)


def write_json(path: Path, content: Any) -> None:
    """Write JSON that a person can read and a diff can compare."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read what :func:`write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
