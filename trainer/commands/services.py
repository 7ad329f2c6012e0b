"""The commands that keep running."""

from __future__ import annotations

from typing import Annotated

import typer

from trainer.commands.options import DEFAULT, Dataset, built_home

commands = typer.Typer()


@commands.command()
def serve(
    dataset: Dataset = DEFAULT,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Serve this run; without it, the newest, and newer ones."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    rate: Annotated[
        float, typer.Option(min=0, help="Requests a second of one client; 0 sets no limit.")
    ] = 1000.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for an answer.")] = 10.0,
    body: Annotated[int, typer.Option(min=1024, help="Largest body, in bytes.")] = 2 * 2**20,
    events: Annotated[
        bool,
        typer.Option("--events/--no-events", help="Whether POST /events takes events in."),
    ] = True,
) -> None:
    """Answer over HTTP from the online store: predictions, users, events, a page at / and metrics.

    A newer run in models/latest is taken in while requests run; SIGHUP loads it anew. SIGTERM lets
    running requests end. With SCALESPACE_TOKEN set, requests must carry it as a bearer token. One
    process of a home takes events in: beside a trainer stream, or as a second server, serve with
    --no-events, which also spares the memory of the known events.

    [dim]trainer serve --port 8000[/]
    [dim]curl localhost:8000/predict -H 'content-type: application/json' -d '{"user_id": "u7"}'[/]
    """
    from trainer.serving.settings import ServingSettings

    settings = ServingSettings.from_environment(
        requests_per_second=rate, request_timeout_s=timeout, max_body_bytes=body
    )
    home = built_home(dataset)
    from trainer.runs import find_run

    find_run(home, run)
    from feature_repo.sync import online_now
    from trainer.serving.app import make_app
    from trainer.serving.imports import absent
    from trainer.serving.server import serve as serve_app

    online_now(home)  # an empty store is refused at the start, and only there
    with absent("torch"):
        import feast  # noqa: F401
    app = make_app(home, run, settings)
    if not events:
        serve_app(app, settings, host, port)
        return
    from trainer.serving.event_metrics import EventMetrics
    from trainer.streaming.batches import Batches
    from trainer.streaming.engine import Engine
    from trainer.streaming.online import StoredOnline
    from trainer.streaming.router import make_events_router

    batches = Batches(Engine(dataset, home, StoredOnline(home)))
    try:
        measured = EventMetrics(
            app.state.serving.metrics.registry,
            waiting=lambda: batches.waiting,
            not_online=lambda: batches.not_online,
        )
        app.include_router(make_events_router(batches, measured.observe))
        serve_app(app, settings, host, port)
    finally:
        batches.close()


@commands.command()
def stream(
    dataset: Dataset = DEFAULT,
    redis: Annotated[
        str | None, typer.Option("--redis", help="Read a Redis stream at this address.")
    ] = None,
    name: Annotated[str, typer.Option("--stream", help="Its name.")] = "events",
    group: Annotated[str, typer.Option("--group", help="The consumer group.")] = "scalespace",
) -> None:
    """Take events in as they arrive, and keep the online store at what they make of the features.

    Reads newline-delimited JSON on standard input, and answers a verdict a line on standard output;
    or reads a Redis stream, and answers on the stream <name>:verdicts. SIGTERM finishes the batch.

    [dim]trainer stream < events.ndjson[/]
    [dim]trainer stream --redis redis://localhost:6379/0 --stream events --group scalespace[/]
    """
    home = built_home(dataset)
    from trainer.streaming.command import run

    run(dataset, home, redis, name, group)
