"""Rows on their way into the store, while the next batch is computed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from trainer.streaming.online import OnlineRows


@dataclass
class Write:
    """Rows of some users.

    Attributes
    ----------
    users : list of str
    future : Future
        Done when the store has the rows, or has refused them.
    line : int or None
        Up to this line of the journal everything is online once this is written; None where that
        is not known.
    """

    users: list[str]
    future: Future[int]
    line: int | None = None


class Writes:
    """Writes rows in a thread of its own: one batch at a time, so that they stay in order.

    Parameters
    ----------
    online : OnlineRows
        Takes the rows.
    """

    def __init__(self, online: OnlineRows):
        self._online = online
        self._thread = ThreadPoolExecutor(1, "streaming-store")
        self.running: Write | None = None

    @property
    def users(self) -> int:
        """How many users have rows on their way."""
        running = self.running
        return len(running.users) if running is not None else 0

    def begin(self, users: list[str], rows: Sequence[tuple[str, pa.Table]], now: datetime) -> None:
        """Have the rows in force at `now` written; what began before must have been taken."""
        assert self.running is None
        self.running = Write(users, self._thread.submit(self._online.write, rows, now))
        self._thread.submit(self._online.tidy)

    def take(self) -> Write | None:
        """Wait for what is being written, and return it."""
        ended, self.running = self.running, None
        if ended is not None:
            ended.future.exception()
        return ended

    def close(self) -> None:
        """Release the thread, after what was begun."""
        self._thread.shutdown()
