"""Bring the online store to the values in force at an instant."""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from feature_repo.home import online_now_path, published_build_path, sync_lock_path
from feature_repo.store import open_store

if TYPE_CHECKING:
    from feast import FeatureStore

    from feature_repo.in_force import PublishedView, Stored
    from feature_repo.online_database import Spool, SyncMark
    from feature_repo.sync_targets import Target

# Where the offline store sets no limit: a sync runs beside what it keeps up to date.
_MEMORY_LIMIT = "1GB"
_EVER = 2**63 - 1


@dataclass(frozen=True)
class SyncReport:
    """What a sync did.

    Attributes
    ----------
    instant : datetime
        In UTC.
    views : int
        Feature views looked at.
    rows : int
        Rows written.
    cells : int
        Values in them.
    removed : int
        Rows of entities that have no history at the instant.
    set_aside : Path or None
        A damaged store, where there was one; the rows are then in a new one.
    """

    instant: datetime
    views: int = 0
    rows: int = 0
    cells: int = 0
    removed: int = 0
    set_aside: Path | None = None


def sync(home: Path, at: datetime | None = None) -> SyncReport:
    """Make the online store hold each entity's values at the instant `at`, and nothing else.

    Parameters
    ----------
    home : Path
        Home of the run; its views must have been registered.
    at : datetime, optional
        A naive one is UTC. Default the clock.

    Returns
    -------
    SyncReport

    Raises
    ------
    BadInput
        If nothing is registered, a view cannot be read, or the store cannot be written.

    Notes
    -----
    Of a view whose file is the one of the last sync, entities with a row between then and now are
    looked at; of another one every entity's row in force is compared with the stored one by its
    instant and its ``computed_at``. What differs is written, who has no row is removed, all views
    in one transaction. So a late row, an expiry, a new feature, a vanished user, an earlier
    instant and a run that was killed are all one case. A row that was pushed after all that the
    build knows of stays, until a build knows of its event; see `known_until`.

    The registry is not touched. All views are read from one published snapshot.
    """
    from feature_repo.online_database import DamagedStore

    instant = at or datetime.now(UTC)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    instant = instant.astimezone(UTC)
    store = open_store(home)
    with _alone(home):
        try:
            return _sync(store, home, instant, follows_clock=at is None)
        except DamagedStore:
            from feature_repo.sync_targets import target_of

            aside = target_of(store.config, home).ledger.set_aside()
            report = _sync(store, home, instant, follows_clock=at is None)
            return replace(report, set_aside=aside)


def sync_every(
    home: Path,
    seconds: float,
    stop: threading.Event,
    done: Callable[[SyncReport], None],
    failed: Callable[[BadInput], None],
) -> None:
    """Sync to the clock again and again until `stop` is set; a sync that runs is finished.

    Parameters
    ----------
    home : Path
    seconds : float
        From the start of one sync to the start of the next.
    stop : threading.Event
    done, failed : callable
        Told of each sync. One that fails is tried again at its next turn.
    """
    import time

    while not stop.is_set():
        started = time.monotonic()
        try:
            done(sync(home))
        except BadInput as error:
            failed(error)
        stop.wait(max(0.0, seconds - (time.monotonic() - started)))


def online_now(home: Path) -> datetime:
    """Return the instant for which the online store is loaded, in UTC.

    Raises
    ------
    BadInput
        If it was never loaded.
    """
    path = online_now_path(home)
    try:
        status = os.stat(path)
        # The file is replaced and never written to, so that another instant is another file.
        file = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
        known = _noted.get(path)
        if known is None or known[0] != file:
            content = json.loads(path.read_text(encoding="utf-8"))
            known = _noted[path] = file, datetime.fromisoformat(content["at"])
        return known[1]
    except FileNotFoundError:
        raise BadInput(
            f"the online store in {home} is empty: load it with `trainer sync` first"
        ) from None


