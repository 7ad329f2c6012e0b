"""Prediction for users: now, from the online store, or at an instant, from the offline one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.manifest import load_views
from feature_repo.sync import online_now
from trainer.columns import Columns as C
from trainer.examples import unlabelled
from trainer.features import (
    Feature,
    features_at,
    features_now,
    open_checked_store,
    published_features,
    sequence_features,
)
from trainer.instants import parse_instant, show_instant
from trainer.runs import Run
from trainer.sequences import Sequences


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
        Probability of each next state, by name, in the taxonomy's order.
    """

    user_id: str
    at: str
    cold: bool
    state: str | None
    next_action: dict[str, float]


class Predictor:
    """A fitted run beside the store that it reads.

    Parameters
    ----------
    home
        Home of the run.
    run
        The loaded run.

    Raises
    ------
    BadInput
        When the store no longer has the features that the run was fitted on.
    """

    def __init__(self, home: Path, run: Run) -> None:
        load_views(home)  # a home without a build says so before the store is blamed
        self.home = home
        self.run = run
        sequence = sequence_features(published_features(home))
        self.features: tuple[Feature, ...] = (*run.recurrent.features, *sequence)
        self.store = open_checked_store(home, self.features, run.name)

    def now(self, users: Sequence[str]) -> list[Prediction]:
        """Predict from the online store, at the instant for which it was loaded."""
        instant = parse_instant(online_now(self.home), "the online store's now")
        return self._answer(users, instant, features_now(self.store, users, self.features))

    def at(self, users: Sequence[str], instant: np.datetime64) -> list[Prediction]:
        """Predict from the offline store, with what was known at an instant."""
        instants = np.repeat(instant, len(users))
        values = features_at(self.store, np.array(users, dtype=object), instants, self.features)
        return self._answer(users, instant, values)

    def _answer(
        self, users: Sequence[str], instant: np.datetime64, values: pa.Table
    ) -> list[Prediction]:
        states = self.run.recurrent.states
        sequences = Sequences.from_arrays(np.array(users, dtype=object), values)
        instants = np.repeat(instant, len(users))
        examples = unlabelled(sequences, instants, values, states)
        probabilities = self.run.recurrent.predict_proba(examples)
        cold = examples.lengths == 0
        return [
            Prediction(
                user_id=user,
                at=show_instant(instant),
                cold=bool(cold[row]),
                state=None if cold[row] else states[examples.states[row]],
                next_action=dict(zip(states, probabilities[row].tolist(), strict=True)),
            )
            for row, user in enumerate(users)
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
