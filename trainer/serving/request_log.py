"""The outermost layer: an id for every request, one line when it ends, and no error unexplained."""

from __future__ import annotations

import logging
import random
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer.serving.logs import ACCESS, EVENTS, FIELDS
from trainer.serving.metrics import Metrics
from trainer.serving.problems import refuse, request_id

HEADER = "x-request-id"
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class RequestLog:
    """Log and count requests.

    A line has the route's template and not the path: ids of users do not belong into logs.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        given = Headers(scope=scope).get(HEADER, "")
        identifier = given if _GIVEN.fullmatch(given) else f"{random.getrandbits(64):016x}"
        scope.setdefault("state", {})["request_id"] = identifier
        status, sent = 0, 0

        async def watched(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = identifier
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        self._metrics.running.inc()
        try:
            await self._app(scope, receive, watched)
        except Exception:
            self._metrics.errors.inc()
            EVENTS.exception("request failed", extra={FIELDS: {"request_id": request_id(scope)}})
            if status:
                raise  # the answer has begun: only the connection can say that it is not whole
            await refuse(scope, watched, 500, "internal error; the log has its cause")
        finally:
            self._metrics.running.dec()
            seconds = time.perf_counter() - begun
            self._record(scope, status, sent, seconds)

    def _record(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        # A method is any word; only known ones may become labels.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(route, method, status).observe(seconds)
        if ACCESS.isEnabledFor(logging.INFO):
            client = scope.get("client")
            fields = {
                "request_id": request_id(scope),
                "client": client[0] if client else None,
                "method": method,
                "route": route,
                "status": status,
                "bytes": sent,
                "ms": round(seconds * 1000, 3),
            }
            ACCESS.info("request", extra={FIELDS: fields})


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"))
