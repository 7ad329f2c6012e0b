"""``forget``: a user out of everything that a home holds, and who had seen him.

The user goes onto a list that every build reads (:mod:`trainer.forgotten`), and a build then takes
him out of what it made, as it does with any event that is gone from a log: counts of items and of
the population, clusters and labels are what they are without him. What a build leaves of the past
is then removed for good: the rows that a database file keeps in free pages, the publication before,
the reports that name users. The log itself is not ours; a line says how many rows it has.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from feature_repo.errors import BadInput
from feature_repo.home import features_dir, label_path, online_now_path, online_store_path
from trainer.checkpoints import FOLDER
from trainer.columns import Columns as C
from trainer.config import load_config
from trainer.dataset import DatasetFile
from trainer.finding import files_with, holds, quoted
from trainer.forgotten import Forgotten, pseudonym, read_forgotten, write_forgotten
from trainer.models.base import Report, read_json
from trainer.runs import CONFIG, LATEST, MODELS, RUN, SPLIT
from trainer.scratch import remove_left
from trainer.splits import read_cuts, users_held_out
from trainer.streaming.forgetting import empty_lines

WAREHOUSE = "warehouse.duckdb"
_HOLD_NO_USERS = ("accounting.json", "quality.json", "quality.html")  # reports of counts alone


@dataclass(frozen=True)
class SeenBy:
    """A run and what it had of the user.

    Attributes
    ----------
    run
        Its name.
    trained
        Whether he was among those learned from; else he was judged on, at most.
    epsilon
        The privacy loss that it was trained under, where it was.
    """

    run: str
    trained: bool
    epsilon: float | None = None

    def __str__(self) -> str:
        """As a line for people."""
        if not self.trained:
            return f"{self.run}: not learned from; its metrics counted him"
        bound = "" if self.epsilon is None else f", with epsilon {self.epsilon:g}"
        return f"{self.run}: learned from him{bound}"


@dataclass(frozen=True)
class Forgetting:
    """What forgetting a user did.

    Attributes
    ----------
    in_log
        Rows of forgotten users that the log and the journal still have; builds leave them out.
    journal_lines
        Lines of the journal that were emptied.
    removed
        Files that were removed whole.
    seen_by
        Runs that had seen the user, the oldest first; ``None`` where no build before knew him.
    left
        Files in which he was found afterwards: none, but for a fault.
    """

    in_log: int
    journal_lines: int
    removed: tuple[Path, ...]
    seen_by: tuple[SeenBy, ...] | None
    left: tuple[Path, ...] = field(default=())


def forget(
    dataset_path: str,
    home: Path,
    user: str,
    report: Report,
    build: Callable[[str, Path, Report], dict[str, Any]],
) -> Forgetting:
    """Take a user out of a home.

    Parameters
    ----------
    dataset_path
        The dataset file of the home.
    home
        Home of the run.
    user
        The identifier as the log has it, also where the dataset hashes it.
    report
        Takes lines of progress.
    build
        Builds the dataset, as :func:`trainer.build.build` does.

    Raises
    ------
    BadInput
        When a stream runs, or the dataset cannot be built; the user is on the list all the same,
        and the same command goes on.
    """
    dataset = DatasetFile.load(dataset_path)
    known_as = pseudonym(user) if dataset.hash_user_ids else user
    forgotten = read_forgotten(home)
    seen = runs_that_saw(home, known_as)
    if seen is None:
        seen = _remembered(forgotten, known_as)
    _note(home, forgotten, known_as, seen)
    lines = empty_lines(home, dataset.columns["user_id"], known_as)
    report(f"{lines:,} lines of the journal emptied; building without the user")
    accounting = build(dataset_path, home, report)
    _purge_warehouse(home / WAREHOUSE)
    removed = [*_remove_publications(home), *_remove_reports(home, known_as)]
    _sync_online(home, report)
    return Forgetting(
        in_log=accounting["rejected"].get("forgotten", 0),
        journal_lines=lines,
        removed=tuple(removed),
        seen_by=seen,
        left=tuple(files_with(home, known_as)),
    )


def runs_that_saw(home: Path, user: str) -> tuple[SeenBy, ...] | None:
    """Runs of a home that had events of a user, the oldest first; ``None`` where nobody knows him.

    Parameters
    ----------
    home
        Home of the run, as built with the user.
    user
        As the home's files call him.

    Notes
    -----
    A run that was fitted before the user's first event had not seen him. Whether it had is told by
    the cuts of the run and by today's events: one that arrived late counts as seen.
    """
    events = label_path(home, "events")
    if not events.exists():
        return None
    with duckdb.connect() as connection:
        found = connection.execute(
            f"select min({C.INSTANT}), max({C.INSTANT}) from read_parquet(?) where {C.USER} = ?",
            [str(events), user],
        ).fetchone()
    if found is None or found[0] is None:
        return None
    first = np.datetime64(found[0], "us")
    seen = []
    for path in sorted((home / MODELS).glob(f"*/{RUN}")):
        if path.parent.name == LATEST:
            continue
        cuts = read_cuts(read_json(path.parent / SPLIT)["cuts"])
        split = load_config(path.parent / CONFIG).split
        held_out = split.by == "users" and bool(
            users_held_out(np.array([user], dtype=object), split.share, "split:")[0]
        )
        privacy = read_json(path).get("privacy") or {}
        trained = bool(first <= cuts.train_end) and not held_out
        seen.append(SeenBy(path.parent.name, trained, privacy.get("epsilon") if trained else None))
    return tuple(seen)


def _note(home: Path, forgotten: Forgotten, user: str, seen: tuple[SeenBy, ...] | None) -> None:
    forgotten.note(
        user,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        runs=None if seen is None else [vars(each) for each in seen],
    )
    home.mkdir(parents=True, exist_ok=True)
    write_forgotten(home, forgotten)


def _remembered(forgotten: Forgotten, user: str) -> tuple[SeenBy, ...] | None:
    """What an earlier, perhaps interrupted, forgetting of the user had found."""
    runs = forgotten.users.get(forgotten.hash_of(user), {}).get("runs")
    return None if runs is None else tuple(SeenBy(**run) for run in runs)


def _purge_warehouse(path: Path) -> None:
    """Write the warehouse anew without what its pages keep of rows that are gone.

    The change log goes with it: a build has just taken all of it in, and it names who was touched.
    """
    fresh = path.with_name(f"{path.name}.fresh")
    fresh.unlink(missing_ok=True)
    try:
        with duckdb.connect() as connection:
            connection.execute(f"attach '{quoted(path)}' as was")
            connection.execute("delete from was.main.event_changes")
            connection.execute(f"attach '{quoted(fresh)}' as fresh")
            connection.execute("copy from database was to fresh")
            connection.execute("detach was")
            connection.execute("detach fresh")
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
        Path(f"{path}.wal").unlink(missing_ok=True)


def _remove_publications(home: Path) -> Iterator[Path]:
    """Remove what was published before; its readers had a whole build to leave it."""
    current = features_dir(home).resolve().parent
    for folder in sorted((home / ".published").glob("*")):
        if folder.is_dir() and not folder.is_symlink() and folder.resolve() != current:
            shutil.rmtree(folder)
            yield folder


def _remove_reports(home: Path, user: str) -> Iterator[Path]:
    """Remove reports that show users, and what fits that were killed left: it learned from them."""
    for path in sorted((home / "reports").glob("*")):
        if path.is_file() and path.name not in _HOLD_NO_USERS and holds(path, user.encode()):
            path.unlink()
            yield path
    for pattern in (f"{FOLDER}/*.pt", "feast/*.damaged"):
        for path in sorted(home.glob(pattern)):
            path.unlink()
            yield path
    yield from remove_left(home / FOLDER)


def _sync_online(home: Path, report: Report) -> None:
    """Take the user out of the online store, and out of its free pages."""
    now = online_now_path(home)
    if not now.exists():
        return
    from feature_repo.sync import online_now, sync

    done = sync(home, online_now(home))
    report(f"{done.removed:,} rows removed from the online store")
    path = online_store_path(home)
    if path.exists():
        with sqlite3.connect(path) as connection:
            connection.execute("vacuum")
            connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()


def lines(done: Forgetting) -> list[str]:
    """What was done, for people."""
    said = [f"removed {path}" for path in done.removed]
    if done.seen_by is None:
        said.append("the build before knew nobody of that name: no run can be told")
    elif not done.seen_by:
        said.append("no run had seen him")
    else:
        said += [f"run {each}" for each in done.seen_by]
    if done.in_log:
        said.append(
            f"{done.in_log:,} rows of forgotten users are in the log and left out of builds; "
            "remove them there"
        )
    return said


def as_json(done: Forgetting) -> str:
    """What was done, for programs."""
    runs = None if done.seen_by is None else [vars(each) for each in done.seen_by]
    return json.dumps(
        {
            "rows_in_log": done.in_log,
            "journal_lines": done.journal_lines,
            "removed": [str(path) for path in done.removed],
            "runs": runs,
            "left": [str(path) for path in done.left],
        },
        indent=1,
    )


def require_nothing_left(done: Forgetting) -> None:
    """Refuse to call it done where the user was found afterwards.

    Raises
    ------
    BadInput
        With the files.
    """
    if done.left:
        shown = ", ".join(str(path) for path in done.left[:3])
        raise BadInput(f"the user still stands in {len(done.left)} files: {shown}; remove them")
