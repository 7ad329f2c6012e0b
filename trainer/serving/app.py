"""The application: routes, and the layers that every request passes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from trainer.serving import operations, page, predictions, recommendations, reference
from trainer.serving.batches import Batches
from trainer.serving.context import ServingContext, store_now
from trainer.serving.current_model import CurrentModel
from trainer.serving.drift import ServedDrift
from trainer.serving.limits import BodyLimit, Deadline, RateLimit
from trainer.serving.metrics import Metrics
from trainer.serving.problems import add_handlers
from trainer.serving.request_log import RequestLog
from trainer.serving.settings import ServingSettings
from trainer.serving.token import TokenCheck
from trainer.serving.workers import Workers

_STATIC = Path(__file__).parent / "static"


def make_app(
    home: Path,
    run: str | None = None,
    settings: ServingSettings | None = None,
) -> FastAPI:
    """The application on a home.

    Routes that are included later pass the same layers, and find a
    :class:`trainer.serving.context.ServingContext` in ``request.app.state.serving``.

    Parameters
    ----------
    home
        Home of the runs and of the store.
    run
        The run to serve; ``None`` follows ``models/latest``.
    settings
        Limits and token.

    Raises
    ------
    BadInput
        When there is nothing to serve.
    """
    settings = settings or ServingSettings()
    measured = Metrics(lambda: store_now(home))
    drift = ServedDrift(measured.registry)
    online = Workers("online", settings.threads, settings.queue)
    serving = ServingContext(
        model=CurrentModel(home, run, measured, drift.follow),
        metrics=measured,
        drift=drift,
        batches=Batches(
            online, functools.partial(predictions.measured_predict, measured, drift), settings.queue
        ),
        recommender=recommendations.CurrentRecommender(),
        online=online,
        # One at a time: a scan of Parquet uses all cores by itself.
        offline=Workers("offline", 1, max(1, settings.queue // 8)),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watcher = None
        if run is None:
            watcher = asyncio.create_task(serving.model.watch(settings.reload_every_s))
        yield
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        serving.online.close()
        serving.offline.close()

    app = FastAPI(
        title="Scalespace",
        description="What a user does next, from many time scales.",
        lifespan=lifespan,
        # The stock pages load their scripts from a CDN; /docs is a page of our own.
        docs_url=None,
        redoc_url=None,
    )
    app.state.serving = serving
    app.include_router(predictions.predict_router)
    for each in (predictions, recommendations, operations, page, reference):
        app.include_router(each.router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    add_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(
        BodyLimit,
        most=settings.max_body_bytes,
        seconds=settings.body_timeout_s,
        metrics=measured,
    )
    app.add_middleware(Deadline, seconds=settings.request_timeout_s, metrics=measured)
    if settings.token is not None:
        app.add_middleware(TokenCheck, token=settings.token.get_secret_value(), metrics=measured)
    app.add_middleware(RateLimit, rate=settings.requests_per_second, metrics=measured)
    app.add_middleware(RequestLog, metrics=measured)
    return app
