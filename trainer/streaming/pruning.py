"""What of a journal the log has as well, so that it can go.

The journal is the only copy of what came by stream until the log is exported with those events in
it. So nothing leaves by age, nor because a build has read it: a build reads it again. A file goes
when each of its events is in the log's own files, found as a duplicate is: by its id, else by the
whole row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from trainer.streaming.compiled import compile_statements
from trainer.streaming.computation import only_in_journal
from trainer.streaming.engine import utc_now
from trainer.streaming.journal import Journal, first_number


@dataclass(frozen=True)
class JournalFile:
    """One file of a journal.

    Attributes
    ----------
    path : Path
    lines : int
    only_here : int
        Lines whose event the log does not have.
    size : int
        In bytes.
    """

    path: Path
    lines: int
    only_here: int
    size: int


@dataclass(frozen=True)
class Pruning:
    """What a look at a journal found.

    Attributes
    ----------
    files : tuple of JournalFile
        All of them, in the order of their lines.
    spare : tuple of JournalFile
        Those that the log has whole; they are gone where that was asked for.
    """

    files: tuple[JournalFile, ...]
    spare: tuple[JournalFile, ...]


def prune(dataset_path: str, home: Path, *, remove: bool, now: datetime | None = None) -> Pruning:
    """Find the files of a journal that the log has whole, and remove them if asked to.

    Parameters
    ----------
    dataset_path
        The dataset file of the last build in `home`.
    home
        Home of the run.
    remove
        Whether to remove what was found.
    now
        The clock, in UTC.

    Raises
    ------
    BadInput
        If another process writes the journal, or the dataset cannot be read.

    Notes
    -----
    The last file stays in any case: it holds the number of the last line.
    """
    statements = compile_statements(dataset_path, home)
    journal = Journal(home)  # also keeps a stream from starting meanwhile
    try:
        paths = journal.files()
        alone = only_in_journal(statements, paths, now or utc_now())
        starts = [first_number(path) for path in paths]
        found = tuple(
            JournalFile(
                path,
                lines=_count_lines(path),
                only_here=int(np.searchsorted(alone, end) - np.searchsorted(alone, start)),
                size=path.stat().st_size,
            )
            for path, start, end in zip(paths, starts, [*starts[1:], journal.last + 1], strict=True)
        )
        spare = tuple(file for file in found[:-1] if not file.only_here)
        if remove:
            for file in spare:
                file.path.unlink()
        return Pruning(found, spare)
    finally:
        journal.close()


def _count_lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
