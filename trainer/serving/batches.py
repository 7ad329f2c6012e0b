"""Small requests that wait are answered together: a store's read for many costs little more than
for one, so that a server that falls behind catches up instead of falling further.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from trainer.serving.workers import Overloaded, Workers

K = TypeVar("K")
T = TypeVar("T")
MOST_USERS = 64  # in a batch; a request for more of them goes alone


@dataclass(frozen=True)
class _Request(Generic[K, T]):
    key: K
    users: Sequence[str]
    answer: asyncio.Future[Sequence[T]]


class Batches(Generic[K, T]):
    """One call at a time, for all the users that have come to wait meanwhile.

    Parameters
    ----------
    workers
        Where calls run.
    function
        Answers a key and users, one answer a user, in order.
    queue
        Requests that may wait.
    """

    def __init__(
        self, workers: Workers, function: Callable[[K, Sequence[str]], Sequence[T]], queue: int
    ) -> None:
        self._workers = workers
        self._function = function
        self._queue = queue
        self._waiting: deque[_Request[K, T]] = deque()
        self._drain: asyncio.Task[None] | None = None

    async def ask(self, key: K, users: Sequence[str]) -> Sequence[T]:
        """Answers for `users`; requests of one key may share a call.

        Raises
        ------
        Overloaded
            When too many requests wait.
        """
        if len(self._waiting) >= self._queue:
            raise Overloaded
        request = _Request[K, T](key, users, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._work())
        return await request.answer

    async def _work(self) -> None:
        while batch := self._next():
            users = [user for request in batch for user in request.users]
            try:
                answers = await self._workers.run(self._function, batch[0].key, users)
            except Exception as error:
                for request in batch:
                    if not request.answer.done():
                        request.answer.set_exception(error)
                continue
            begin = 0
            for request in batch:
                end = begin + len(request.users)
                if not request.answer.done():  # who timed out waits no more
                    request.answer.set_result(answers[begin:end])
                begin = end

    def _next(self) -> list[_Request[K, T]]:
        """The first of those that wait, and those behind it that fit."""
        batch: list[_Request[K, T]] = []
        users = 0
        while self._waiting:
            request = self._waiting[0]
            fits = users + len(request.users) <= MOST_USERS
            if batch and not (fits and request.key is batch[0].key):
                break
            self._waiting.popleft()
            if not request.answer.done():
                batch.append(request)
                users += len(request.users)
        return batch
