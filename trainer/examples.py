"""Examples: what was known of a user at an instant, and what came next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.dataset import Taxonomy
from trainer.feature_rows import FeatureRows
from trainer.instants import Instants, show_instant
from trainer.labels import Labels, seconds_until
from trainer.sequences import Sequences
from trainer.splits import (
    Cuts,
    Parts,
    choose_cuts,
    last_event,
    split_conversions,
    split_rows,
    split_waits,
)
from trainer.stored_features import StoredFeatures, fetched
from trainer.vocabulary import UNKNOWN, word_places

if TYPE_CHECKING:
    from trainer.ranking.rows import Ranking

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
        # [rows], one column a feature; of many rows they are not in memory, and those of a request
        are still packed
    states
        # [rows], the user's current state as an index: the last action, or ``leave`` where the
        session is closed; -1 where there is no history
    labels
        # [rows], the next state as an index; -1 where unknown
    landmarks
        # [rows], true between events
    conversions
        # [rows, horizons], 1 where a conversion follows within the horizon, 0 where none does, NaN
        where that is unknown
    waits, watched
        # [rows], seconds to the user's next event, and seconds that were watched for one. A wait
        that was not seen to its end is as long as what was watched; 0 watched is a row of which
        nothing is known.
    """

    sequences: Sequences
    owners: NDArray[np.int64]
    ends: NDArray[np.int64]
    instants: Instants
    features: pa.Table | FeatureRows | StoredFeatures
    states: NDArray[np.int64]
    labels: NDArray[np.int64]
    landmarks: NDArray[np.bool_]
    conversions: NDArray[np.float32]
    waits: NDArray[np.float64]
    watched: NDArray[np.float64]

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
            conversions=self.conversions[chosen],
            waits=self.waits[chosen],
            watched=self.watched[chosen],
        )

    def loaded(self) -> Examples:
        """The same rows with their features in memory."""
        if isinstance(self.features, StoredFeatures):
            return replace(self, features=self.features.table())
        return self

    def narrowed(self) -> Examples:
        """The same rows with the events of their users, and of those between them, alone."""
        if not len(self):
            return self
        begin, end = int(self.owners.min()), int(self.owners.max()) + 1
        return replace(
            self,
            sequences=self.sequences.of_users(begin, end),
            owners=self.owners - begin,
            ends=self.ends - self.sequences.offsets[begin],
        )

    def known_only(self, labels: NDArray[np.bool_], conversions: NDArray[np.bool_]) -> Examples:
        """The same rows without the labels that a mask leaves out; # [rows], # [rows, horizons]."""
        return replace(
            self,
            labels=np.where(labels, self.labels, UNKNOWN),
            conversions=np.where(conversions, self.conversions, np.float32("nan")),
        )

    def watched_until(self, end: np.datetime64, rows: NDArray[np.bool_]) -> Examples:
        """The same rows as if nobody had looked after ``end``, nor at rows outside of the mask."""
        watched = np.minimum(self.watched, seconds_until(end, self.instants)) * rows
        return replace(self, waits=np.minimum(self.waits, watched), watched=watched)


@dataclass(frozen=True)
class Dataset:
    """Examples of every part of the split, and the cuts that parted them."""

    taxonomy: Taxonomy
    cuts: Cuts
    examples: Examples
    parts: Parts
    next_state_at: Instants  # [rows], when each label became known
    conversion_parts: tuple[Parts, ...] = ()  # one a horizon
    wait_parts: Parts | None = None  # where the time to the next event is a task
    held_out: NDArray[np.bool_] | None = None  # [users], who is kept from training whole
    rankings: Mapping[str, Ranking] = field(default_factory=dict)  # by target

    @property
    def learnable_events(self) -> NDArray[np.bool_]:
        """Events of users who are not held out; # [events]."""
        sequences = self.examples.sequences
        if self.held_out is None:
            return np.ones(len(sequences), dtype=bool)
        return ~self.held_out[sequences.owners]

    @property
    def train_rows(self) -> NDArray[np.bool_]:
        """Rows of the training part, with a label of any task; # [rows]."""
        return self._rows("train")

    @property
    def train(self) -> Examples:
        """The training part, out of which early stopping takes its rows as well."""
        return self._part("train")

    @property
    def valid(self) -> Examples:
        """The validation part; it reports and decides nothing."""
        return self._part("valid")

    @property
    def test(self) -> Examples:
        """The test part."""
        return self._part("test")

    def _masks(self, part: str) -> NDArray[np.bool_]:
        """Rows of a part by task: next action, conversions, waits; # [rows, 2 + horizons]."""
        waits = self.wait_parts or _no_parts(len(self.examples))
        every = (self.parts, *self.conversion_parts, waits)
        return np.column_stack([getattr(parts, part) for parts in every])

    def _rows(self, part: str) -> NDArray[np.bool_]:
        return np.any(self._masks(part), axis=1).astype(bool)

    def _part(self, part: str) -> Examples:
        """Rows with a label of any task; a label that the part may not know is unknown."""
        masks = self._masks(part)
        assert self.examples.sequences.instants is not None
        events = self.examples.sequences.instants
        if part == "train":
            events = events[self.learnable_events]
        events = np.sort(events)
        cut = {"train": self.cuts.train_end, "valid": self.cuts.valid_end}.get(part)
        return (
            self.examples.known_only(masks[:, 0], masks[:, 1:-1])
            .watched_until(last_event(events, cut), masks[:, -1])
            .take(self._rows(part))
        )


