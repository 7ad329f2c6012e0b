"""Newline-delimited JSON on standard input; a verdict a line on standard output."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable, Iterator
from typing import BinaryIO, TextIO

from trainer.streaming.engine import Engine
from trainer.streaming.events import (
    MALFORMED,
    MOST_BYTES,
    Arrival,
    Malformed,
    Verdict,
    read_event,
    read_json,
)

MOST_EVENTS = 1_000  # of a batch
_PAUSE_S = 0.2
_BLOCK = 1 << 20
_LONGEST_LINE = 16 * MOST_BYTES  # a longer one is malformed, and not kept in memory


def stream_lines(
    engine: Engine, source: BinaryIO, answers: TextIO, stopping: Callable[[], bool]
) -> int:
    """Take in every line until the input ends or `stopping` says so; return how many.

    Each answer is ``{"line": n, "verdict": ..., "reason": ...}``, in the order of the lines, and
    stands there when the events of its batch are on the disk.
    """
    count = 0
    for batch in _batches(source, stopping, engine):
        verdicts = _take(engine, batch)
        for number, verdict in enumerate(verdicts, count + 1):
            answers.write(json.dumps({"line": number, **verdict.as_dict()}) + "\n")
        answers.flush()
        count += len(batch)
    return count


def _take(engine: Engine, lines: list[bytes]) -> list[Verdict]:
    answers: list[Verdict | None] = []
    arrivals = []
    for line in lines:
        try:
            if len(line) > _LONGEST_LINE:
                raise Malformed(f"it is longer than {_LONGEST_LINE:,} bytes")
            arrivals.append(Arrival(read_event(read_json(line), engine.columns)))
            answers.append(None)
        except Malformed as error:
            answers.append(Verdict(MALFORMED, str(error)))
    verdicts = iter(engine.take(arrivals) if arrivals else ())
    return [answer or next(verdicts) for answer in answers]


def _batches(
    source: BinaryIO, stopping: Callable[[], bool], engine: Engine
) -> Iterator[list[bytes]]:
    """Lines that are there together; in pauses the engine follows the time."""
    descriptor = source.fileno()
    rest = b""
    ended = False
    while not ended and not stopping():
        if not select.select([descriptor], [], [], _PAUSE_S)[0]:
            engine.idle()
            continue
        block = os.read(descriptor, _BLOCK)
        ended = not block
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            # Enough to see that it is too long; what follows belongs to it up to its end.
            rest = rest[: _LONGEST_LINE + 1]
        if ended and rest:
            lines.append(rest)
        for start in range(0, len(lines), MOST_EVENTS):
            yield lines[start : start + MOST_EVENTS]
