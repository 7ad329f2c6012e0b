"""What all routes share, found by them in the application's state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from feature_repo.errors import BadInput
from feature_repo.sync import online_now
from trainer.prediction import Prediction, Predictor
from trainer.serving.batches import Batches
from trainer.serving.current_model import CurrentModel
from trainer.serving.drift import ServedDrift
from trainer.serving.metrics import Metrics
from trainer.serving.workers import Workers

if TYPE_CHECKING:
    from trainer.serving.recommendations import CurrentRecommender


@dataclass(frozen=True)
class ServingContext:
    """The parts of a running service.

    Attributes
    ----------
    model
        What answers.
    metrics
        What Prometheus reads.
    drift
        How far the users predicted for lie from those learned from.
    batches
        Small requests for predictions from the online store.
    recommender
        What answers with items.
    online, offline
        Threads for reads of each store: an answer from the offline one takes a hundred times as
        long, and must not keep those from the online one waiting.
    """

    model: CurrentModel
    metrics: Metrics
    drift: ServedDrift
    batches: Batches[Predictor, Prediction]
    recommender: CurrentRecommender
    online: Workers
    offline: Workers


def store_now(home: Path) -> datetime | None:
    """The instant for which the online store is loaded; ``None`` where it is not."""
    try:
        return online_now(home)
    except (BadInput, OSError, ValueError, KeyError):
        return None


async def _context(request: Request) -> ServingContext:
    # Not a plain function: the framework would have a thread of a pool call it.
    return request.app.state.serving


Serving = Annotated[ServingContext, Depends(_context)]
