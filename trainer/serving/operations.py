"""``GET /health``, ``/ready`` and ``/metrics``: for those who run the service."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from trainer.instants import parse_instant, show_instant
from trainer.serving.context import Serving, ServingContext, store_now
from trainer.serving.metrics import CONTENT_TYPE
from trainer.serving.schemas import Health, Problem, Readiness
from trainer.serving.workers import Overloaded

router = APIRouter(tags=["operations"])
_LIMITED: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The token is missing or wrong."},
    429: {"model": Problem, "description": "Too many requests; Retry-After says when."},
}


@router.get("/health")
async def health(serving: Serving) -> Health:
    """The process is alive. It reads no feature, so that a broken store restarts nothing."""
    predictor = serving.model.predictor
    now = store_now(predictor.home)
    return Health(
        status="ok",
        run=predictor.run.name,
        model=predictor.run.model.name,
        now=None if now is None else show_instant(parse_instant(now, "now")),
    )


@router.get("/ready", responses={503: {"model": Readiness}})
async def ready(serving: Serving, response: Response) -> Readiness:
    """Requests can be answered: the store was just read, and the model asked."""
    try:
        await serving.online.run(_ask, serving)
    except Overloaded:
        reason = "too many requests wait"
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
    else:
        return Readiness(status="ready")
    response.status_code = 503
    return Readiness(status="not ready", reason=reason)


def _ask(serving: ServingContext) -> None:
    serving.model.predictor.now([""])  # no user has this id, so that it costs little


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **_LIMITED},
)
async def metrics(serving: Serving) -> Response:
    """Figures in Prometheus' text format."""
    # Drift is counted when it is read: not on the loop that answers requests.
    text = await asyncio.to_thread(serving.metrics.text)
    return Response(text, media_type=CONTENT_TYPE)
