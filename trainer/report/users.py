"""Users that a report shows, and why each was predicted what he was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.examples import Examples
from trainer.instants import show_instant
from trainer.metrics import row_log_loss
from trainer.models.recurrent import Recurrent
from trainer.reasons import Reasons, explain
from trainer.report.pictures import span

# Losses of the rows that are shown, as quantiles: the best, the typical and the worst, but for the
# tails, whose rows are accidents.
KINDS = ((0.1, "an easy one"), (0.5, "a typical one"), (0.95, "a surprise"))
_HISTORY = 5  # events at least: fewer leave nothing to explain


@dataclass(frozen=True)
class ShownUser:
    """One instant of one user of the test part.

    Attributes
    ----------
    kind
        Which of :data:`KINDS`.
    user, at, state, actual
        Who, when, in which state, and what came next.
    chances
        Probability of each state.
    reasons
        Of the state that came next.
    ages
        How long before the instant each of the events in `reasons` was.
    """

    kind: str
    user: str
    at: str
    state: str
    actual: str
    chances: dict[str, float]
    reasons: Reasons
    ages: list[str]

    @property
    def events_are_silent(self) -> bool:
        """Whether no event moves the probability by as much as it is shown with."""
        probability = self.reasons.probability
        return all(abs(each.without - probability) < 5e-4 for each in self.reasons.events)


def shown_users(model: Recurrent, examples: Examples) -> list[ShownUser]:
    """An easy, a typical and a surprising instant, each of another user.

    Parameters
    ----------
    model
        A fitted sequence model with a head of the next action.
    examples
        Labelled rows at event instants.
    """
    long = np.flatnonzero(examples.lengths >= _HISTORY)
    if not len(long):
        long = np.flatnonzero(examples.lengths > 0)
    if not len(long):
        return []
    chances = model.predict_proba(examples.take(long))
    losses = row_log_loss(chances, examples.labels[long])
    chosen: list[tuple[str, int]] = []
    users: set[int] = set()
    for share, kind in KINDS:
        order = np.argsort(np.abs(losses - np.quantile(losses, share)), kind="stable")
        fresh = [place for place in order if int(examples.owners[long[place]]) not in users]
        if fresh:
            chosen.append((kind, int(fresh[0])))
            users.add(int(examples.owners[long[fresh[0]]]))
    return [
        _shown(model, examples, kind, int(long[place]), chances[place]) for kind, place in chosen
    ]


def _shown(
    model: Recurrent, examples: Examples, kind: str, row: int, chances: NDArray
) -> ShownUser:
    example = examples.take(np.array([row]))
    actual = model.states[int(example.labels[0])]
    reasons = explain(model, example, actual)
    instants = examples.sequences.instants
    assert instants is not None
    last = int(example.ends[0])
    before = instants[last - len(reasons.events) : last][::-1]
    return ShownUser(
        kind=kind,
        user=str(example.users[0]),
        at=show_instant(example.instants[0].astype("datetime64[s]")),
        state=model.states[int(example.states[0])],
        actual=actual,
        chances=dict(zip(model.states, chances.tolist(), strict=True)),
        reasons=reasons,
        ages=[age(example.instants[0] - at) for at in before],
    )


def age(passed: np.timedelta64) -> str:
    """How long ago, roughly: ``now``, ``3 min ago``, ``2 d ago``."""
    seconds = passed / np.timedelta64(1, "s")
    return "now" if seconds < 1 else f"{span(seconds)} ago"
