"""Batch by batch: append, judge, compute, put online."""

from __future__ import annotations

import heapq
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.home import features_dir
from trainer.dataset import DatasetFile
from trainer.forgotten import pseudonym, read_forgotten
from trainer.streaming.compiled import Model, Statements, compile_statements
from trainer.streaming.computation import FIRST_POSITION, POSITION, Computation, read_log
from trainer.streaming.events import ACCEPTED, DUPLICATE, MALFORMED, Arrival, Verdict
from trainer.streaming.history import History
from trainer.streaming.journal import Journal
from trainer.streaming.online import OnlineRows
from trainer.streaming.references import read_references
from trainer.streaming.writes import Writes

_log = logging.getLogger(__name__)

# A batch of arrivals is one computation wherever it can be: the planning of its statements is paid
# once. More at a time would hold up the events that arrive meanwhile.
USERS_AT_A_TIME = 1_000
EVENTS_AT_A_TIME = 200_000  # of their histories
# Users whose rows change by time alone, computed with a batch: with others they cost little, and
# by themselves as much as a batch.
DUE_WITH_A_BATCH = 50
# Whoever has a longer history is computed in pauses: he would hold up everybody else's events.
LONG_HISTORY = 20_000
_SOURCES_KEPT = 200_000
_RETRY_S = 1.0


def utc_now() -> datetime:
    """The wall's clock."""
    return datetime.now(UTC)


