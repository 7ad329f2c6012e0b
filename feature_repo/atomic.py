"""Files that a reader finds whole, old or new."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(live: Path) -> Iterator[Path]:
    """Give a path beside `live` to write to, and put that file in its place at the end.

    If the body raises, `live` stays as it was and nothing is left beside it.
    """
    live.parent.mkdir(parents=True, exist_ok=True)
    fresh = live.with_name(f"{live.name}.{uuid.uuid4().hex}")
    try:
        yield fresh
        # The name must not reach the disk before the bytes.
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(fresh, live)
    finally:
        fresh.unlink(missing_ok=True)
