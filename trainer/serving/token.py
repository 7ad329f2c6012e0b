"""The optional token that requests carry."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from trainer.serving.limits import UNLIMITED
from trainer.serving.metrics import Metrics
from trainer.serving.problems import refuse

OPEN = UNLIMITED  # what a load balancer asks, and it has no token


class TokenCheck:
    """Refuse requests without the token with 401.

    It is a bearer token, or the password of HTTP Basic with any user name, which is what a browser
    can send: it asks for one when it is told so, on the page.
    """

    def __init__(self, app: ASGIApp, token: str, metrics: Metrics) -> None:
        self._app = app
        self._digest = _digest(token.encode())
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN or self._is_right(scope):
            await self._app(scope, receive, send)
            return
        self._metrics.refused.labels("token").inc()
        asked = 'Bearer realm="scalespace"'
        if "text/html" in Headers(scope=scope).get("accept", ""):
            asked = 'Basic realm="scalespace", charset="UTF-8"'
        await refuse(scope, send, 401, "this service asks for a token", {"www-authenticate": asked})

    def _is_right(self, scope: Scope) -> bool:
        given = _given(Headers(scope=scope).get("authorization", ""))
        # Digests are of one length, so that the time of comparing says nothing of the token.
        return given is not None and hmac.compare_digest(_digest(given), self._digest)


def _given(header: str) -> bytes | None:
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value.encode("utf-8", "replace")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return None
        return pair.partition(b":")[2]
    return None


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
