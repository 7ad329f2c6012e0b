"""Examples: what was known of a user at an instant, and what came next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.dataset import Taxonomy
from trainer.instants import Instants, show_instant
from trainer.sequences import Sequences
from trainer.splits import Cuts, Parts, choose_cuts, split_rows

UNKNOWN = -1
FetchFeatures = Callable[[NDArray, Instants], pa.Table]


@dataclass(frozen=True)
class Examples:
    """Rows to learn from or to predict for.

    Attributes
    ----------
    sequences
        Events of the users, shared by all rows.
    owners
        # [rows], the user of each row as an index into ``sequences.users``
    ends
        # [rows], flat position after the last event known at the instant
    instants
        # [rows]
    features
        # [rows], one column a feature
    states
        # [rows], the user's current state as an index: the last action, or ``leave`` where the
        session is closed; -1 where there is no history
    labels
        # [rows], the next state as an index; -1 where unknown
    landmarks
        # [rows], true between events
    """

    sequences: Sequences
    owners: NDArray[np.int64]
    ends: NDArray[np.int64]
    instants: Instants
    features: pa.Table
    states: NDArray[np.int64]
    labels: NDArray[np.int64]
    landmarks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def first(self) -> NDArray[np.int64]:
        """Flat position of the first event of each row's user."""
        return self.sequences.offsets[self.owners]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events known at each row's instant."""
        return self.ends - self.first

    @property
    def users(self) -> NDArray:
        """User of each row."""
        return self.sequences.users[self.owners]

    def take(self, rows: NDArray) -> Examples:
        """The rows that a mask or an index array chooses."""
        chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            owners=self.owners[chosen],
            ends=self.ends[chosen],
            instants=self.instants[chosen],
            features=self.features.take(pa.array(chosen)),
            states=self.states[chosen],
            labels=self.labels[chosen],
            landmarks=self.landmarks[chosen],
        )


@dataclass(frozen=True)
class Labels:
    """The spine with its labels, before any feature is read.

    Attributes
    ----------
    sequences
        The accepted log.
    users, instants, positions, landmarks
        # [rows]; ``positions`` counts the user's events at or before the instant
    next_actions
        # [rows], text; null where unknown
    next_state_at
        # [rows], NaT where unknown
    """

    sequences: Sequences
    users: NDArray
    instants: Instants
    positions: NDArray[np.int64]
    landmarks: NDArray[np.bool_]
    next_actions: pa.Array
    next_state_at: Instants

    @property
    def event_instants(self) -> Instants:
        """Every event's instant, ascending; # [events]."""
        assert self.sequences.instants is not None
        return np.sort(self.sequences.instants)

    def take(self, rows: NDArray[np.bool_]) -> Labels:
        """The rows that a mask chooses."""
        return replace(
            self,
            users=self.users[rows],
            instants=self.instants[rows],
            positions=self.positions[rows],
            landmarks=self.landmarks[rows],
            next_actions=self.next_actions.filter(pa.array(rows)),
            next_state_at=self.next_state_at[rows],
        )


def read_labels(folder: Path, landmarks: bool = False) -> Labels:
    """Read the published spine, labels and events.

    Parameters
    ----------
    folder
        ``<home>/labels``; resolved once, so that one published snapshot is read throughout.
    landmarks
        Whether instants between events are read as well.

    Raises
    ------
    BadInput
        When the tables are not there.
    """
    folder = folder.resolve()
    tables = {}
    for name in ("spine", "label_next", "events"):
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise BadInput(f"{path}: there is no such table yet; run trainer build")
        try:
            tables[name] = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            line = str(error).splitlines()[0]
            raise BadInput(f"{path}: not readable ({line}); run trainer build again") from None
    spine, next_state = tables["spine"], tables["label_next"]
    if not landmarks:
        spine = spine.filter(pc.invert(spine[C.LANDMARK]))
    wanted = [C.USER, C.INSTANT, C.NEXT_ACTION, C.NEXT_STATE_AT]
    rows = spine.join(next_state.select(wanted), [C.USER, C.INSTANT], join_type="left outer")
    rows = rows.sort_by([(C.USER, "ascending"), (C.INSTANT, "ascending")])
    return Labels(
        sequences=Sequences.from_events(tables["events"]),
        users=np.array(rows[C.USER].to_pylist(), dtype=object),
        instants=rows[C.INSTANT].to_numpy().astype("datetime64[us]"),
        positions=rows[C.POSITION].to_numpy().astype(np.int64),
        landmarks=rows[C.LANDMARK].to_numpy(),
        next_actions=rows[C.NEXT_ACTION].combine_chunks(),
        next_state_at=rows[C.NEXT_STATE_AT].to_numpy().astype("datetime64[us]"),
    )


