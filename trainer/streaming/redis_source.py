"""Events from a Redis stream, read by a consumer group.

An entry holds an event as JSON in its field ``event``, or the log's columns as fields. It is
acknowledged when the journal has it; one that was delivered and not acknowledged comes again after
a crash, and the journal knows it by its id. Answers go to the stream ``<name>:verdicts``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from feature_repo.errors import BadInput
from trainer.streaming.engine import Engine
from trainer.streaming.events import (
    MALFORMED,
    Arrival,
    Malformed,
    Verdict,
    read_event,
    read_json,
)
from trainer.streaming.journal import JournalError

if TYPE_CHECKING:
    from redis import Redis

_log = logging.getLogger(__name__)

CONSUMER = "scalespace"  # one process writes a home's journal, so its name is always the same
MOST_EVENTS = 1_000  # of a batch
VERDICTS_KEPT = 100_000
_PAUSE_MS = 200
_RETRY_S = 1.0
_EVENT = b"event"

Entry = tuple[bytes, dict[bytes, bytes] | None]


class RedisSource:
    """A consumer of one stream.

    Parameters
    ----------
    url : str
        As ``redis://localhost:6379/0``.
    stream, group : str
        The stream and the consumer group; both are made where they are missing, the group at the
        beginning of the stream.

    Raises
    ------
    BadInput
        If the address cannot be read, or if the key holds no stream.
    """

    def __init__(self, url: str, stream: str, group: str):
        from redis import Redis
        from redis.exceptions import RedisError

        self.stream, self.group = stream, group
        try:
            self._redis: Redis = Redis.from_url(url, socket_timeout=10)
        except ValueError as error:
            raise BadInput(f"--redis {url}: {error}; write redis://host:6379/0") from None
        self._error: type[Exception] = RedisError
        try:
            self._make_group()
        except RedisError as error:
            raise BadInput(f"Redis at {url}, stream {stream}: {error}") from None

    def run(self, engine: Engine, stopping: Callable[[], bool]) -> int:
        """Take in entries until `stopping` says so; return how many.

        A server that goes away is waited for, and so is a disk that is full.
        """
        count = 0
        unacknowledged = True  # what was delivered before a crash comes first
        while not stopping():
            try:
                entries = self._read("0" if unacknowledged else ">")
                if entries:
                    self._take(engine, entries)
                    count += len(entries)
                elif unacknowledged:
                    unacknowledged = False
                else:
                    engine.idle()
            except (self._error, JournalError) as error:
                _log.warning("waiting: %s", error)
                unacknowledged = True
                time.sleep(_RETRY_S)
        return count

    def _read(self, after: str) -> list[Entry]:
        try:
            found: Any = self._redis.xreadgroup(
                self.group,
                CONSUMER,
                {self.stream: after},
                count=MOST_EVENTS,
                block=_PAUSE_MS if after == ">" else None,
            )
        except self._error as error:
            # A server that was started anew without its data has no group.
            if "NOGROUP" not in str(error):
                raise
            self._make_group()
            return []
        return _entries(found)

    def _take(self, engine: Engine, entries: list[Entry]) -> None:
        answers: list[Verdict | None] = []
        arrivals = []
        for entry_id, fields in entries:
            source = f"{self.stream}/{entry_id.decode()}"
            try:
                arrivals.append(Arrival(_values(fields, engine.columns), source))
                answers.append(None)
            except Malformed as error:
                answers.append(Verdict(MALFORMED, str(error)))
        verdicts = iter(engine.take(arrivals) if arrivals else ())
        pipeline = self._redis.pipeline(transaction=True)
        for (entry_id, _), answer in zip(entries, answers, strict=True):
            verdict = answer or next(verdicts)
            if verdict.verdict == MALFORMED:
                _log.warning("%s %s: %s", self.stream, entry_id.decode(), verdict.reason)
            pipeline.xadd(
                f"{self.stream}:verdicts",
                {"entry": entry_id, "verdict": verdict.verdict, "reason": verdict.reason or ""},
                maxlen=VERDICTS_KEPT,
                approximate=True,
            )
        pipeline.xack(self.stream, self.group, *(entry_id for entry_id, _ in entries))
        pipeline.execute()

    def _make_group(self) -> None:
        try:
            self._redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except self._error as error:
            if "BUSYGROUP" not in str(error):
                raise


def _entries(found: Any) -> list[Entry]:
    """Entries of an answer, in either protocol of Redis."""
    streams = found.values() if isinstance(found, dict) else [entries for _, entries in found or ()]
    flat = []
    for entries in streams:
        # The newer protocol has one more list around them.
        for entry in entries[0] if entries and isinstance(entries[0], list) else entries:
            flat.append((entry[0], entry[1]))
    return flat


def _values(fields: dict[bytes, bytes] | None, columns: list[str]) -> dict[str, str | None]:
    if not fields:
        raise Malformed("the entry was deleted before it was read")
    # A log may have a column of this name too; then JSON is told by its first character.
    if set(fields) == {_EVENT} and ("event" not in columns or fields[_EVENT][:1] == b"{"):
        return read_event(read_json(fields[_EVENT]), columns)
    try:
        given = {name.decode(): value.decode() for name, value in fields.items()}
    except UnicodeDecodeError:
        raise Malformed("it is not UTF-8") from None
    return read_event(given, columns)
