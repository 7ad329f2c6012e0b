"""The journal: what a stream has taken in, appended durably, read by the next build.

It lies in ``<home>/journal/``. Each line of ``events-<number>.ndjson`` is one event as it arrived,
``{"number": n, "arrived_at": instant, "source": id, "event": {column: text}}``, numbered from 1
without gaps; a file is named by its first number. A line counts when it is whole, with its newline,
and the disk has it. A new build begins a new file, so that whole files can go once the log has
their events (`trainer.streaming.pruning`). ``applied.json`` says up to which number the online
store has the rows: what comes after is computed again at the next start.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.errors import BadInput
from trainer.streaming.events import Arrival

FOLDER = "journal"
LINES_PER_FILE = 1_000_000


class JournalError(Exception):
    """The disk did not take the events, and none of them was taken in; the message says why."""


class Journal:
    """The one writer of a home's journal.

    Parameters
    ----------
    home : Path
        Home of the run.

    Raises
    ------
    BadInput
        If another process writes the journal, or if a line in it is damaged.
    """

    def __init__(self, home: Path, lines_per_file: int = LINES_PER_FILE):
        self.folder = home / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lines_per_file = lines_per_file
        self._file: int | None = None
        self._lock: int | None = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BadInput(
                f"{self.folder} is written by another process: one of trainer stream and "
                "trainer serve takes events of a home at a time; stop the other one"
            ) from None
        files = self.files()
        self._size = 0
        self._first = 1
        self._is_full = False
        self.last = 0
        if files:
            try:
                self._first, self.last = _repair(files[-1])
            except BadInput:
                self.close()
                raise
            self._file = os.open(files[-1], os.O_WRONLY | os.O_APPEND)
            self._size = os.fstat(self._file).st_size

    def files(self) -> list[Path]:
        """The files in the order of their lines."""
        return sorted(self.folder.glob("events-*.ndjson"))

    def begin_file(self) -> None:
        """Let the next line begin a file of its own, unless this one is still empty."""
        self._is_full = self.last >= self._first

    def prepare(self, arrivals: Sequence[Arrival], arrived_at: datetime) -> list[str]:
        """The lines that these events would be, were they appended now."""
        lines = []
        for number, arrival in enumerate(arrivals, self.last + 1):
            line: dict[str, Any] = {"number": number, "arrived_at": arrived_at.isoformat()}
            if arrival.source is not None:
                line["source"] = arrival.source
            line["event"] = arrival.values
            lines.append(json.dumps(line, ensure_ascii=False))
        return lines

    def append(self, lines: Sequence[str]) -> None:
        """Write the lines of `prepare` at the end; when this returns, the disk has them.

        Raises
        ------
        JournalError
            If it does not take them; the journal is then as it was before.
        """
        lines_here = self.last - self._first + 1
        if self._file is None or self._is_full or lines_here >= self._lines_per_file:
            self._open_next()
        assert self._file is not None
        data = ("\n".join(lines) + "\n").encode()
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            # Half a batch must not be found by a build, nor be followed by another one.
            os.ftruncate(self._file, self._size)
            raise JournalError(f"{self.folder} cannot be written: {error.strerror}") from error
        self._size += len(data)
        self.last += len(lines)

    @property
    def applied(self) -> int:
        """The number up to which the online store has the rows."""
        try:
            return int(json.loads((self.folder / "applied.json").read_text())["number"])
        except (OSError, ValueError, KeyError):
            return 0

    def note_applied(self, number: int | None = None) -> None:
        """Note that the rows of all lines, or of those up to a number, are online.

        Not forced to the disk: where it is lost, rows are computed once more than needed.
        """
        partial = self.folder / ".applied.json.partial"
        try:
            partial.write_text(json.dumps({"number": self.last if number is None else number}))
            os.replace(partial, self.folder / "applied.json")
        except OSError:  # a full disk: the same
            partial.unlink(missing_ok=True)

    def lines_after(self, number: int) -> Iterator[dict[str, Any]]:
        """The lines with a larger number, parsed."""
        files = self.files()
        for place, file in enumerate(files):
            if place + 1 < len(files) and first_number(files[place + 1]) <= number + 1:
                continue
            with file.open("rb") as stream:
                for text in stream:
                    line = json.loads(text)
                    if line["number"] > number:
                        yield line

    def close(self) -> None:
        """Let another process write the journal."""
        for file in (self._file, self._lock):
            if file is not None:
                os.close(file)
        self._file = self._lock = None

    def _open_next(self) -> None:
        path = self.folder / f"events-{self.last + 1:012}.ndjson"
        try:
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            # The name has to last like the lines.
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise JournalError(f"{path} cannot be made: {error.strerror}") from error
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._first = file, os.fstat(file).st_size, self.last + 1
        self._is_full = False


def first_number(file: Path) -> int:
    """The number of a file's first line."""
    return int(file.stem.removeprefix("events-"))


def _repair(file: Path) -> tuple[int, int]:
    """Cut off a line that a crash left half written; return the first and the last number.

    Its batch was never answered, so nobody counts on it.
    """
    first = last = first_number(file)
    last -= 1
    whole = 0
    with file.open("rb+") as stream:
        for text in stream:
            if not text.endswith(b"\n"):
                stream.truncate(whole)
                os.fsync(stream.fileno())
                break
            try:
                number = json.loads(text)["number"]
            except (ValueError, KeyError, TypeError):
                number = None
            if number != last + 1:
                raise BadInput(
                    f"{file}: line {last + 2 - first} is damaged: it should be number {last + 1}; "
                    "restore the file from a backup, or move the lines from there on elsewhere"
                )
            whole += len(text)
            last = number
    return first, last
