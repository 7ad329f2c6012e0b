"""Requests and answers of the API, as the OpenAPI document describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.functional_validators import BeforeValidator, PlainValidator

from feature_repo.errors import BadInput
from trainer.instants import parse_instant

MOST_USERS = 1000
MOST_ITEMS = 1000
_EARLIEST, _LATEST = np.datetime64("1970", "us"), np.datetime64("2262", "us")

UserId = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


def _text_of(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# Ids are text. Clients with numbers for ids may write them as such.
UserIdInBody = Annotated[
    UserId,
    BeforeValidator(
        _text_of, json_schema_input_type=Annotated[str, Field(min_length=1, max_length=1024)] | int
    ),
]


def read_instant(value: object) -> np.datetime64:
    """An instant as a request writes it, as the stores are asked for it: naive UTC microseconds.

    Text alone: a number could be seconds or milliseconds.
    """
    if not isinstance(value, str):
        raise ValueError("an instant is a text, as in 2024-05-31T18:00:00Z")
    try:
        instant = parse_instant(value, "at")
    except BadInput as error:
        raise ValueError(str(error)) from None
    if not _EARLIEST <= instant < _LATEST:
        raise ValueError("an instant lies between 1970 and 2261")
    return instant


_DATE_TIME = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Instant = Annotated[
    np.datetime64,
    PlainValidator(
        read_instant,
        json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})],
    ),
]


class PredictRequest(BaseModel):
    """Who to predict for: one user or several; now, or as it was known at an instant."""

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        json_schema_extra={"examples": [{"user_id": "u7"}, {"user_ids": ["u7", "u8"]}]},
    )

    user_id: UserIdInBody | None = None
    user_ids: Annotated[list[UserIdInBody], Field(min_length=1, max_length=MOST_USERS)] | None = (
        None
    )
    at: Instant | None = Field(
        default=None,
        description=(
            "Predict with what was known at this instant, from the offline store, which knows the "
            "log up to its last build. Without an offset it is UTC. Without it: now, from the "
            "online store."
        ),
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> PredictRequest:
        if (self.user_id is None) == (self.user_ids is None):
            raise ValueError("give either user_id or user_ids")
        return self

    @property
    def users(self) -> list[str]:
        """The users in the order of the answer."""
        return self.user_ids if self.user_ids is not None else [str(self.user_id)]


class UserPrediction(BaseModel):
    """The answer for one user; the prior, and cold, for a user that the store does not know."""

    user_id: str
    cold: bool
    state: str | None
    next_action: dict[str, float]
    conversion: dict[str, float] = Field(
        description="Probability of a conversion within each horizon, as converted_within_7d; "
        "empty where the run's model predicts none."
    )
    next_time: dict[str, float] = Field(
        description="Quantiles of the seconds to the next event, as p10 to p90; empty where the "
        "run's model predicts none."
    )


class PredictResponse(BaseModel):
    """Answers in the order of the request, the run that gave them, and their instant."""

    run: str
    now: str
    predictions: list[UserPrediction]


class RecommendRequest(BaseModel):
    """Whom to recommend items to; now, or as it was known at an instant."""

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        json_schema_extra={"examples": [{"user_id": "u7", "k": 5, "seen": False}]},
    )

    user_id: UserIdInBody
    k: int = Field(default=10, ge=1, le=MOST_ITEMS, description="How many items.", strict=True)
    seen: bool = Field(
        default=True,
        strict=True,
        description="Whether items that the user did something with may come again.",
    )
    at: Instant | None = Field(
        default=None,
        description=(
            "Recommend with what was known at this instant. Without an offset it is UTC. Without "
            "it: at the online store's now."
        ),
    )


class RecommendedItem(BaseModel):
    """An item, and what each scale gave of its score: the reasons sum to it."""

    item_id: str
    score: float = Field(description="Probability that this is the item of the next event.")
    seen: bool = Field(description="Whether the user did something with it before.")
    reasons: dict[str, float] = Field(description="By just_now, this_week and long_taste.")
    parts: dict[str, float] = Field(
        description="The same by what was counted: own_recent, step, popular_7d, ..."
    )


class RecommendResponse(BaseModel):
    """The highest items first, the run that gave them, and their instant."""

    run: str
    user_id: str
    at: str
    cold: bool = Field(description="Nothing is known of the user: these are popular.")
    items: list[RecommendedItem]


class Event(BaseModel):
    """One of a user's last events."""

    action_type: str
    category_id: str | None = None
    item_id: str | None = None
    event_timestamp: datetime = Field(description="UTC; in whole seconds for the last event")
    gap_ms: int | None = Field(default=None, description="since the event before; null for none")
    duration_ms: int | None = None


class User(BaseModel):
    """What the online store holds of a user.

    Null is unknown; the texts NaN, Infinity and -Infinity are those numbers, which JSON has no form
    for.
    """

    user_id: str
    now: str
    known: bool = Field(description="false where the store has no event of this user")
    state: str | None
    session: dict[str, Any]
    features: dict[str, dict[str, Any]] = Field(
        description="By scale, then by name; other holds those without a scale."
    )
    events: list[Event] = Field(description="The last 50 or fewer, oldest first.")


class Health(BaseModel):
    """Alive, and with what."""

    status: Literal["ok"]
    run: str
    model: str
    now: str | None = Field(description="The instant of the online store; null where it is empty.")


class Readiness(BaseModel):
    """Whether requests should be sent here."""

    status: Literal["ready", "not ready"]
    reason: str | None = None


class Problem(BaseModel):
    """What is wrong, in one line, and the request that it was wrong with."""

    detail: str
    request_id: str


class InvalidField(BaseModel):
    """One thing in a request that is not as the OpenAPI document says."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidRequest(BaseModel):
    """Everything in a request that is not as the OpenAPI document says."""

    detail: list[InvalidField]
    request_id: str
