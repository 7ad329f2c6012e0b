"""Limits on requests: how many, how large, how long."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer.serving.metrics import Metrics
from trainer.serving.problems import RETRY, refuse

UNLIMITED = frozenset(("/health", "/ready"))
_MOST_CLIENTS = 10_000


class TokenBuckets:
    """A bucket of tokens for each client: `rate` a second, at most `burst` saved up.

    Parameters
    ----------
    rate
        Tokens a second.
    burst
        Size of a bucket.
    clock
        Seconds, never going back.

    Notes
    -----
    Of more than 10,000 clients the one that was seen least lately is forgotten; its next bucket is
    full.
    """

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token; returns 0, or the seconds until there will be one."""
        now = self._clock()
        tokens, seen = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return wait


class RateLimit:
    """Refuse a client's requests beyond a rate with 429; a second's worth may come at once."""

    def __init__(self, app: ASGIApp, rate: float, metrics: Metrics) -> None:
        self._app = app
        self._buckets = TokenBuckets(rate, max(1.0, rate)) if rate else None
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._buckets and scope["path"] not in UNLIMITED:
            client = scope.get("client")
            wait = self._buckets.take(client[0] if client else "")
            if wait:
                self._metrics.refused.labels("rate").inc()
                headers = {"retry-after": str(math.ceil(wait))}
                await refuse(scope, send, 429, "too many requests from this client", headers)
                return
        await self._app(scope, receive, send)


class Deadline:
    """Answer 503 where nothing was answered in time."""

    def __init__(self, app: ASGIApp, seconds: float, metrics: Metrics) -> None:
        self._app = app
        self._seconds = seconds
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds) as deadline:

                async def begun(message: Message) -> None:
                    deadline.reschedule(None)  # an answer that has begun is let go on
                    await send(message)

                await self._app(scope, receive, begun)
        except TimeoutError:
            if not deadline.expired():
                raise
            self._metrics.refused.labels("time").inc()
            await refuse(scope, send, 503, f"no answer within {self._seconds:g} s", RETRY)


class BodyLimit:
    """Read a request's body before anything else sees it; refuse a large or a slow one."""

    def __init__(self, app: ASGIApp, most: int, seconds: float, metrics: Metrics) -> None:
        self._app = app
        self._most = most
        self._seconds = seconds
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        try:
            if length.isdecimal() and int(length[:20]) > self._most:
                raise _TooLarge
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except _TooLarge:
            self._metrics.refused.labels("size").inc()
            await refuse(scope, send, 413, f"a request's body has at most {self._most:,} bytes")
            return
        except TimeoutError:
            self._metrics.refused.labels("slow").inc()
            await refuse(scope, send, 408, f"the body did not arrive within {self._seconds:g} s")
            return
        if body is None:
            return  # the client has gone: nobody is there to answer to
        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return whole

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._most:
                raise _TooLarge
            if not message.get("more_body", False):
                return bytes(body)


class _TooLarge(Exception):
    pass
