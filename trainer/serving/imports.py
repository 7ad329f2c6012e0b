"""What the server's process does without."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def absent(module: str) -> Iterator[None]:
    """Let `module` look as if it were not installed, unless it was imported already.

    Feast imports torch where it finds it, for a method that nothing here calls; that is half of the
    server's memory.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # Python's own mark of a missing module
    try:
        yield
    finally:
        del sys.modules[module]
