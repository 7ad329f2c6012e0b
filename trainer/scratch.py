"""Folders for what a fit cannot hold in memory, which end with it, or with whoever comes next."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trainer.row_groups import space_named

_PREFIX, _LOCK = "rows-", "lock"


@contextlib.contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """A folder that is removed afterwards; those that killed processes left are removed too.

    Parameters
    ----------
    parent
        Where it stands; by default with temporary files, which are not looked through.
    """
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
        remove_left(parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name:
        folder = Path(name)
        with space_named("the training rows", parent), (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder


def remove_left(parent: Path) -> list[Path]:
    """Remove the folders that killed processes left, and return them."""
    removed = []
    for left in sorted(parent.glob(f"{_PREFIX}*")):
        with contextlib.suppress(OSError), (left / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever lives holds his own
            shutil.rmtree(left)
            removed.append(left)
    return removed
