"""``trainer stream``: an engine on one of its ways in, until it ends or is told to."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from feature_repo.errors import BadInput
from trainer.streaming.engine import Engine
from trainer.streaming.journal import JournalError
from trainer.streaming.lines import stream_lines
from trainer.streaming.online import StoredOnline
from trainer.streaming.redis_source import RedisSource


def run(dataset: str, home: Path, redis: str | None, stream: str, group: str) -> None:
    """Take events in until the input ends, or SIGTERM or SIGINT asks for an end.

    Parameters
    ----------
    dataset
        The dataset file.
    home
        Home of the run.
    redis
        Address of a Redis server; None for standard input.
    stream, group
        The Redis stream and its consumer group.

    Raises
    ------
    BadInput
        If there is no build, nothing is registered, or another process takes events.
    """
    # Answers go to standard output, and nothing else does.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    source = RedisSource(redis, stream, group) if redis is not None else None
    with _asked_to_stop() as asked:
        engine = Engine(dataset, home, StoredOnline(home))
        try:
            if source is not None:
                count = source.run(engine, asked.is_set)
            else:
                count = stream_lines(engine, sys.stdin.buffer, sys.stdout, asked.is_set)
        except JournalError as error:
            raise BadInput(f"{error}: make room, and send what was not answered again") from None
        finally:
            engine.close()
    logging.getLogger(__name__).info("%d events", count)


@contextmanager
def _asked_to_stop() -> Iterator[Event]:
    """An event that is set by SIGTERM or SIGINT, which then do nothing else."""
    asked = Event()
    before = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