@dataclass(frozen=True)
class Dataset:
    """Examples of every part of the split, and the cuts that parted them."""

    taxonomy: Taxonomy
    cuts: Cuts
    examples: Examples
    parts: Parts
    next_state_at: Instants  # [rows], when each label became known

    @property
    def train(self) -> Examples:
        """The training part, out of which early stopping takes its rows as well."""
        return self.examples.take(self.parts.train)

    @property
    def valid(self) -> Examples:
        """The validation part; it reports and decides nothing."""
        return self.examples.take(self.parts.valid)

    @property
    def test(self) -> Examples:
        """The test part."""
        return self.examples.take(self.parts.test)


def build_examples(
    labels: Labels, taxonomy: Taxonomy, fetch: FetchFeatures, cuts: Cuts | None = None
) -> Dataset:
    """Split the labelled instants and give them their features.

    Parameters
    ----------
    labels
        The spine and its labels.
    taxonomy
        What the dataset says about the log.
    fetch
        Answers users and instants with a table of features in the same order; Feast in the
        product, see :func:`trainer.features.features_at`.
    cuts
        The cuts of a fitted run; ``None`` makes them anew.

    Raises
    ------
    BadInput
        When the training part has no row.
    """
    events = labels.event_instants
    if cuts is None:
        cuts = choose_cuts(
            labels.instants,
            labels.next_state_at,
            events,
            taxonomy.longest_horizon,
            taxonomy.session_gap,
            taxonomy.train_end,
            taxonomy.valid_end,
        )
    parts = split_rows(labels.instants, labels.next_state_at, events, cuts)
    if not parts.train.any():
        raise BadInput(
            f"split: no training row lies before {show_instant(cuts.train_end)}; the log runs "
            f"from {show_instant(events[0])} to {show_instant(events[-1])}; "
            "move train_end in the dataset file"
        )
    used = parts.train | parts.valid | parts.test
    labels = labels.take(used)
    parts = Parts(parts.train[used], parts.valid[used], parts.test[used])
    features = fetch(labels.users, labels.instants)
    owners = np.searchsorted(labels.sequences.users, labels.users)
    examples = Examples(
        sequences=labels.sequences,
        owners=owners,
        ends=labels.sequences.offsets[owners] + labels.positions,
        instants=labels.instants,
        features=features,
        states=current_states(features, taxonomy.states),
        labels=state_indices(labels.next_actions, taxonomy.states),
        landmarks=labels.landmarks,
    )
    return Dataset(taxonomy, cuts, examples, parts, labels.next_state_at)


def unlabelled(
    sequences: Sequences, instants: Instants, features: pa.Table, states: tuple[str, ...]
) -> Examples:
    """Examples to predict for: one a user, at the end of the user's sequence."""
    rows = len(sequences.users)
    return Examples(
        sequences=sequences,
        owners=np.arange(rows),
        ends=sequences.offsets[1:],
        instants=instants,
        features=features,
        states=current_states(features, states),
        labels=np.full(rows, UNKNOWN),
        landmarks=np.zeros(rows, dtype=bool),
    )


def state_indices(values: pa.Array, states: tuple[str, ...]) -> NDArray[np.int64]:
    """Index of each state's name; -1 for null and for a name that is none."""
    found = pc.index_in(values, value_set=pa.array(states, pa.string()), skip_nulls=True)
    return pc.fill_null(found, UNKNOWN).to_numpy().astype(np.int64)


def current_states(features: pa.Table, states: tuple[str, ...]) -> NDArray[np.int64]:
    """The user's state at the instant: the last action, or ``leave`` once the session closed."""
    state = state_indices(features[C.LAST_ACTION].combine_chunks(), states)
    closed = pc.fill_null(pc.invert(features[C.SESSION_IS_OPEN]), False)
    leave = len(states) - 1
    return np.where((state != UNKNOWN) & closed.to_numpy(), leave, state)
