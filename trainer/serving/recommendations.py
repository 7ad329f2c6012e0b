"""``POST /recommend``: the items that come next for a user."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.exceptions import HTTPException

from feature_repo.home import labels_dir
from trainer.prediction import Predictor
from trainer.ranking.log import ITEM
from trainer.ranking.recommending import Recommendations, Recommender
from trainer.serving.context import Serving
from trainer.serving.predictions import BODY_PROBLEMS, PROBLEMS
from trainer.serving.schemas import Problem, RecommendedItem, RecommendRequest, RecommendResponse

NOTHING: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The run does not say which item comes next."},
}
router = APIRouter(tags=["recommendations"], responses={**PROBLEMS, **NOTHING})


class CurrentRecommender:
    """The recommender of the model that answers, on the log of the build that is published.

    It is made when it is first asked for, since it holds the log in memory, and anew when either
    is another.
    """

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._made: Recommender | None = None

    def of(self, predictor: Predictor) -> Recommender:
        """The recommender of a predictor."""
        with self._making:
            made = self._made
            stale = (
                made is None
                or made.predictor is not predictor
                or made.folder != labels_dir(predictor.home).resolve()
            )
            if made is None or stale:
                self._made = made = Recommender(predictor)
            return made


@router.post("/recommend", responses=BODY_PROBLEMS)
async def recommend(request: RecommendRequest, serving: Serving) -> RecommendResponse:
    """The items that come next for a user, with what each scale gave of the score."""
    predictor = serving.model.predictor
    if ITEM not in getattr(predictor.run.model, "rankers", {}):
        raise HTTPException(404, f"run {predictor.run.name} does not say which item comes next")
    workers = serving.online if request.at is None else serving.offline
    answer = await workers.run(
        _recommend,
        serving.recommender,
        predictor,
        request.user_id,
        request.k,
        request.seen,
        request.at,
    )
    return RecommendResponse(
        run=predictor.run.name,
        user_id=answer.user_id,
        at=answer.at,
        cold=answer.cold,
        items=[RecommendedItem(**asdict(item)) for item in answer.items],
    )


def _recommend(
    current: CurrentRecommender,
    predictor: Predictor,
    user: str,
    k: int,
    seen: bool,
    at: np.datetime64 | None,
) -> Recommendations:
    recommender = current.of(predictor)
    return recommender.now(user, k, seen) if at is None else recommender.at(user, at, k, seen)
