"""``POST /predict`` and ``GET /users/{user_id}``."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.convertors import Convertor, register_url_convertor

from trainer.prediction import Prediction, Predictor
from trainer.serving.batches import MOST_USERS
from trainer.serving.context import Serving, ServingContext
from trainer.serving.drift import ServedDrift
from trainer.serving.metrics import Metrics
from trainer.serving.schemas import (
    InvalidRequest,
    PredictRequest,
    PredictResponse,
    Problem,
    User,
    UserId,
    UserPrediction,
)
from trainer.serving.users import read_user

PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The token is missing or wrong."},
    422: {"model": InvalidRequest, "description": "The request is not as described here."},
    429: {"model": Problem, "description": "Too many requests; Retry-After says when."},
    503: {"model": Problem, "description": "No answer now; the detail says what to do."},
}
BODY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read."},
    408: {"model": Problem, "description": "The body did not arrive in time."},
    413: {"model": Problem, "description": "The body is too large."},
}


class _AnyText(Convertor[str]):
    """The rest of a path: Starlette's own ends at a newline, and an id may have one."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _ShortWay(APIRoute):
    """A route whose plain requests are read by its model alone.

    What the framework does for any route, finding out what to call with what, is a third of what
    HTTP costs. Whatever is not plain, and whatever is wrong, goes its whole way and gets its
    answers.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        whole_way = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.headers.get("content-type") == "application/json":
                try:
                    asked = PredictRequest.model_validate_json(await request.body())
                except ValidationError:
                    return await whole_way(request)
                return await predict(asked, request.app.state.serving)
            return await whole_way(request)

        return handle


register_url_convertor("text", _AnyText())
router = APIRouter(tags=["predictions"], responses=PROBLEMS)
predict_router = APIRouter(
    tags=["predictions"], responses={**PROBLEMS, **BODY_PROBLEMS}, route_class=_ShortWay
)


@predict_router.post("/predict", response_model=PredictResponse)
async def predict(request: PredictRequest, serving: Serving) -> Response:
    """The distribution of the next action of 1 to 1,000 users."""
    predictor = serving.model.predictor
    answers: Sequence[Prediction]
    if request.at is not None:
        answers = await serving.offline.run(
            measured_predict,
            serving.metrics,
            serving.drift,
            predictor,
            request.users,
            request.at,
        )
    elif len(request.users) > MOST_USERS:
        answers = await serving.online.run(
            measured_predict, serving.metrics, serving.drift, predictor, request.users
        )
    else:
        answers = await serving.batches.ask(predictor, request.users)
    for answer in answers:
        serving.metrics.predictions.labels("true" if answer.cold else "false").inc()
    found = PredictResponse(
        run=predictor.run.name,
        now=answers[0].at,
        predictions=[
            UserPrediction(
                user_id=answer.user_id,
                cold=answer.cold,
                state=answer.state,
                next_action=answer.next_action,
                conversion=answer.conversion,
                next_time=answer.next_time,
            )
            for answer in answers
        ],
    )
    # The framework would check the answer again, and make plain objects of it before the text.
    return Response(found.model_dump_json(), media_type="application/json")


def measured_predict(
    metrics: Metrics,
    drift: ServedDrift,
    predictor: Predictor,
    users: Sequence[str],
    at: np.datetime64 | None = None,
) -> list[Prediction]:
    """Predict, and note how long each stage took."""
    begun = time.perf_counter()
    examples = predictor.examples(users, at)
    read = time.perf_counter()
    answers = predictor.answer(examples)
    store = "online" if at is None else "offline"
    metrics.stages.labels(f"{store} features").observe(read - begun)
    metrics.stages.labels("model").observe(time.perf_counter() - read)
    if at is None:
        drift.observe(predictor, examples, answers)
    return answers


@router.get("/users/{user_id:text}")
async def user(
    serving: Serving,
    user_id: Annotated[
        UserId, Path(description="Any text, percent-encoded; a slash may stay one.")
    ],
) -> User:
    """Features by scale, last events and session of one user, as the online store has them."""
    return await serving.online.run(_user, serving, user_id)


def _user(serving: ServingContext, user_id: str) -> User:
    return read_user(serving.model.predictor, user_id)[0]
