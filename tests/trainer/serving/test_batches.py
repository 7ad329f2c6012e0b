"""Requests that wait share a call, and each gets its own answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from trainer.serving.batches import Batches
from trainer.serving.workers import Overloaded, Workers

OLD, NEW = object(), object()


class Calls:
    """Answers in capitals; holds each call until it is let go."""

    def __init__(self) -> None:
        self.made: list[tuple[object, list[str]]] = []
        self.release = threading.Event()

    def __call__(self, key: object, users: Sequence[str]) -> list[str]:
        self.made.append((key, list(users)))
        assert self.release.wait(30)
        if "broken" in users:
            raise ValueError("no such thing")
        return [user.upper() for user in users]


def run(requests: list[tuple[object, list[str]]], cancel: int | None = None, queue: int = 64):
    """Ask all at once, while a first call is held; what each got, and the calls that were made."""
    calls = Calls()

    async def scenario() -> list[object]:
        workers = Workers("test", threads=2, queue=64)
        batches = Batches(workers, calls, queue)
        first = asyncio.create_task(batches.ask(OLD, ["first"]))
        while not calls.made:
            await asyncio.sleep(0.005)
        asked = [asyncio.create_task(batches.ask(*request)) for request in requests]
        await asyncio.sleep(0)
        if cancel is not None:
            asked[cancel].cancel()
            await asyncio.sleep(0)
        calls.release.set()
        assert await first == ["FIRST"]
        found = await asyncio.gather(*asked, return_exceptions=True)
        workers.close()
        return found

    return asyncio.run(scenario()), calls.made[1:]


def test_those_who_wait_share_one_call() -> None:
    found, made = run([(OLD, ["a", "b"]), (OLD, ["c"]), (OLD, ["a"])])
    assert found == [["A", "B"], ["C"], ["A"]]
    assert made == [(OLD, ["a", "b", "c", "a"])]


def test_a_new_model_is_a_call_of_its_own() -> None:
    found, made = run([(OLD, ["a"]), (NEW, ["b"]), (NEW, ["c"])])
    assert found == [["A"], ["B"], ["C"]]
    assert made == [(OLD, ["a"]), (NEW, ["b", "c"])]


def test_a_call_has_at_most_64_users() -> None:
    sizes = [40, 24, 1, 64, 30]
    requests = [(OLD, [f"{number}-{n}" for n in range(size)]) for number, size in enumerate(sizes)]
    found, made = run(requests)
    assert [len(answer) for answer in found] == sizes
    assert [len(users) for _, users in made] == [64, 1, 64, 30]


def test_who_has_gone_is_not_computed() -> None:
    found, made = run([(OLD, ["a"]), (OLD, ["gone"]), (OLD, ["b"])], cancel=1)
    assert (found[0], found[2]) == (["A"], ["B"])
    assert isinstance(found[1], asyncio.CancelledError)
    assert made == [(OLD, ["a", "b"])]


def test_an_error_is_everyone_s_and_the_next_call_goes_on() -> None:
    found, made = run([(OLD, ["a"]), (OLD, ["broken"]), (NEW, ["b"])])
    assert [type(answer) for answer in found] == [ValueError, ValueError, list]
    assert len(made) == 2


def test_more_than_may_wait_are_refused() -> None:
    found, made = run([(OLD, [name]) for name in "abcde"], queue=3)
    assert found[:3] == [["A"], ["B"], ["C"]]
    assert [type(answer) for answer in found[3:]] == [Overloaded, Overloaded]
    assert made == [(OLD, ["a", "b", "c"])]
