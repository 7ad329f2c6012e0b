"""How many events a second go from their arrival to the online store, and how long one takes.

``python -m benchmarks.streaming`` prints one table and writes its JSON. It builds a generated log,
registers it, and streams new events of its users: first as fast as they are taken, for the rate
that is sustained; then at fixed rates, for the time from arrival to visible.
"""

import argparse
import logging
import random
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from benchmarks.homes import build_features
from benchmarks.measurement import Aim, Result, add_common_arguments, size, working_folder
from benchmarks.settings import (
    ACTIONS,
    EVENTS_PER_USER,
    SEED,
    STREAM_EVENTS,
    STREAM_RATES,
    STREAM_SECONDS,
)

STORES = ("none", "online")


class NoStore:
    """Takes rows and drops them: what is left is the journal, the SQL and Python."""

    def write(self, views: Sequence[tuple[str, pa.Table]], now: datetime) -> int:  # noqa: ARG002
        """Count the values."""
        return sum(rows.num_rows * (rows.num_columns - 3) for _, rows in views)

    def tidy(self) -> None:
        """Do nothing."""


class TimedStore:
    """Measures the time in another one."""

    def __init__(self, store: Any):
        self._store = store
        self.seconds = 0.0

    def write(self, views: Sequence[tuple[str, pa.Table]], now: datetime) -> int:
        """Write to the store behind."""
        with self._timing():
            return self._store.write(views, now)

    def tidy(self) -> None:
        """Let the store behind do its rest."""
        with self._timing():
            self._store.tidy()

    @contextmanager
    def _timing(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


def streaming(arguments: argparse.Namespace) -> Result:
    """Stream events of the users of a log, with and without a store behind."""
    sizes = (arguments.events, tuple(arguments.rates), arguments.seconds)
    result = Result(
        "streaming",
        f"Events of {arguments.events // EVENTS_PER_USER:,} users with {EVENTS_PER_USER} events "
        "each, from arrival to online",
        {"events of the log": arguments.events, "seconds": arguments.seconds, "seed": SEED},
        trial=sizes != (STREAM_EVENTS, STREAM_RATES, STREAM_SECONDS),
    )
    with working_folder(arguments.work) as work:
        dataset, home = _build(work, arguments.events)
        rates: dict[str, float] = {}
        slowest: dict[tuple[str, float], float] = {}
        for store in STORES:
            for rate in (None, *arguments.rates):
                with _batches(dataset, home, store) as (batches, timed):
                    found = _run(batches, timed, arguments.events, rate, arguments.seconds)
                result.add(store=store, **found)
                if rate is None:
                    rates[store] = found["events/s"]
                else:
                    slowest[store, rate] = found["p99 ms"]
    aimed = 1_000.0
    result.aims = [Aim("events/s sustained, without a store", rates["none"], aimed, at_most=False)]
    result.aims.append(
        Aim("events/s sustained, with the store", rates["online"], aimed, at_most=False)
    )
    for store, how in (("none", "without a store"), ("online", "with the store")):
        if (key := (store, aimed)) in slowest:
            result.aims.append(Aim(f"p99 ms at 1,000 events/s, {how}", slowest[key], 1_000))
    return result


def _build(work: Path, events: int) -> tuple[str, Path]:
    """A generated log, built and registered."""
    home = work / "home"
    log = work / "log.csv"
    rng = np.random.default_rng(SEED)
    users = max(events // EVENTS_PER_USER, 1)
    end = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "ms")
    ages = rng.exponential(60 * 86_400_000, events).astype("timedelta64[ms]")
    table = pa.table(
        {
            "user": [f"u{number}" for number in rng.integers(0, users, events)],
            "what": rng.choice(ACTIONS, events),
            "at": np.sort(end - ages),
            "id": [f"e{number}" for number in range(events)],
            "item": [f"i{number}" for number in rng.integers(0, 1_000, events)],
            "kind": [f"c{number}" for number in rng.integers(0, 20, events)],
        }
    )
    import pyarrow.csv

    pyarrow.csv.write_csv(table, log)
    dataset = work / "log.yml"
    columns = {"user_id": "user", "action_type": "what", "event_timestamp": "at"}
    columns |= {"event_id": "id", "item_id": "item", "category_id": "kind"}
    content = {
        "dataset": "streaming",
        "events_path": str(log),
        "columns": columns,
        "actions": list(ACTIONS),
        "action_roles": {"search": "search", "cart": "intent", "purchase": "conversion"},
    }
    dataset.write_text(yaml.safe_dump(content))
    build_features(str(dataset), home)
    return str(dataset), home


@contextmanager
def _batches(dataset: str, home: Path, store: str) -> Iterator[tuple[Any, TimedStore]]:
    from trainer.streaming.batches import Batches
    from trainer.streaming.engine import Engine
    from trainer.streaming.online import StoredOnline

    timed = TimedStore(StoredOnline(home) if store == "online" else NoStore())
    batches = Batches(Engine(dataset, home, timed), most_waiting=10**9)
    try:
        yield batches, timed
    finally:
        batches.close()


def _run(
    batches: Any, timed: TimedStore, events: int, rate: float | None, seconds: float
) -> dict[str, Any]:
    """Hand single events in, at a rate or always enough for two full batches."""
    users = max(events // EVENTS_PER_USER, 1)
    rng = random.Random(SEED)
    run = f"{time.time():.0f}"
    waits: list[float] = []
    sent = 0

    def send() -> None:
        nonlocal sent
        at = datetime.now(UTC) - timedelta(milliseconds=5)
        values: dict[str, str | None] = {
            "user": f"u{rng.randrange(users)}",
            "what": rng.choice(ACTIONS),
            "at": at.isoformat(),
            "id": f"{run}-{sent}",
            "item": f"i{rng.randrange(1_000)}",
        }
        sent += 1
        arrived = time.perf_counter()

        def visible(answer: Future[Any]) -> None:
            assert answer.result()[0].verdict == "accepted"
            waits.append(time.perf_counter() - arrived)

        batches.submit([_arrival(values)]).add_done_callback(visible)

    send()
    while not waits:  # the first batch of a process also loads what it needs
        time.sleep(0.01)
    waits.clear()
    already, stored = sent, timed.seconds
    cpu, start = _cpu_seconds(), time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        due = already + (rate * elapsed if rate else len(waits) + 2_000)
        while sent < due:
            send()
        time.sleep(0.001)
    done = len(waits)
    elapsed = time.perf_counter() - start
    used = _cpu_seconds() - cpu
    while batches.waiting:
        time.sleep(0.01)
    p50, p99 = (np.percentile(waits, [50, 99]) * 1_000).tolist()
    return {
        "offered/s": rate or "all it takes",
        "events/s": done / elapsed,
        "p50 ms": p50 if rate else None,
        "p99 ms": p99 if rate else None,
        "CPU ms an event": used / max(done, 1) * 1_000,
        "share in the store": (timed.seconds - stored) / elapsed,
    }


def _arrival(values: dict[str, str | None]) -> Any:
    from trainer.streaming.events import Arrival

    return Arrival(values)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=size, default=STREAM_EVENTS, help="of the log")
    parser.add_argument("--rates", type=float, nargs="*", default=STREAM_RATES)
    parser.add_argument("--seconds", type=float, default=STREAM_SECONDS, help="of each run")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(streaming(arguments).finish(arguments.results))


if __name__ == "__main__":
    main()
