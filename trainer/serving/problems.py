"""Answers that say what is wrong: JSON, one line, with the request's id."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope, Send

from feature_repo.errors import BadInput
from trainer.serving.logs import EVENTS, FIELDS
from trainer.serving.workers import Overloaded

RETRY = {"retry-after": "1"}


def request_id(scope: Scope) -> str:
    """The id that the request log gave to a request."""
    return scope.get("state", {}).get("request_id", "")


def problem(
    scope: Scope, status: int, detail: object, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of `status`. Escapes keep any text that JSON can hold a valid answer."""
    content = json.dumps({"detail": detail, "request_id": request_id(scope)}, ensure_ascii=True)
    return Response(content, status, dict(headers or {}), media_type="application/json")


async def refuse(
    scope: Scope, send: Send, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> None:
    """Answer from a middleware, and close the connection: its body may not have been read."""
    response = problem(scope, status, detail, {**(headers or {}), "connection": "close"})

    async def nothing_to_read() -> dict[str, object]:
        return {"type": "http.disconnect"}

    await response(scope, nothing_to_read, send)


def add_handlers(app: FastAPI) -> None:
    """Turn what routes raise into problems."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return problem(request.scope, error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        # Without the input itself, which may be large, or private, or no valid text.
        fields = [
            {"loc": list(found["loc"]), "msg": found["msg"], "type": found["type"]}
            for found in error.errors()[:20]
        ]
        return problem(request.scope, 422, fields)

    @app.exception_handler(BadInput)
    async def _not_now(request: Request, error: BadInput) -> Response:
        # What the service stands on is missing or changing; the line says what to do.
        line = " ".join(str(error).split())
        fields = {"request_id": request_id(request.scope), "reason": line}
        EVENTS.warning("cannot answer", extra={FIELDS: fields})
        return problem(request.scope, 503, line, RETRY)

    @app.exception_handler(Overloaded)
    async def _overloaded(request: Request, _: Overloaded) -> Response:
        return problem(request.scope, 503, "too many requests wait; try again", RETRY)
