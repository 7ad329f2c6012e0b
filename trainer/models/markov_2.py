"""Markov chain of order 2, backed off from the user to the population and from order 2 to 1."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainer.context import population_rows
from trainer.examples import Examples, state_indices
from trainer.models.base import TextModel, Training
from trainer.steps import Steps, make_steps
from trainer.user_rows import backed_off, best_strength, own_counts, without_leave_twice

HISTORY = 50  # events in which the user's own pairs are counted: what an online store keeps


class Markov2(TextModel):
    """The next state given the last two.

    Four counts are mixed, each backed off to the one before: the population's transitions, its
    pairs, the user's own transitions, and the user's own pairs within his last 50 events.

    Parameters
    ----------
    states, session_gap
        Of the dataset.
    population
        # [states + 1, states], see :func:`trainer.context.population_rows`
    pairs
        # [states + 1, states, states], the population's counts by the state before (last: none),
        the state and the next
    pair_strength, own_strength
        How many transitions the row counts as that is backed off to.
    """

    name = "markov_2"

    def __init__(
        self,
        states: tuple[str, ...] = (),
        session_gap: np.timedelta64 = np.timedelta64(0, "us"),  # noqa: B008 - immutable
        population: NDArray | None = None,
        pairs: NDArray | None = None,
        pair_strength: float = 5.0,
        own_strength: float = 20.0,
    ) -> None:
        size = len(states)
        self.states = states
        self.session_gap = session_gap
        self.population = np.zeros((size + 1, size)) if population is None else population
        self.pairs = np.zeros((size + 1, size, size), np.int64) if pairs is None else pairs
        self.pair_strength = pair_strength
        self.own_strength = own_strength

    def fit(self, training: Training) -> None:
        """Count the pairs of the training part's events, then choose the strengths."""
        self.states, self.session_gap = training.states, training.session_gap
        self.population = population_rows(training)
        self.pairs = self._count_pairs(training)
        judged = training.held_out
        judged = judged.take((judged.labels >= 0) & ~judged.landmarks)
        if len(judged) == 0:
            return
        before, own, own_pairs = self._histories(judged)

        def mixed(pair_strength: float, own_strength: float) -> NDArray:
            rows = self._mix(before, judged.states, own, own_pairs, pair_strength, own_strength)
            return without_leave_twice(rows, judged.states)

        chosen = self.own_strength
        self.pair_strength = best_strength(lambda value: mixed(value, chosen), judged.labels)
        pair = self.pair_strength
        self.own_strength = best_strength(lambda value: mixed(pair, value), judged.labels)

    def predict_proba(self, examples: Examples) -> NDArray[np.float64]:
        """The mixed row of each example; # [rows, states]."""
        before, own, own_pairs = self._histories(examples)
        strengths = (self.pair_strength, self.own_strength)
        rows = self._mix(before, examples.states, own, own_pairs, *strengths)
        return without_leave_twice(rows, examples.states)

    def _mix(
        self,
        before: NDArray,
        now: NDArray,
        own: NDArray,
        own_pairs: NDArray,
        pair_strength: float,
        own_strength: float,
    ) -> NDArray[np.float64]:
        chances = self.population[now]  # -1, no history, is the last row
        pairs = np.where((now >= 0)[:, None], self.pairs[before, np.maximum(now, 0)], 0)
        chances = backed_off(pairs, chances, pair_strength)
        chances = backed_off(own, chances, own_strength)
        return backed_off(own_pairs, chances, own_strength)

    def _histories(
        self, examples: Examples
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The state before the current one, and the user's own counts of order 1 and 2."""
        sequences, size = examples.sequences, len(self.states)
        leave = size - 1
        actions = state_indices(sequences.actions, self.states)
        steps = make_steps(actions, sequences.gaps_ms, sequences.offsets, leave, self.session_gap)
        before = np.full(len(examples), size)
        own_pairs = np.zeros((len(examples), size), dtype=np.int64)
        known = np.flatnonzero(examples.lengths > 0)
        if len(known):
            chosen = examples.take(known)
            last = chosen.ends - 1
            oldest = steps.of_event[np.maximum(chosen.first, last - HISTORY + 1)]
            now = steps.of_event[last]
            before[known] = _state_before(steps, now, oldest, chosen.states == leave, size)
            own_pairs[known] = _own_pairs(steps, now, oldest, before[known], chosen.states, size)
        return before, own_counts(examples, size), own_pairs

    def _count_pairs(self, training: Training) -> NDArray[np.int64]:
        """Pairs among the events that the training part knows; # [states + 1, states, states]."""
        sequences, size = training.examples.sequences, len(training.states)
        known = training.known_events
        offsets = np.concatenate([[0], np.cumsum(known)])[sequences.offsets]
        actions = state_indices(sequences.actions, training.states)[known]
        steps = make_steps(
            actions, sequences.gaps_ms[known], offsets, size - 1, training.session_gap
        )
        places = np.arange(1, len(steps.firsts))
        places = places[steps.starts[places] < places]  # each has one before it
        before = np.where(
            places - 2 >= steps.starts[places], steps.lasts[np.maximum(places - 2, 0)], size
        )
        counts = np.zeros((size + 1, size, size), dtype=np.int64)
        np.add.at(counts, (before, steps.lasts[places - 1], steps.firsts[places]), 1)
        # The last session of a user is followed by no step, and has closed or not.
        assert sequences.instants is not None
        instants = sequences.instants[known]
        if len(instants):
            final = offsets[1:][np.diff(offsets) > 0] - 1
            final = final[instants[final] + training.session_gap <= instants.max()]
            now = steps.of_event[final]
            begun = steps.starts[now] < now
            before = np.where(begun, steps.lasts[np.maximum(now - 1, 0)], size)
            leave = np.full(len(now), size - 1)
            np.add.at(counts, (before, steps.lasts[now], leave), 1)
        return counts

    def to_json(self) -> dict[str, Any]:
        """Counts, rows and strengths."""
        return {
            "states": list(self.states),
            "session_gap_us": int(self.session_gap / np.timedelta64(1, "us")),
            "population": self.population.tolist(),
            "pairs": self.pairs.tolist(),
            "pair_strength": self.pair_strength,
            "own_strength": self.own_strength,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` described."""
        return cls(
            tuple(content["states"]),
            np.timedelta64(content["session_gap_us"], "us"),
            np.array(content["population"]),
            np.array(content["pairs"]),
            content["pair_strength"],
            content["own_strength"],
        )


def _state_before(
    steps: Steps, now: NDArray, oldest: NDArray, closed: NDArray, none: int
) -> NDArray[np.int64]:
    """The state before the current one: of a closed session, the last action."""
    earlier = now - 1
    before = np.where(earlier >= oldest, steps.lasts[np.maximum(earlier, 0)], none)
    return np.where(closed, steps.lasts[now], before)


def _own_pairs(
    steps: Steps, now: NDArray, oldest: NDArray, before: NDArray, states: NDArray, size: int
) -> NDArray[np.int64]:
    """What followed the same two states within the last events; # [rows, size]."""
    counts = np.zeros((len(now), size), dtype=np.int64)
    for back in range(int((now - oldest).max()) - 1):
        third = now - back
        inside = np.flatnonzero(third - 2 >= oldest)
        third = third[inside]
        same = steps.lasts[third - 1] == states[inside]
        same &= steps.lasts[third - 2] == before[inside]
        # One step back is one row of each example at most: no index is repeated.
        counts[inside[same], steps.firsts[third[same]]] += 1
    return counts