def _no_parts(rows: int) -> Parts:
    none = np.zeros(rows, dtype=bool)
    return Parts(none, none, none)


def build_examples(
    labels: Labels,
    taxonomy: Taxonomy,
    fetch: FetchFeatures,
    cuts: Cuts | None = None,
    waits: bool = False,
    hold_out: Callable[[Labels, np.datetime64], NDArray[np.bool_]] | None = None,
    scratch: Path | None = None,
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
    waits
        Whether the time to the next event is a task: its rows then belong to the parts too.
    hold_out
        Chooses the users that are kept from training whole, see :func:`trainer.held_out.holder`.
    scratch
        A folder for features that do not fit into memory.

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
    held_out = None if hold_out is None else hold_out(labels, cuts.train_end)
    every = _all_parts(labels, taxonomy, cuts, held_out, waits)
    if not every[0].train.any():
        raise BadInput(
            f"split: no training row lies before {show_instant(cuts.train_end)}; the log runs "
            f"from {show_instant(events[0])} to {show_instant(events[-1])}; "
            "move train_end in the dataset file"
        )
    used = np.any([mask for each in every for mask in (each.train, each.valid, each.test)], axis=0)
    labels = labels.take(used)
    parts, *conversion, wait_parts = (
        Parts(each.train[used], each.valid[used], each.test[used]) for each in every
    )
    features = fetched(fetch, labels.users, labels.instants, scratch)
    examples = labelled(labels, features, taxonomy.states)
    return Dataset(
        taxonomy,
        cuts,
        examples,
        parts,
        labels.next_state_at,
        tuple(conversion),
        wait_parts if waits else None,
        held_out,
    )


def _all_parts(
    labels: Labels,
    taxonomy: Taxonomy,
    cuts: Cuts,
    held_out: NDArray[np.bool_] | None,
    waits: bool,
) -> list[Parts]:
    """The parts of the next action, those of each horizon, and those of the waits."""

    def split(events: Instants) -> list[Parts]:
        return [
            split_rows(labels.instants, labels.next_state_at, events, cuts),
            *(
                split_conversions(
                    labels.instants, labels.conversions[:, place], length, events, cuts
                )
                for place, length in enumerate(taxonomy.horizon_lengths)
            ),
            split_waits(labels.instants, events, cuts)
            if waits
            else _no_parts(len(labels.instants)),
        ]

    every = split(labels.event_instants)
    if held_out is None:
        return every
    sequences = labels.sequences
    assert sequences.instants is not None
    rows = held_out[np.searchsorted(sequences.users, labels.users)]
    # When a label was known is told by others' events: in training, by those of nobody held out.
    known = split(np.sort(sequences.instants[~held_out[sequences.owners]]))
    return [
        replace(judged, train=learned.train).holding_out(rows)
        for judged, learned in zip(every, known, strict=True)
    ]


def labelled(
    labels: Labels, features: pa.Table | StoredFeatures, states: tuple[str, ...]
) -> Examples:
    """Examples of labelled instants, whether or not their labels have arrived.

    Parameters
    ----------
    labels
        The instants.
    features
        # [rows], their features
    states
        Names of the states.
    """
    owners = np.searchsorted(labels.sequences.users, labels.users)
    return Examples(
        sequences=labels.sequences,
        owners=owners,
        ends=labels.sequences.offsets[owners] + labels.positions,
        instants=labels.instants,
        features=features,
        states=current_states(features, states),
        labels=state_indices(labels.next_actions, states),
        landmarks=labels.landmarks,
        conversions=labels.conversions,
        waits=labels.waits,
        watched=labels.watched,
    )


def unlabelled(
    sequences: Sequences,
    instants: Instants,
    features: pa.Table | FeatureRows,
    states: tuple[str, ...],
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
        conversions=np.zeros((rows, 0), dtype=np.float32),
        waits=np.zeros(rows),
        watched=np.zeros(rows),
    )


def state_indices(values: pa.Array, states: tuple[str, ...]) -> NDArray[np.int64]:
    """Index of each state's name; -1 for null and for a name that is none."""
    found = pc.index_in(values, value_set=pa.array(states, pa.string()), skip_nulls=True)
    return pc.fill_null(found, UNKNOWN).to_numpy().astype(np.int64)


def current_states(
    features: pa.Table | FeatureRows | StoredFeatures, states: tuple[str, ...]
) -> NDArray[np.int64]:
    """The user's state at the instant: the last action, or ``leave`` once the session closed."""
    if isinstance(features, FeatureRows):
        state = np.array(word_places(features.pieces(C.LAST_ACTION), states), np.int64)
        is_open, unknown = features.flags((C.SESSION_IS_OPEN,))
        closed = ~(is_open[:, 0].astype(bool) | unknown[:, 0])
    else:
        state = state_indices(features[C.LAST_ACTION].combine_chunks(), states)
        closed = pc.fill_null(pc.invert(features[C.SESSION_IS_OPEN]), False).to_numpy()
    leave = len(states) - 1
    return np.where((state != UNKNOWN) & closed, leave, state)
