"""The published labels: what follows each instant, as far as the log shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.instants import Instants
from trainer.sequences import Sequences

_READ_EVENTS = 500_000  # of the users that are read at a time
_SCANNED = 65_536

Users = tuple[str, str]  # the first and the last of those that are read, both included


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
    for name in ("spine", "label_next"):
        label_file(folder, name)
    ranges, last = _ranges_of_users(folder)
    # Some users at a time: a join takes several times what it gives.
    parts = [_read_part(folder, landmarks, horizons, users, last) for users in ranges]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _ranges_of_users(folder: Path) -> tuple[list[Users | None], np.datetime64]:
    """First and last user of each part that is read at a time, and the instant of the last event.

    One part of all, ``None``, for a log of ordinary size.
    """
    path = label_file(folder, "events")
    try:
        file = pq.ParquetFile(path)
        counts: Counter[str] = Counter()
        last = np.datetime64("NaT", "us")
        for batch in file.iter_batches(_SCANNED, columns=[C.USER, C.INSTANT]):
            found = batch.column(0).value_counts()
            counts.update(dict(zip(*(found.field(n).to_pylist() for n in (0, 1)), strict=True)))
            last = np.fmax(last, np.datetime64(pc.max(batch.column(1)).as_py(), "us"))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    ranges: list[Users | None] = []
    begin, events = "", 0
    for user in sorted(counts):
        begin = begin if events else user
        events += counts[user]
        if events >= _READ_EVENTS:
            ranges.append((begin, user))
            events = 0
    if events:
        ranges.append((begin, max(counts)))
    return (ranges if len(ranges) > 1 else [None]), last


def _joined(parts: list[Labels]) -> Labels:
    """Parts of users that follow each other, as one; the list is emptied on the way."""

    def together(pieces: list[Any]) -> Any:
        if isinstance(pieces[0], pa.Array):
            return pa.concat_arrays(pieces)
        return np.concatenate(pieces)

    def fields_of(groups: list[dict[str, Any]]) -> dict[str, Any]:
        # One after the other, so that never all is there twice.
        return {name: together([g.pop(name) for g in groups]) for name in list(groups[0])}

    labels = [dict(vars(part)) for part in parts]
    parts.clear()
    sequences = [dict(vars(each.pop("sequences"))) for each in labels]
    ends = np.cumsum([0, *(each["offsets"][-1] for each in sequences)])
    for each, shift in zip(sequences, ends, strict=False):
        each["offsets"] = each["offsets"][(0 if shift == 0 else 1) :] + shift
    return Labels(sequences=Sequences(**fields_of(sequences)), **fields_of(labels))


def _read_part(
    folder: Path,
    landmarks: bool,
    horizons: Sequence[str],
    users: Users | None,
    last: np.datetime64,
) -> Labels:
    """Labels of some users; ``last`` is the instant of the log's last event."""
    keys = [C.USER, C.INSTANT]
    spine = read_label_table(folder, "spine", [*keys, C.LANDMARK, C.POSITION], users)
    if not landmarks:
        spine = spine.filter(pc.invert(spine[C.LANDMARK]))
    wanted = [*keys, C.NEXT_ACTION, C.NEXT_STATE_AT, C.NEXT_GAP]
    rows = spine.join(
        read_label_table(folder, "label_next", wanted, users), keys, join_type="left outer"
    )
    del spine
    names = [C.converted_within(horizon) for horizon in horizons]
    if names:
        converted = read_label_table(folder, "label_conversion", [*keys, *names], users)
        rows = rows.join(converted, keys, join_type="left outer")
    rows = rows.sort_by([(C.USER, "ascending"), (C.INSTANT, "ascending")])
    events = read_label_table(folder, "events", Sequences.COLUMNS, users)
    sequences = Sequences.from_events(events)
    instants = rows[C.INSTANT].to_numpy().astype("datetime64[us]")
    watched = seconds_until(last, instants)
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


def read_label_table(
    folder: Path, name: str, columns: Sequence[str], users: Users | None = None
) -> pa.Table:
    """Columns of one table under ``<home>/labels``, of all users or of those from one to another.

    Raises
    ------
    BadInput
        When it is not there, or cannot be read.
    """
    path = label_file(folder, name)
    filters = None if users is None else [(C.USER, ">=", users[0]), (C.USER, "<=", users[1])]
    try:
        return pq.read_table(path, columns=list(columns), filters=filters)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def label_file(folder: Path, name: str) -> Path:
    """Where a table is; refused where it is not."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise BadInput(f"{path}: there is no such table yet; run trainer build")
    return path


def _unreadable(path: Path, error: Exception) -> BadInput:
    line = str(error).splitlines()[0]
    return BadInput(f"{path}: not readable ({line}); run trainer build again")


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
