"""File system steps of a build that SQL has no words for: resolving paths and publishing a snapshot.

dbt-duckdb loads this plugin (see profiles.yml) and the macros call its functions as SQL functions.

A publication is a folder ``.published/<number>/`` with ``features/`` and ``labels/``. The link
``.published/current`` names the one in force and is replaced by a rename, so that every view changes
at one instant; ``features`` and ``labels`` beside the warehouse are fixed links through it.
"""

import glob
import json
import os
import shutil
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = ("features", "labels")
SNAPSHOTS_KEPT = 2  # the one in force, and the one before it for readers that have just opened it


def resolve_path(path: str) -> str:
    """Make a path of the dataset file absolute; relative ones start at the repository."""
    return str(PROJECT.parent / path)


def problem_with(path: str) -> str:
    """Say in one line why a file or glob cannot be a log; empty where nothing speaks against it."""
    files = glob.glob(path, recursive=True)
    if not files:
        return f"{path}: no such file: set events_path in the dataset file, or put the log there"
    if not any(os.path.getsize(file) for file in files):
        return f"{path}: the file is empty, it has not even a header: export the log again"
    return ""


def prepare(warehouse: str) -> str:
    """Make the folders of a home and return its absolute path."""
    home = Path(warehouse).absolute().parent
    for folder in FOLDERS:
        (home / ".staging" / folder).mkdir(parents=True, exist_ok=True)
    (home / "reports").mkdir(exist_ok=True)
    return str(home.resolve())


def keep(partial: str) -> str:
    """Give a finished `<name>.partial` its name. A killed write never looks like a whole file."""
    os.replace(partial, partial.removesuffix(".partial"))
    return partial


def publish(home: str, views: str) -> str:
    """Publish what is staged together with what is in force and was not built again.

    Parameters
    ----------
    home : str
        The folder that :func:`prepare` returned.
    views : str
        JSON list of ``[folder, view]``: every published model of the project. Any other file in
        force belongs to a model that is gone and is left out.

    Returns
    -------
    str
        One line that says what was published.
    """
    root = Path(home)
    published = root / ".published"
    current = published / "current"
    in_force = current.resolve() if current.is_symlink() else None
    numbers = [int(p.name) for p in published.glob("[0-9]*") if p.is_dir()]
    number = max(numbers, default=0) + 1
    made = published / f"making-{number}"
    shutil.rmtree(made, ignore_errors=True)
    fresh = 0
    staged_files = []
    for folder in FOLDERS:
        (made / folder).mkdir(parents=True)
    for folder, view in json.loads(views):
        target = made / folder / f"{view}.parquet"
        staged = root / ".staging" / folder / f"{view}.parquet"
        kept = in_force / folder / f"{view}.parquet" if in_force else None
        if staged.exists():
            os.link(staged, target)
            staged_files.append(staged)
            fresh += 1
        elif kept is not None and kept.exists():
            os.link(kept, target)
    os.replace(made, published / str(number))
    _replace_link(current, str(number))
    for folder in FOLDERS:
        link = root / folder
        if not link.is_symlink():
            _replace_link(link, f".published/current/{folder}")
    # Only now may the staged files go: killed before this line, the next build publishes them again.
    for staged in staged_files:
        staged.unlink()
    for old in sorted(numbers)[: -SNAPSHOTS_KEPT + 1 or None]:
        shutil.rmtree(published / str(old), ignore_errors=True)
    return f"{fresh} of {len(json.loads(views))} views are new in {root / 'features'} and {root / 'labels'}"


def write_report(home: str, name: str, content: str) -> str:
    """Write a JSON report whole or not at all."""
    target = Path(home) / "reports" / name
    partial = target.with_name(f".{name}.partial")
    partial.write_text(json.dumps(json.loads(content), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, target)
    return str(target)


def _replace_link(link: Path, target: str) -> None:
    partial = link.with_name(f".{link.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    os.replace(partial, link)


class Plugin(BasePlugin):
    """Registers the functions above as ``scalespace_<name>``."""

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on the connection that all threads of the build share."""
        for function, arguments in (
            (resolve_path, 1),
            (problem_with, 1),
            (prepare, 1),
            (keep, 1),
            (publish, 2),
            (write_report, 3),
        ):
            conn.create_function(
                f"scalespace_{function.__name__}",
                function,
                ["VARCHAR"] * arguments,
                "VARCHAR",
                side_effects=True,
            )