# What was read of `online_now_path`, of which file: a server asks with every request.
_noted: dict[Path, tuple[tuple[int, int, int, int], datetime]] = {}


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Wait until no other process syncs the same home; a killed one holds no lock."""
    path = sync_lock_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class _Change:
    """The change of one view that waits in the spool."""

    view: "PublishedView"
    name: str
    mark: "SyncMark"
    follows_clock: bool

    def until(self) -> int:
        """Of what instant a row may be that was pushed and stays; in microseconds since 1970.

        The clock goes on while a sync runs, and so does a stream.
        """
        return _microseconds_now() if self.follows_clock else self.mark.instant


def _microseconds_now() -> int:
    from feature_repo.online_store import microseconds

    return microseconds(datetime.now(UTC))


def _sync(store: "FeatureStore", home: Path, instant: datetime, follows_clock: bool) -> SyncReport:
    from feature_repo.in_force import PublishedView
    from feature_repo.online_database import SyncMark
    from feature_repo.online_store import microseconds, view_id, view_prefix
    from feature_repo.session import session
    from feature_repo.sources import Snapshot
    from feature_repo.sync_targets import target_of

    config = store.config
    views = [view for view in store.list_feature_views() if view.online]
    target = target_of(config, home)
    ledger = target.ledger
    now = microseconds(instant)
    with session(_settings(store)) as connection, ledger.spooling() as spool:
        snapshot = Snapshot(config.repo_path)
        changes = []
        for view in views:
            published = PublishedView(connection, snapshot, view)
            name = view_id(config, view)
            source, before = published.identity(), ledger.mark(name)
            unchanged = before is not None and source is not None and source == before.source
            clock = before.clock if before is not None and unchanged else published.clock()
            mark = SyncMark(now, source, clock)
            changes.append(_Change(published, name, mark, follows_clock))
        known = known_until(home, (change.mark.clock for change in changes))
        clocks = {change.name: _clock(change, known) for change in changes}
        for change in changes:
            _collect(change, target, spool, clocks[change.name])
        rows, removed, cells = 0, 0, 0
        with _noting_now(home, instant), ledger.writing():
            for name in ledger.views():
                if name.startswith(view_prefix(config)) and name not in clocks:
                    ledger.drop_view(name)
            for change in changes:
                schema, clock = change.view.schema, clocks[change.name]
                written, gone = spool.apply(change.name, schema, clock, change.until())
                ledger.set_mark(change.name, change.mark)
                rows, removed = rows + written, removed + gone
                cells += written * len(schema.fields)
            until = _microseconds_now() if follows_clock else now
            removed += ledger.streamed.remove_known(clocks, until)
    ledger.checkpoint()
    if target.rows_written is not None:
        rows, cells = target.rows_written, target.cells_written
    return SyncReport(instant, len(views), rows, cells, removed)


@contextmanager
def _noting_now(home: Path, instant: datetime) -> Iterator[None]:
    """Note which instant is online, once the body has brought it there.

    The note is written before and named after, so that a disk without room for it is told while
    nothing has changed.
    """
    path = online_now_path(home)
    with replacing(path) as fresh:
        try:
            with fresh.open("w", encoding="utf-8") as file:
                file.write(json.dumps({"at": instant.isoformat()}))
        except OSError as error:
            raise BadInput(
                f"{path} cannot be written ({error.strerror}): make room on its disk and run the "
                "command again; what was in force still is"
            ) from None
        yield


def known_until(home: Path, clocks: Iterable[int | None]) -> int:
    """Return until when the published views know what arrived, in microseconds since 1970.

    Until the build began to read the log. Where no build of ours published them, the newest row of
    any view tells, by `clocks`; where none does, they are taken to know everything.
    """
    from feature_repo.online_store import microseconds

    try:
        content = json.loads(published_build_path(home).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return max((clock for clock in clocks if clock is not None), default=_EVER)
    return microseconds(datetime.fromisoformat(content["log_read_at"]))


def _clock(change: _Change, known: int) -> int:
    # Rows that do not say when they were made are taken for the newest.
    return known if change.view.has_created else _EVER


def _collect(change: _Change, target: "Target", spool: "Spool", clock: int) -> None:
    """Find what of a view is to change, and put it into the spool."""
    view, name, now = change.view, change.name, change.mark.instant
    ledger = target.ledger
    stored: Stored
    spool.add_view(name)
    before = ledger.mark(name)
    if before is not None and not target.still_holds(view, name):
        before = None
    with ledger.writing():
        schema = ledger.schema_id(name, view.schema)
    if before is None:
        _rewrite(change, target, spool, clock, clear=True)
        return
    if change.mark.source is not None and change.mark.source == before.source and not view.ttl:
        pushed = ledger.stored(name, pushed_only=True)
        others = ([entity for entity, *_ in batch] for batch in pushed)
        after, until = sorted((before.instant, now))
        if not view.note_steps(after, until, others):
            return
        view.find_latest(now, only_noted=True)
        stored = (ledger.stored_of(name, entities) for entities in view.noted())
    elif _may_be_other_rows(change, before):
        _rewrite(change, target, spool, clock, clear=False)
        return
    else:
        view.find_latest(now, only_noted=False)
        stored = ledger.stored(name)
    changed, gone = view.compare(stored, schema)
    if gone and not target.deletes_rows:
        _rewrite(change, target, spool, clock, clear=True)
        return
    _write(change, target, spool, clock, changed)
    for batch in view.gone():
        spool.remove(batch)


def _may_be_other_rows(change: _Change, before: "SyncMark") -> bool:
    """Whether rows may have other values although their instant and ``computed_at`` are the same.

    A build that goes on from the one before never makes such rows; one from scratch may, and has
    then no later clock.
    """
    clock = change.mark.clock
    return clock is None or before.clock is None or clock <= before.clock


def _rewrite(change: _Change, target: "Target", spool: "Spool", clock: int, clear: bool) -> None:
    """Take every row in force; those that are there already, value by value, are not written."""
    view, name, ledger = change.view, change.name, target.ledger
    view.find_latest(change.mark.instant, only_noted=False)
    _, gone = view.compare(ledger.stored(name), schema=0)
    if not target.deletes_rows and (clear or gone):
        target.begin(view, name)
        target.clear(view)
    changed = view.take_all()
    _write(change, target, spool, clock, changed)
    for batch in view.gone():
        spool.remove(batch)


def _write(change: _Change, target: "Target", spool: "Spool", clock: int, changed: int) -> None:
    if changed:
        target.begin(change.view, change.name)
        for batch in change.view.changed():
            spool.change(target.write(change.view, batch, clock, change.until()))


def _settings(store: "FeatureStore"):
    from feature_repo.session import SessionSettings

    given = store.config.offline_store
    return SessionSettings(
        threads=getattr(given, "threads", None),
        memory_limit=getattr(given, "memory_limit", None) or _MEMORY_LIMIT,
        temp_directory=getattr(given, "temp_directory", None),
    )
