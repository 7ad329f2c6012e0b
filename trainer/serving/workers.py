"""The threads that compute answers, and the queue before them, which has an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Overloaded(Exception):
    """More requests wait than may."""


class Workers:
    """A pool of threads that refuses work rather than let it wait for long.

    Parameters
    ----------
    name
        What the threads are called.
    threads
        Calls that run at once.
    queue
        Calls that may wait.
    """

    def __init__(self, name: str, threads: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + queue
        self._pending = 0  # only ever touched on the event loop

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread.

        A caller that is cancelled, by a timeout, stops waiting at once. A call that has begun runs
        to its end and keeps its place until then; one that has not is dropped.

        Raises
        ------
        Overloaded
            When too many calls wait.
        """
        if self._pending >= self._most:
            raise Overloaded
        self._pending += 1
        try:
            call = self._pool.submit(function, *args, **kwargs)
        except BaseException:
            self._pending -= 1
            raise
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        # One call into the loop for both the place and the answer: each wakes it up.
        call.add_done_callback(lambda _: loop.call_soon_threadsafe(self._end, call, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            call.cancel()
            raise

    def _end(self, call: Future[T], answer: asyncio.Future[T]) -> None:
        self._pending -= 1
        if answer.done():  # whoever asked waits no more
            return
        if call.cancelled():
            answer.cancel()
        elif (error := call.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(call.result())

    def close(self) -> None:
        """Drop what waits; what runs may end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
