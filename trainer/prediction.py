"""Prediction for users: now, from the online store, or at an instant, from the offline one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feature_repo.manifest import load_views
from feature_repo.sync import online_now
from trainer.columns import Columns as C
from trainer.examples import Examples, unlabelled
from trainer.feature_rows import Layout
from trainer.features import (
    Feature,
    feature_rows_now,
    features_at,
    open_checked_store,
    published_features,
    sequence_features,
)
from trainer.instants import parse_instant, show_instant
from trainer.models.base import ConversionModel, answering
from trainer.runs import Run, ServedRun
from trainer.sequences import Sequences
from trainer.waits import LEVEL_NAMES


@dataclass(frozen=True)
class Prediction:
    """What comes next for one user.

    Attributes
    ----------
    user_id
        The user asked about.
    at
        The instant of the answer.
    cold
        True where the store knows no event of the user: the answer is then the prior.
    state
        The user's current state, or ``None`` for a cold one.
    next_action
        Probability of each next state, by name, in the taxonomy's order; the prior for everyone
        where the run has no head of the next action.
    conversion
        Probability of a conversion within each horizon, as ``converted_within_7d``; empty where the
        run's model predicts none.
    next_time
        Quantiles of the seconds to the next event, as ``p10`` to ``p90``; empty where the run's
        model predicts none.
    """

    user_id: str
    at: str
    cold: bool
    state: str | None
    next_action: dict[str, float]
    conversion: dict[str, float]
    next_time: dict[str, float]


class Predictor:
    """A fitted run beside the store that it reads.

    Parameters
    ----------
    home
        Home of the run.
    run
        The loaded run.

    Attributes
    ----------
    published
        Every feature of a user that the build published.
    features
        Those that a prediction reads: the model's signature, then the arrays of the last events.

    Raises
    ------
    BadInput
        When the store no longer has the features that the run was fitted on.
    """

    def __init__(self, home: Path, run: Run | ServedRun) -> None:
        load_views(home)  # a home without a build says so before the store is blamed
        self.home = home
        self.run = run
        self.published = published_features(home)
        sequence = sequence_features(self.published)
        self.features: tuple[Feature, ...] = (*run.features, *sequence)
        self._layout = Layout(self.features)
        self._ask = answering(run.model)
        horizons = run.model.horizons if isinstance(run.model, ConversionModel) else ()
        self._conversions = [C.converted_within(horizon) for horizon in horizons]
        self.store = open_checked_store(home, self.features, run.name)

    def now(self, users: Sequence[str]) -> list[Prediction]:
        """Predict from the online store, at the instant for which it was loaded."""
        return self.answer(self.examples(users))

    def at(self, users: Sequence[str], instant: np.datetime64) -> list[Prediction]:
        """Predict from the offline store, with what was known at an instant."""
        return self.answer(self.examples(users, instant))

    def examples(
        self,
        users: Sequence[str],
        instant: np.datetime64 | None = None,
        more: Sequence[Feature] = (),
    ) -> Examples:
        """Read what is known of users, now from the online store, or at an instant.

        Parameters
        ----------
        users
            Any number; one row each, in this order.
        instant
            Ask the offline store at this instant; without it, the online store.
        more
            Features to read beside those that the model needs.
        """
        wanted = tuple(dict.fromkeys((*self.features, *more))) if more else self.features
        names = np.array(users, dtype=object)
        if instant is None:
            instant = parse_instant(online_now(self.home), "the online store's now")
            layout = Layout(wanted) if more else self._layout
            values = feature_rows_now(self.store, users, layout)
        else:
            values = features_at(self.store, names, np.repeat(instant, len(users)), wanted)
        sequences = Sequences.from_arrays(names, values)
        instants = np.repeat(instant, len(users))
        return unlabelled(sequences, instants, values, self.run.states)

    def answer(self, examples: Examples) -> list[Prediction]:
        """Predict for what :meth:`examples` read."""
        states, said = self.run.states, self._ask(examples)
        nothing: list[dict[str, float]] = [{} for _ in range(len(examples))]
        conversions = waits = nothing
        if said.conversions is not None:
            rows = said.conversions.tolist()
            conversions = [dict(zip(self._conversions, row, strict=True)) for row in rows]
        if said.next_time is not None:
            waits = [dict(zip(LEVEL_NAMES, row, strict=True)) for row in said.next_time.tolist()]
        chances = said.next_action.tolist()
        cold = examples.lengths == 0
        return [
            Prediction(
                user_id=user,
                at=show_instant(examples.instants[row]),
                cold=bool(cold[row]),
                state=None if cold[row] else states[examples.states[row]],
                next_action=dict(zip(states, chances[row], strict=True)),
                conversion=conversions[row],
                next_time=waits[row],
            )
            for row, user in enumerate(examples.users)
        ]


def busiest_user(home: Path) -> str:
    """A user worth showing: the one with most events among those active last.

    Reads the published log, so that a demonstration needs no name.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from feature_repo.home import label_path

    events = pq.read_table(label_path(home, "events"), columns=[C.USER, C.INSTANT])
    recent = events.sort_by([(C.INSTANT, "descending")]).slice(0, 1000)
    counts = recent.group_by(C.USER).aggregate([(C.INSTANT, "count")])
    top = pc.max(counts[f"{C.INSTANT}_count"])
    names = counts.filter(pc.equal(counts[f"{C.INSTANT}_count"], top))[C.USER].to_pylist()
    return min(names)


def log_end(home: Path) -> np.datetime64:
    """The last accepted event's instant."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from feature_repo.errors import BadInput
    from feature_repo.home import label_path

    path = label_path(home, "events")
    if not path.is_file():
        raise BadInput(f"{path}: there is no such table yet; run trainer build")
    last = pc.max(pq.read_table(path, columns=[C.INSTANT])[C.INSTANT])
    if not last.is_valid:
        raise BadInput(f"{path}: the log has no accepted event, so it has no end to load")
    return np.datetime64(last.as_py(), "us")
