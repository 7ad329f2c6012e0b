"""The published labels: what follows each instant, as far as the log shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.instants import Instants
from trainer.sequences import Sequences
from trainer.splits import last_event


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
    conversions
        # [rows, horizons], see :class:`Examples`
    waits, watched
        # [rows], see :class:`Examples`
    """

    sequences: Sequences
    users: NDArray
    instants: Instants
    positions: NDArray[np.int64]
    landmarks: NDArray[np.bool_]
    next_actions: pa.Array
    next_state_at: Instants
    conversions: NDArray[np.float32]
    waits: NDArray[np.float64]
    watched: NDArray[np.float64]

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
            conversions=self.conversions[rows],
            waits=self.waits[rows],
            watched=self.watched[rows],
        )


def read_labels(folder: Path, landmarks: bool = False, horizons: Sequence[str] = ()) -> Labels:
    """Read the published spine, labels and events.

    Parameters
    ----------
    folder
        ``<home>/labels``; resolved once, so that one published snapshot is read throughout.
    landmarks
        Whether instants between events are read as well.
    horizons
        Those within which a conversion is labelled, as ``7d``.

    Raises
    ------
    BadInput
        When the tables are not there.
    """
    folder = folder.resolve()
    keys = [C.USER, C.INSTANT]
    spine = read_label_table(folder, "spine", [*keys, C.LANDMARK, C.POSITION])
    if not landmarks:
        spine = spine.filter(pc.invert(spine[C.LANDMARK]))
    wanted = [*keys, C.NEXT_ACTION, C.NEXT_STATE_AT, C.NEXT_GAP]
    rows = spine.join(read_label_table(folder, "label_next", wanted), keys, join_type="left outer")
    del spine
    names = [C.converted_within(horizon) for horizon in horizons]
    if names:
        converted = read_label_table(folder, "label_conversion", [*keys, *names])
        rows = rows.join(converted, keys, join_type="left outer")
    rows = rows.sort_by([(C.USER, "ascending"), (C.INSTANT, "ascending")])
    sequences = Sequences.from_events(read_label_table(folder, "events", Sequences.COLUMNS))
    assert sequences.instants is not None
    instants = rows[C.INSTANT].to_numpy().astype("datetime64[us]")
    watched = seconds_until(last_event(np.sort(sequences.instants)), instants)
    gaps = pc.fill_null(rows[C.NEXT_GAP].cast(pa.float64()), float("inf")).to_numpy() / 1000
    return Labels(
        sequences=sequences,
        users=_shared_texts(rows[C.USER]),
        instants=instants,
        positions=rows[C.POSITION].to_numpy().astype(np.int64),
        landmarks=rows[C.LANDMARK].to_numpy(),
        next_actions=rows[C.NEXT_ACTION].combine_chunks(),
        next_state_at=rows[C.NEXT_STATE_AT].to_numpy().astype("datetime64[us]"),
        conversions=_flags([rows[name] for name in names], rows.num_rows),
        waits=np.minimum(gaps, watched),
        watched=watched,
    )


def read_label_table(folder: Path, name: str, columns: Sequence[str]) -> pa.Table:
    """Columns of one table under ``<home>/labels``.

    Raises
    ------
    BadInput
        When it is not there, or cannot be read.
    """
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise BadInput(f"{path}: there is no such table yet; run trainer build")
    try:
        return pq.read_table(path, columns=list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        line = str(error).splitlines()[0]
        raise BadInput(f"{path}: not readable ({line}); run trainer build again") from None


def seconds_until(end: np.datetime64, instants: Instants) -> NDArray[np.float64]:
    """Seconds from each instant to ``end``, 0 where it lies behind; # [rows]."""
    if np.isnat(end):
        return np.zeros(len(instants))
    return np.maximum((end - instants) / np.timedelta64(1, "s"), 0.0)


def _shared_texts(column: pa.ChunkedArray) -> NDArray:
    """Texts as objects, one for all rows that are equal: a log has many more rows than users."""
    coded = column.combine_chunks().dictionary_encode()
    return np.array(coded.dictionary.to_pylist(), dtype=object)[coded.indices.to_numpy()]


def _flags(columns: list[pa.ChunkedArray], rows: int) -> NDArray[np.float32]:
    """Nullable truths as numbers, NaN for null; # [rows, columns]."""
    flags = np.full((rows, len(columns)), np.nan, dtype=np.float32)
    for place, column in enumerate(columns):
        numbers = column.cast(pa.int8()).cast(pa.float32())
        flags[:, place] = pc.fill_null(numbers, float("nan")).to_numpy()
    return flags
