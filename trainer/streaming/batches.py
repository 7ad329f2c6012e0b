"""Many callers, one engine: what arrives while a batch runs is the next batch."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from trainer.streaming.engine import Engine
from trainer.streaming.events import Arrival, Verdict

_log = logging.getLogger(__name__)

MOST_EVENTS = 1_000  # of a batch: more would make its last event wait for long
MOST_WAITING = 20_000  # events; more than that many seconds' worth is refused
IDLE_S = 0.2


class Overloaded(Exception):
    """More events wait than the engine gets through in reasonable time: try again later."""


class Stopped(Exception):
    """The engine takes no more events."""


@dataclass
class _Request:
    arrivals: Sequence[Arrival]
    answer: Future[list[Verdict]] = field(default_factory=Future)


class Batches:
    """Runs an engine in a thread of its own, and batches what arrives meanwhile.

    Parameters
    ----------
    engine : Engine
        Used by nobody else from now on; closed at the end.
    most_events : int, optional
        Events of one batch.
    most_waiting : int, optional
        Events that may wait for their batch.
    """

    def __init__(
        self, engine: Engine, most_events: int = MOST_EVENTS, most_waiting: int = MOST_WAITING
    ):
        self._engine = engine
        self.columns = list(engine.columns)
        self._most_events = most_events
        self._most_waiting = most_waiting
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="streaming", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that arrived and were not taken in yet."""
        return self._waiting

    @property
    def not_online(self) -> int:
        """Users with events that the online store does not show yet."""
        return self._engine.waiting

    def submit(self, arrivals: Sequence[Arrival]) -> Future[list[Verdict]]:
        """Hand events in; the future holds their verdicts when they are safe and online.

        Raises
        ------
        Overloaded
            If too many wait already; none of these was taken in.
        Stopped
            If the engine is being stopped.
        """
        request = _Request(arrivals)
        with self._lock:
            if self._stopping:
                raise Stopped("the server is stopping")
            if self._waiting and self._waiting + len(arrivals) > self._most_waiting:
                raise Overloaded(f"{self._waiting} events wait already")
            self._waiting += len(arrivals)
            self._requests.put(request)
        return request.answer

    def close(self) -> None:
        """Finish what was handed in, and stop."""
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._requests.put(None)
        self._thread.join()

    def _run(self) -> None:
        last_idle = time.monotonic()
        try:
            while True:
                batch, is_last = self._next_batch()
                if batch:
                    self._take(batch)
                if is_last:
                    return
                # Some of it waits for a pause, but not for ever.
                if not batch or time.monotonic() - last_idle > 10 * IDLE_S:
                    self._idle(in_between=bool(batch))
                    last_idle = time.monotonic()
        finally:
            self._engine.close()

    def _next_batch(self) -> tuple[list[_Request], bool]:
        batch: list[_Request] = []
        count = 0
        try:
            request = self._requests.get(timeout=IDLE_S)
            while True:
                if request is None:
                    return batch, True
                batch.append(request)
                count += len(request.arrivals)
                if count >= self._most_events:
                    return batch, False
                request = self._requests.get_nowait()
        except queue.Empty:
            return batch, False

    def _take(self, batch: list[_Request]) -> None:
        arrivals = [arrival for request in batch for arrival in request.arrivals]
        try:
            verdicts, written = self._engine.begin(arrivals)
        except Exception as error:
            _log.exception("a batch of %d events was not taken in", len(arrivals))
            self._answer(batch, error)
        else:
            # The next batch begins meanwhile.
            written.add_done_callback(lambda _: self._answer(batch, verdicts))

    def _answer(self, batch: list[_Request], found: list[Verdict] | Exception) -> None:
        start = 0
        for request in batch:
            end = start + len(request.arrivals)
            # Who asked may have gone.
            if request.answer.set_running_or_notify_cancel():
                if isinstance(found, Exception):
                    request.answer.set_exception(found)
                else:
                    request.answer.set_result(found[start:end])
            start = end
        with self._lock:
            self._waiting -= start

    def _idle(self, in_between: bool) -> None:
        try:
            self._engine.idle(in_between)
        except Exception:
            _log.exception("the engine could not follow the time")
