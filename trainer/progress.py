"""Progress of long loops: who runs one wraps what it iterates over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol


class Track(Protocol):
    """Passes items through and shows how far it is."""

    def __call__(self, items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
        """The same items; ``total`` is how many there are, ``what`` is said beside them."""


def untracked(items: Iterable[Any], total: int, what: str) -> Iterator[Any]:  # noqa: ARG001
    """Show nothing."""
    return iter(items)
