"""HTTP service: ``POST /predict`` and ``GET /health``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field, model_validator

from feature_repo.errors import BadInput

if TYPE_CHECKING:
    from trainer.prediction import Predictor

MOST_USERS = 1000
UserId = Annotated[str, Field(min_length=1, max_length=1024)]


class PredictRequest(BaseModel):
    """Who to predict for: one user or several."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    user_id: UserId | None = Field(default=None, examples=["u7"])
    user_ids: list[UserId] | None = Field(default=None, min_length=1, max_length=MOST_USERS)

    @model_validator(mode="after")
    def _one_of_them(self) -> PredictRequest:
        if (self.user_id is None) == (self.user_ids is None):
            raise ValueError("give either user_id or user_ids")
        return self


class UserPrediction(BaseModel):
    """The answer for one user; the prior and ``cold`` for a user that the store does not know."""

    user_id: str
    cold: bool
    state: str | None
    next_action: dict[str, float]


class PredictResponse(BaseModel):
    """Answers in the order of the request, the run that gave them, and the store's now."""

    run: str
    now: str
    predictions: list[UserPrediction]


class Health(BaseModel):
    """Alive, and with what."""

    status: str
    run: str
    model: str
    now: str


def make_app(predictor: Predictor) -> FastAPI:
    """The application around a predictor.

    Parameters
    ----------
    predictor
        A run beside its store, loaded once and shared by all requests.
    """
    from feature_repo.sync import online_now
    from trainer.instants import parse_instant, show_instant

    app = FastAPI(title="scalespace", description="What a user does next, from many time scales.")

    @app.post("/predict")
    def predict(request: PredictRequest) -> PredictResponse:
        users = request.user_ids if request.user_ids is not None else [str(request.user_id)]
        try:
            answers = predictor.now(users)
        except BadInput as error:
            raise HTTPException(status_code=503, detail=str(error)) from None
        return PredictResponse(
            run=predictor.run.name,
            now=answers[0].at,
            predictions=[
                UserPrediction(
                    user_id=answer.user_id,
                    cold=answer.cold,
                    state=answer.state,
                    next_action=answer.next_action,
                )
                for answer in answers
            ],
        )

    @app.get("/health")
    def health() -> Health:
        now = show_instant(parse_instant(online_now(predictor.home), "now"))
        run = predictor.run
        return Health(status="ok", run=run.name, model=run.recurrent.name, now=now)

    return app


def serve(predictor: Predictor, host: str, port: int) -> None:
    """Serve until interrupted."""
    import uvicorn

    uvicorn.run(make_app(predictor), host=host, port=port, log_level="info")
