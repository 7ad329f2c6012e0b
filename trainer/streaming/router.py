"""``POST /events``: events over HTTP, each answered with its verdict."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel

from trainer.streaming.batches import Batches, Overloaded, Stopped
from trainer.streaming.events import (
    MALFORMED,
    MOST_BYTES,
    Arrival,
    Malformed,
    Verdict,
    read_event,
    read_json,
)
from trainer.streaming.journal import JournalError

_log = logging.getLogger(__name__)

MOST_EVENTS = 1_000  # of one request
MOST_BODY = 16 * MOST_BYTES
RETRY_AFTER = {"Retry-After": "1"}


class EventVerdict(BaseModel):
    """What became of one event."""

    verdict: Literal["accepted", "duplicate", "rejected", "malformed"]
    reason: str | None = None


class EventVerdicts(BaseModel):
    """The verdicts, in the order of the request."""

    verdicts: list[EventVerdict]


class Problem(BaseModel):
    """Why none of the events was taken in."""

    detail: str


def make_events_router(
    batches: Batches, observe: Callable[[list[Verdict], float], None] | None = None
) -> APIRouter:
    """The route ``POST /events`` around an engine.

    Parameters
    ----------
    batches : Batches
        What runs the engine; the caller closes it when the server stops.
    observe
        Told the verdicts of each request and how many seconds they took.
    """
    router = APIRouter()

    @router.post(
        "/events",
        response_model=EventVerdicts,
        responses={
            status: {"model": Problem, "description": description}
            for status, description in {
                413: "The body, or the number of its events, is too large.",
                422: "The body is not JSON, or neither an object nor a list.",
                429: "Too many events wait already; send these again later.",
                503: "The server is stopping, or its disk does not take events; send them again.",
            }.items()
        },
        openapi_extra={"requestBody": _request_body(batches.columns)},
    )
    async def events(request: Request) -> EventVerdicts:
        """Take in one event or a list of them, with the columns of the log.

        When this answers, accepted events are on the disk and their users' features are online. An
        event that is sent again is a duplicate of itself, by its id.
        """
        body = await _body(request)
        arrived = time.perf_counter()
        given = _parsed(body)
        answers: list[Verdict | None] = []
        arrivals = []
        for event in given:
            try:
                arrivals.append(Arrival(read_event(event, batches.columns)))
                answers.append(None)
            except Malformed as error:
                answers.append(Verdict(MALFORMED, str(error)))
        verdicts = iter(await _submitted(batches, arrivals) if arrivals else ())
        found = [answer or next(verdicts) for answer in answers]
        if observe is not None:
            observe(found, time.perf_counter() - arrived)
        return EventVerdicts(verdicts=[EventVerdict.model_validate(v.as_dict()) for v in found])

    return router


async def _body(request: Request) -> bytes:
    """The body, no more of it than is allowed."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BODY:
            raise HTTPException(413, f"the body has more than {MOST_BODY:,} bytes")
        parts.append(part)
    return b"".join(parts)


def _parsed(body: bytes) -> list[Any]:
    try:
        given = read_json(body)
    except Malformed as error:
        raise HTTPException(422, f"the body cannot be read: {error}") from None
    if isinstance(given, dict):
        return [given]
    if not isinstance(given, list):
        raise HTTPException(422, "the body is neither an event nor a list of events")
    if len(given) > MOST_EVENTS:
        raise HTTPException(413, f"{len(given):,} events; send at most {MOST_EVENTS:,} at once")
    return given


async def _submitted(batches: Batches, arrivals: list[Arrival]) -> list[Verdict]:
    try:
        return await asyncio.wrap_future(batches.submit(arrivals))
    except Overloaded as error:
        raise HTTPException(429, str(error), RETRY_AFTER) from None
    except (Stopped, JournalError) as error:
        raise HTTPException(503, str(error), RETRY_AFTER) from None
    except Exception:
        # Batches has logged the cause.
        detail = "the events could not be taken in; the log says why"
        raise HTTPException(503, detail, RETRY_AFTER) from None


def _request_body(columns: list[str]) -> dict[str, Any]:
    value = {"type": ["string", "number", "boolean", "null"]}
    event = {
        "type": "object",
        "properties": dict.fromkeys(columns, value),
        "additionalProperties": False,
        "minProperties": 1,
    }
    schema = {"oneOf": [event, {"type": "array", "items": event, "maxItems": MOST_EVENTS}]}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
