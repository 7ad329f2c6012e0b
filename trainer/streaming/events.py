"""One event on its way in: a JSON object with the log's own columns, kept as text.

What the values mean is said by the dataset file and decided by dbt's staging, as for a CSV. So an
event that cannot be read at all is *malformed*, and everything else gets a verdict of staging.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ACCEPTED, DUPLICATE, REJECTED, MALFORMED = "accepted", "duplicate", "rejected", "malformed"
MOST_BYTES = 65_536  # of one event; far below the longest line that DuckDB reads


class _Number(str):
    """A number of JSON as it was written: 2.50 stays 2.50, and 2^60 stays exact."""


class Malformed(ValueError):
    """The text is no event; the message says why in one line."""


@dataclass(frozen=True)
class Arrival:
    """An event that arrived.

    Attributes
    ----------
    values : dict of str to str or None
        Text by column of the log; a column that is left out is null.
    source : str or None
        What its deliverer calls it, where that one may deliver it again (an entry of a Redis
        stream). The same source is never taken in twice.
    """

    values: dict[str, str | None]
    source: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of one event.

    Attributes
    ----------
    verdict : str
        ``accepted``, ``duplicate``, ``rejected`` or ``malformed``.
    reason : str or None
        Of a rejected event, staging's reason, as ``null_user``; of a malformed one, a sentence.
    """

    verdict: str
    reason: str | None = None

    @classmethod
    def of_staging(cls, verdict: str) -> Verdict:
        """Turn the column ``verdict`` of staging into an answer."""
        if verdict in (ACCEPTED, DUPLICATE):
            return cls(verdict)
        return cls(REJECTED, verdict)

    def as_dict(self) -> dict[str, str | None]:
        """The answer as JSON has it."""
        return {"verdict": self.verdict, "reason": self.reason}


def read_json(text: str | bytes) -> Any:
    """Parse JSON with its numbers as they were written.

    Raises
    ------
    Malformed
        If it is not JSON in UTF-8; NaN and Infinity are not.
    """
    try:
        return json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)
    except RecursionError:
        raise Malformed("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise Malformed("it is not UTF-8") from None
    except ValueError as error:
        raise Malformed(f"it is not JSON: {str(error)[:200]}") from None


def read_event(given: Any, columns: Sequence[str]) -> dict[str, str | None]:
    """Check one parsed object, and return its values as text.

    Parameters
    ----------
    given
        What `read_json` returned, or one element of it.
    columns
        The log's columns.

    Raises
    ------
    Malformed
        If it is no object, has a column that the log does not have, a value that is neither text
        nor number nor truth value, text that is not Unicode, or is too long.
    """
    if not isinstance(given, dict):
        raise Malformed("it is no JSON object")
    values: dict[str, str | None] = {}
    for name, value in given.items():
        if name not in columns:
            raise Malformed(f"no column {_shown(name)}; the log has {', '.join(columns)}")
        if isinstance(value, bool):
            values[name] = str(value).lower()
        elif value is None or isinstance(value, str):
            values[name] = None if value is None else str(value)
        else:
            raise Malformed(f"column {_shown(name)} holds neither text nor a number")
    if not values:
        raise Malformed("it has no columns")
    try:
        size = sum(len(v.encode()) for v in values.values() if v is not None)
    except UnicodeEncodeError:
        raise Malformed("it holds text that is not Unicode (half of a surrogate pair)") from None
    if size > MOST_BYTES:
        raise Malformed(f"it has {size:,} bytes; an event has at most {MOST_BYTES:,}")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _shown(name: str) -> str:
    return json.dumps(name[:100])
