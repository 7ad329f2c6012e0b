"""Instants and durations, as dataset files and the command line write them, read strictly."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+)\s*([smhdw])")

Instants = NDArray[np.datetime64]


def parse_instant(value: object, what: str) -> np.datetime64:
    """Read one instant as naive UTC microseconds.

    Parameters
    ----------
    value
        ISO 8601 text, with or without an offset (none means UTC), or what YAML made of it.
    what
        The name of the value in the message of an error, for example ``--at``.

    Raises
    ------
    BadInput
        When the value is not an instant.
    """
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]")
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day)
        else:
            moment = datetime.fromisoformat(str(value).strip())
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise BadInput(
            f"{what}: {str(value)!r} is not an instant; "
            "write it as 2024-05-31 or 2024-05-31T18:00:00Z"
        ) from None
    return np.datetime64(moment, "us")


def parse_duration(value: object, what: str) -> np.timedelta64:
    """Read a duration such as ``30m``, ``12h`` or ``7d`` as microseconds."""
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise BadInput(f"{what}: {str(value)!r} is not a duration; write it as 30m, 12h or 7d")
    seconds = int(match.group(1)) * _UNIT_SECONDS[match.group(2)]
    return np.timedelta64(seconds * 1_000_000, "us")


def to_datetime(instant: np.datetime64) -> datetime:
    """The same instant as an aware UTC datetime, as Feast wants it."""
    return instant.astype("datetime64[us]").item().replace(tzinfo=UTC)


def show_instant(instant: np.datetime64) -> str:
    """The instant as a person reads it: ``2024-05-31 18:00:00 UTC``."""
    return instant.astype("datetime64[us]").item().isoformat(sep=" ") + " UTC"


def show_duration(duration: np.timedelta64) -> str:
    """The duration in its largest whole unit: ``7d``, ``30m``."""
    seconds = int(duration // np.timedelta64(1, "s"))
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNIT_SECONDS[unit] == 0:
            return f"{seconds // _UNIT_SECONDS[unit]}{unit}"
    return f"{seconds}s"


def weekdays(instants: Instants) -> NDArray[np.int64]:
    """UTC weekday of each instant, 0 for Monday."""
    return (instants.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01: a Thursday