class Engine:
    """Takes events in and keeps the online store at what dbt would say.

    Not for several threads: `trainer.streaming.batches.Batches` stands before it.

    Parameters
    ----------
    dataset_path : str
        The dataset file of the last build in `home`.
    home : Path
        Home of the run.
    online : OnlineRows
        Takes the rows in force.
    clock : callable, optional
        Returns the instant that is now, in UTC.
    threads : int, optional
        SQL statements at a time.

    Raises
    ------
    BadInput
        If there is no build, or another process writes the journal.
    """

    def __init__(
        self,
        dataset_path: str,
        home: Path,
        online: OnlineRows,
        clock: Callable[[], datetime] = utc_now,
        threads: int = 2,
    ):
        self.home = home
        self._dataset_path = dataset_path
        self._clock = clock
        self._threads = threads
        self.journal = Journal(home)
        self._waiting: dict[str, None] = {}  # users whose rows are not online yet, in order
        self._writes = Writes(online)
        self._store_is_away = False
        self._retry_at = 0.0  # of time.monotonic(), where the store is away
        self._due: list[tuple[datetime, str]] = []  # a heap: when a user's rows change by time
        self._due_at: dict[str, datetime] = {}  # the entry of the heap that counts
        self._by_source: OrderedDict[str, Verdict] = OrderedDict()
        dataset = DatasetFile.load(dataset_path)
        self._user_column: str | None = None  # where what it holds is hashed
        if dataset.hash_user_ids:
            self._user_column = str(dataset.columns["user_id"]).lower()
        try:
            if dataset.hash_user_ids:
                pseudonym("")  # refused at the start where there is no salt
            self._load()
        except BaseException:
            self.journal.close()
            raise

    @property
    def columns(self) -> list[str]:
        """The log's columns, which an event may have."""
        return self._computation.columns

    @property
    def views(self) -> tuple[Model, ...]:
        """The views whose rows go online: all that follow users."""
        return self._statements.views

    @property
    def waiting(self) -> int:
        """Users whose rows could not be put online yet."""
        return len(self._waiting) + self._writes.users

    @property
    def overdue(self) -> int:
        """Users whose rows changed by time alone and were not computed again yet."""
        now = self._clock().replace(tzinfo=None)
        return sum(at <= now for at in self._due_at.values())

    def take(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        """Take events in, in this order, and put what they change online.

        When this returns, the events are on the disk, whatever becomes of the store: rows that it
        does not take are computed again with the next batch, and at the next start.

        Parameters
        ----------
        arrivals
            Events that were read; see `trainer.streaming.events`.

        Returns
        -------
        verdicts
            One for each event: those of a build at this instant.

        Raises
        ------
        JournalError
            If the disk does not take them; none of them was taken in.
        """
        verdicts, _ = self.begin(arrivals)
        self._settle()
        return verdicts

    def begin(self, arrivals: Sequence[Arrival]) -> tuple[list[Verdict], Future[Any]]:
        """Take events in as `take` does, but for the wait until the store has the rows.

        Meanwhile the next events can be taken in. Their rows are written after these, so that of
        two rows of a user the one computed last stays.

        Parameters
        ----------
        arrivals
            Events that were read.

        Returns
        -------
        verdicts
            As of `take`.
        written
            Is done when the store has the rows, or has refused them.

        Raises
        ------
        JournalError
            If the disk does not take the events; none of them was taken in.
        """
        if self._writes.running is not None and self._writes.running.future.done():
            self._settle()
        self._follow_publication()
        fresh, places = self._not_taken_yet([self._hashed(arrival) for arrival in arrivals])
        verdicts: list[Verdict] = []
        if fresh:
            verdicts = self._take_fresh(fresh)
            for arrival, verdict in zip(fresh, verdicts, strict=True):
                if arrival.source is not None:
                    self._by_source[arrival.source] = verdict
            while len(self._by_source) > _SOURCES_KEPT:
                self._by_source.popitem(last=False)
            self._take_due(DUE_WITH_A_BATCH)
            self._put_online()
        answers = [
            verdicts[place] if place is not None else self._by_source[str(arrival.source)]
            for arrival, place in zip(arrivals, places, strict=True)
        ]
        if self._writes.running is not None:
            return answers, self._writes.running.future
        nothing: Future[Any] = Future()
        nothing.set_result(0)
        return answers, nothing

    def _hashed(self, arrival: Arrival) -> Arrival:
        """An event as the journal may keep it: with a hashed identifier, where they are hashed."""
        if self._user_column is None:
            return arrival
        values = {
            name: pseudonym(value) if value and name.lower() == self._user_column else value
            for name, value in arrival.values.items()
        }
        return replace(arrival, values=values)

    def idle(self, in_between: bool = False) -> bool:
        """Do a little of what has no hurry; return whether there is more of it.

        Rows that change by time alone, those that the store did not take, and those of users with
        a long history.

        Parameters
        ----------
        in_between : bool, optional
            Whether events wait. Then rows that change by time alone are left to their batches.
        """
        if in_between and not self._waiting:
            return False
        self._settle()
        self._follow_publication()
        if not in_between:
            self._take_due(USERS_AT_A_TIME - len(self._waiting))
        before = len(self._waiting)
        if before and (not self._store_is_away or time.monotonic() >= self._retry_at):
            self._put_online(also_long=True)
            self._settle()
        # A store that is away is asked again at the next pause, not at once.
        went_on = len(self._waiting) < before
        return went_on and bool(self._waiting or self._is_due())

    def close(self) -> None:
        """Let another process take events; closing twice is closing once."""
        self._settle()
        self._writes.close()
        self._computation.close()
        self.journal.close()

    def _is_due(self) -> bool:
        """Whether a user's rows may have changed by time alone."""
        return bool(self._due) and self._due[0][0] <= self._clock().replace(tzinfo=None)

    def _take_due(self, most: int) -> None:
        """Let so many users wait whose rows may have changed by time alone."""
        taken = 0
        while taken < most and self._is_due():
            at, user = heapq.heappop(self._due)
            if self._due_at.get(user) == at:
                del self._due_at[user]
                self._waiting[user] = None
                taken += 1

    # What a batch does ----------------------------------------------------------------------------

    def _not_taken_yet(self, arrivals: Sequence[Arrival]) -> tuple[list[Arrival], list[int | None]]:
        """The events to take, and the place of each arrival among them."""
        fresh: list[Arrival] = []
        places: list[int | None] = []
        sources: set[str] = set()
        for arrival in arrivals:
            again = arrival.source in self._by_source or arrival.source in sources
            places.append(None if again else len(fresh))
            if not again:
                fresh.append(arrival)
                if arrival.source is not None:
                    sources.add(arrival.source)
        return fresh, places

    def _take_fresh(self, fresh: list[Arrival]) -> list[Verdict]:
        now = self._clock()
        lines = self.journal.prepare(fresh, now)
        try:
            events = self._computation.read(lines, now)
        except duckdb.Error:
            return self._take_readable(fresh, now)
        first = self.journal.last + 1
        self.journal.append(lines)
        known = self._known(events)
        try:
            judged = self._computation.judge(known)
        except duckdb.Error:
            # The journal has them already: everything is read again, they among it.
            _log.exception("a batch could not be judged; the journal is read again")
            self._load()
            return self._verdicts_of(first, len(lines))
        return self._note(judged, known, first, len(lines))

    def _take_readable(self, fresh: list[Arrival], now: datetime) -> list[Verdict]:
        """Leave out events on which an expression of the dataset file fails.

        In a log's file such a row stops the build, which its owner then corrects. A sender must
        not be able to do that, so it is no event.
        """
        verdicts: list[Verdict | None] = []
        readable = []
        for arrival in fresh:
            try:
                self._computation.read(self.journal.prepare([arrival], now), now)
                readable.append(arrival)
                verdicts.append(None)
            except duckdb.Error as error:
                reason = f"the dataset file cannot read it: {str(error).splitlines()[0][:200]}"
                verdicts.append(Verdict(MALFORMED, reason))
        if len(readable) == len(fresh):
            raise RuntimeError("a batch cannot be read although each of its events can")
        taken = iter(self._take_fresh(readable) if readable else ())
        return [verdict or next(taken) for verdict in verdicts]

    def _known(self, events: list[tuple[str, str | None]]) -> pa.Table:
        """The rows known already that the verdicts on new events depend on."""
        known = self._history.of_ids(sorted({event_id for event_id, _ in events}))
        if not self._statements.judges_history:
            return known
        users = sorted({user for _, user in events if user is not None})
        others = self._history.of_users(users)
        missing = pc.invert(pc.is_in(others["event_id"], known["event_id"]))
        return pa.concat_tables([known, others.filter(missing)])

    def _note(self, judged: pa.Table, before: pa.Table, first: int, count: int) -> list[Verdict]:
        """Keep the rows that count, and who is touched by them; return the new lines' verdicts."""
        keys = ("event_id", POSITION, "verdict", "user_id")
        was = {row[0]: row[1:] for row in _rows(before, keys)}
        verdicts: list[Verdict] = [Verdict(DUPLICATE)] * count
        changed = []
        for place, (event_id, position, verdict, user) in enumerate(_rows(judged, keys)):
            number = position - FIRST_POSITION - first
            if 0 <= number < count:
                verdicts[number] = Verdict.of_staging(verdict)
            if verdict == DUPLICATE or was.get(event_id, ())[:2] == (position, verdict):
                continue
            changed.append(place)
            if verdict == ACCEPTED:
                self._waiting[user] = None
            if event_id in was and was[event_id][1] == ACCEPTED:
                self._waiting[was[event_id][2]] = None
        self._history.replace(judged.take(pa.array(changed, pa.int64())))
        return verdicts

    def _put_online(self, also_long: bool = False) -> None:
        """Compute the rows of who waits; of those with a long history at most one."""
        long = [user for user in self._waiting if self._history.count_of(user) > LONG_HISTORY]
        try:
            for users in self._in_parts(self._waiting.keys() - set(long)):
                self._put_users_online(users)
            if also_long and long:
                self._put_users_online(long[:1])
            if not self._waiting and self._writes.running is not None:
                self._writes.running.line = self.journal.last
            elif not self._waiting:
                self.journal.note_applied()
        except Exception as error:
            self._note_away(error)

    def _note_away(self, error: BaseException) -> None:
        """The events are safe; a store that is away for a while is no reason to refuse them."""
        if not self._store_is_away:
            users = len(self._waiting)
            _log.error("the rows of %d users are not online yet", users, exc_info=error)
        self._store_is_away = True
        self._retry_at = time.monotonic() + _RETRY_S

    def _settle(self) -> None:
        """Wait for the rows that are being written, and note what became of them."""
        write = self._writes.take()
        if write is None:
            return
        error = write.future.exception()
        if error is not None:
            self._waiting.update(dict.fromkeys(write.users))
            self._note_away(error)
            return
        self._store_is_away = False
        if write.line is not None:
            self.journal.note_applied(write.line)

    def _in_parts(self, users: Iterable[str]) -> Iterator[list[str]]:
        part: list[str] = []
        events = 0
        for user in sorted(users):
            own = self._history.count_of(user)
            if part and (len(part) == USERS_AT_A_TIME or events + own > EVENTS_AT_A_TIME):
                yield part
                part, events = [], 0
            part.append(user)
            events += own
        if part:
            yield part

    def _put_users_online(self, users: list[str]) -> None:
        now = self._clock()
        try:
            history = self._history.of_users(users)
            rows = list(self._computation.rows_in_force(history, now))
            steps = self._computation.next_steps()
        except duckdb.Error:
            if len(users) > 1:
                # One of them holds up the others: find him.
                for half in (users[: len(users) // 2], users[len(users) // 2 :]):
                    self._put_users_online(half)
                return
            _log.exception("the rows of user %r cannot be computed; he is left out", users[0])
            del self._waiting[users[0]]
            return
        for user, step in steps.items():
            self._due_at[user] = step
            heapq.heappush(self._due, (step, user))
        self._settle()
        for user in users:
            del self._waiting[user]
        self._writes.begin(users, rows, now)

    # What a start does ----------------------------------------------------------------------------

    def _load(self) -> None:
        self._settle()
        self._publication = self._published()
        files = self.journal.files()
        if files and _modified(self._publication) > _modified(files[-1]):
            # What that build has read can go one day, file by file; see trainer.streaming.pruning.
            self.journal.begin_file()
        self._statements = compile_statements(self._dataset_path, self.home)
        references = read_references(self.home, self._statements.references)
        now = self._clock()
        try:
            rows = self._read(self._statements, now)
        except duckdb.Error:
            # The log's columns are part of the statements.
            self._statements = compile_statements(self._dataset_path, self.home, anew=True)
            rows = self._read(self._statements, now)
        self._computation = Computation(
            self._statements, references, self._threads, read_forgotten(self.home)
        )
        self._history = History(self._computation.schema)
        self._history.replace(rows)
        numbers = pc.subtract(rows[POSITION], FIRST_POSITION)
        taken = rows.filter(pc.greater(numbers, 0))
        self._judged = dict(
            zip(
                pc.subtract(taken[POSITION], FIRST_POSITION).to_pylist(),
                taken["verdict"].to_pylist(),
                strict=True,
            )
        )
        accepted = taken.filter(pc.equal(taken["verdict"], ACCEPTED))
        unapplied = pc.greater(
            pc.subtract(accepted[POSITION], FIRST_POSITION), self.journal.applied
        )
        self._waiting.update(dict.fromkeys(accepted.filter(unapplied)["user_id"].to_pylist()))
        # Whoever did something since the last build may have had a step since, and no sync knows.
        for user in pc.unique(accepted["user_id"]).to_pylist():
            step = now.replace(tzinfo=None)
            self._due_at[user] = step
            heapq.heappush(self._due, (step, user))
        self._remember_sources()

    def _read(self, statements: Statements, now: datetime) -> pa.Table:
        rows, raw = read_log(statements, self.journal.files(), now, read_forgotten(self.home))
        _log.info("%d rows of the log and the journal, %d events known", raw, rows.num_rows)
        return rows

    def _remember_sources(self) -> None:
        for line in self.journal.lines_after(max(self.journal.last - _SOURCES_KEPT, 0)):
            if "source" in line:
                verdict = self._judged.get(line["number"], DUPLICATE)
                self._by_source[line["source"]] = Verdict.of_staging(verdict)

    def _verdicts_of(self, first: int, count: int) -> list[Verdict]:
        return [
            Verdict.of_staging(self._judged.get(number, DUPLICATE))
            for number in range(first, first + count)
        ]

    def _published(self) -> str:
        try:
            return os.path.realpath(features_dir(self.home))
        except OSError:
            return ""

    def _follow_publication(self) -> None:
        """Begin anew after a build: its log may hold more, and it fitted other patterns."""
        if self._published() != self._publication:
            _log.info("there is a new build; the log is read again")
            self._computation.close()
            self._load()


def _modified(path: str | Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _rows(table: pa.Table, names: Iterable[str]) -> Iterable[tuple]:
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)
