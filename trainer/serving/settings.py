"""Limits of the service, and its token."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from feature_repo.errors import BadInput

TOKEN_VARIABLE = "SCALESPACE_TOKEN"
_SHORTEST_TOKEN = 16


class ServingSettings(BaseModel):
    """Everything that an operator may set. What is beyond a limit is refused, never cut."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: SecretStr | None = Field(
        default=None, description="bearer token that requests must carry; none asks for none"
    )
    max_body_bytes: int = Field(default=2 * 2**20, ge=1024, description="size of a request's body")
    requests_per_second: float = Field(
        default=1000.0, ge=0, description="sustained rate of one client; 0 sets no limit"
    )
    request_timeout_s: float = Field(
        default=10.0, gt=0, description="from a request's first byte to the start of its answer"
    )
    body_timeout_s: float = Field(
        default=5.0, gt=0, description="for a body to arrive, so that slow ones hold nothing open"
    )
    head_timeout_s: float = Field(default=5.0, gt=0, description="for a request's head to arrive")
    max_head_bytes: int = Field(default=2**16, ge=4096, description="size of a request's head")
    threads: int = Field(default=2, ge=1, description="requests that are computed at once")
    queue: int = Field(default=64, ge=1, description="requests that may wait for a thread")
    max_connections: int = Field(default=1000, ge=1)
    drain_s: int = Field(default=30, ge=0, description="for running requests, once told to stop")
    reload_every_s: float = Field(
        default=1.0, gt=0, description="how often models/latest is looked at"
    )

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, **values: object
    ) -> Self:
        """Settings with the token of ``SCALESPACE_TOKEN``, where that is set.

        Raises
        ------
        BadInput
            When the token is too short to be one, or no text for a header.
        """
        token = environment.get(TOKEN_VARIABLE)
        if token is not None:
            if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
                raise BadInput(
                    f"{TOKEN_VARIABLE}: a token is {_SHORTEST_TOKEN} or more printable ASCII "
                    "characters; unset it to serve without one"
                )
            values["token"] = token
        return cls.model_validate(values)
