"""The command ``trainer``. Heavy imports stand inside the commands: ``--help`` answers at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from feature_repo.errors import BadInput

BAD_INPUT = 2
DIFFERENT = 1


class _OneLineErrors(TyperGroup):
    """Turns bad input into one line on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BadInput as error:
            typer.echo("error: " + " ".join(str(error).split()), err=True)
            raise typer.Exit(BAD_INPUT) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
    help=(
        "From an event log to a served prediction.\n\n"
        "The path, step by step: [bold]build[/] the features with dbt, [bold]apply[/] them to "
        "Feast, [bold]sync[/] the online store, [bold]fit[/] a model, [bold]evaluate[/] it, "
        "[bold]predict[/] or [bold]serve[/]. [bold]demo[/] walks it in one go.\n\n"
        "A dataset is one YAML file, by default data/shop.yml; its state lies under "
        "data/build/<dataset>, or under SCALESPACE_HOME."
    ),
)

Dataset = Annotated[
    str,
    typer.Option(
        "--dataset", envvar="SCALESPACE_DATASET", help="The dataset file.", metavar="FILE"
    ),
]
RunName = Annotated[
    str | None, typer.Option("--run", help="A run under models/; the newest without it.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, as in encoder.cell=gru epochs=5."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A YAML file of keys that differ from the defaults.")
]
DEFAULT = "data/shop.yml"


@app.command()
def build(dataset: Dataset = DEFAULT) -> None:
    """Build features and labels with dbt, and account for every row of the log.

    [dim]trainer build --dataset data/shop.yml[/]
    """
    from trainer.build import accounting_line
    from trainer.build import build as run_dbt
    from trainer.terminal import detail, say

    home = _home(dataset)
    say(accounting_line(run_dbt(dataset, home, detail)))
    say(f"features {home / 'features'}")
    say(f"quality  {home / 'reports' / 'quality.html'}")


@app.command()
def apply(dataset: Dataset = DEFAULT) -> None:
    """Register the built features in Feast.

    [dim]trainer apply[/]
    """
    from feature_repo.store import apply as register
    from trainer.terminal import say

    home = _built_home(dataset)
    views = register(home).list_feature_views()
    say(f"{len(views)} feature views, {sum(len(v.features) for v in views)} features registered")


@app.command()
def sync(
    dataset: Dataset = DEFAULT,
    at: Annotated[
        str | None,
        typer.Option("--at", help="The instant that is now: ISO 8601, or 'end' of the log."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option("--every", help="Keep running and sync this often: 60s, 5m. Ctrl-C ends it."),
    ] = None,
) -> None:
    """Bring the online store to the values in force now, or at an instant.

    Only what changed since the last sync is written.

    [dim]trainer sync[/]                           now is the clock's time
    [dim]trainer sync --at end[/]                  now is the log's last event
    [dim]trainer sync --at 2024-04-18T12:00:00Z[/]
    [dim]trainer sync --every 60s[/]
    """
    from trainer.instants import parse_duration, parse_instant, to_datetime
    from trainer.terminal import say, sync_line

    if at is not None and every is not None:
        raise BadInput("give --at or --every: a sync that is repeated follows the clock")
    seconds = None
    if every is not None:
        seconds = parse_duration(every, "--every").astype("timedelta64[s]").astype(int)
        if seconds < 1:
            raise BadInput(f"--every: {every!r} is less than a second")
    instant = parse_instant(at, "--at") if at is not None and at != "end" else None
    home = _built_home(dataset)
    if seconds is not None:
        _sync_every(home, float(seconds))
        return
    from feature_repo.sync import sync as load

    if at == "end":
        from trainer.prediction import log_end

        instant = log_end(home)
    say(sync_line(load(home, None if instant is None else to_datetime(instant))))


def _sync_every(home: Path, seconds: float) -> None:
    """Sync until the process is told to end; a sync that runs then is finished."""
    import signal
    import threading

    from feature_repo.sync import sync_every
    from trainer.terminal import say, sync_line

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def failed(error: BadInput) -> None:
        typer.echo("error: " + " ".join(str(error).split()) + "; trying again", err=True)

    sync_every(home, seconds, stop, lambda done: say(sync_line(done)), failed)


@app.command()
def verify(
    dataset: Dataset = DEFAULT,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Entities of each view to compare.")
    ] = 1000,
    everything: Annotated[bool, typer.Option("--all", help="Compare every entity.")] = False,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="The instant to compare at: ISO 8601, or 'end'; default that of the last sync.",
        ),
    ] = None,
) -> None:
    """Compare the online store with the offline store, every view and feature, bit for bit.

    Exit code 1 where a value differs.

    [dim]trainer verify[/]
    [dim]trainer verify --all[/]
    """
    from trainer.instants import parse_instant, to_datetime
    from trainer.terminal import say, verify_lines

    instant = parse_instant(at, "--at") if at is not None and at != "end" else None
    home = _built_home(dataset)
    from feature_repo.verify import verify as compare

    if at == "end":
        from trainer.prediction import log_end

        instant = log_end(home)
    found = compare(
        home, None if instant is None else to_datetime(instant), None if everything else sample
    )
    for line in verify_lines(found):
        say(line)
    if found.mismatches:
        raise typer.Exit(DIFFERENT)


@app.command()
def fit(
    overrides: Overrides = None,
    dataset: Dataset = DEFAULT,
    config: ConfigFile = None,
) -> None:
    """Fit the sequence model, or a baseline, on point-in-time-correct features.

    The run lands in models/<run>, and models/latest points at it. Keys with their defaults stand in
    the run's config.yml.

    [dim]trainer fit[/]                              LSTM, 2 layers of 50
    [dim]trainer fit encoder.cell=gru epochs=5[/]
    [dim]trainer fit "features.exclude=['@1h']"[/]   without the scale of one hour
    [dim]trainer fit model=markov_2[/]               a baseline: same run folder, same commands
    [dim]trainer fit --config my.yml seed=3[/]
    """
    from trainer.config import load_config
    from trainer.terminal import console, detail, metrics_table, say

    settings = load_config(config, overrides or ())
    home = _built_home(dataset)
    from trainer.evaluation import TASK
    from trainer.fitting import fit as fit_run
    from trainer.models.base import read_json

    folder = fit_run(home, settings, detail)
    console.print(metrics_table(read_json(folder / "metrics.json"), TASK, "next action, test part"))
    say(f"run {folder}")


@app.command()
def evaluate(
    dataset: Dataset = DEFAULT,
    run: RunName = None,
    rows: Annotated[int, typer.Option("--sample", min=0, help="Rows of the sample.")] = 10,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="Print this metric alone; fail where it has no value. May be repeated.",
            metavar="[TASK:]METRIC",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Recompute the metrics on the test part, beside the baselines, with a sample by name.

    [dim]trainer evaluate[/]
    [dim]trainer evaluate --json > metrics.json[/]
    [dim]trainer evaluate --metric log_loss --metric next_action.cold_users:accuracy[/]
    """
    home = _built_home(dataset)
    from trainer.runs import find_run, load_run

    find_run(home, run)  # before torch and Feast are loaded
    from trainer import terminal
    from trainer.evaluation import TASK, require_metrics, sample
    from trainer.evaluation import evaluate as evaluate_models
    from trainer.fitting import read_dataset
    from trainer.training import reproducible

    loaded = load_run(home, run)
    model, config = loaded.model, loaded.config
    landmarks = config.landmark_weight > 0
    examples = read_dataset(home, loaded.features, landmarks, loaded.cuts, loaded.name)
    with reproducible(config.seed, config.threads):
        metrics = evaluate_models(loaded.models, examples)
    if metric:
        for name, value in require_metrics(metrics, metric, model.name).items():
            typer.echo(f"{name}={value!r}")
        return
    if as_json:
        typer.echo(json.dumps(metrics, indent=1))
        return
    terminal.console.print(terminal.metrics_table(metrics, TASK, f"next action, run {loaded.name}"))
    terminal.console.print(terminal.slices_table(metrics, TASK))
    if rows:
        shown = sample(model, examples.test, loaded.states, rows, config.seed)
        terminal.console.print(terminal.sample_table(shown))


@app.command()
def compare(
    overrides: Overrides = None,
    dataset: Dataset = DEFAULT,
    config: ConfigFile = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Fits of each model that has a seed.")
    ] = 3,
) -> None:
    """Fit every model on the same rows and print them side by side, with intervals.

    Metrics of several seeds are averaged; intervals are 95 % of a bootstrap over users. The numbers
    are written to reports/compare.json, in the form of a run's metrics.json.

    [dim]trainer compare[/]
    [dim]trainer compare --seeds 5 encoder.cell=gru[/]
    """
    from trainer.config import load_config
    from trainer.terminal import console, detail, metrics_table, say, slices_table

    settings = load_config(config, overrides or ())
    home = _built_home(dataset)
    from trainer.comparing import REPORT
    from trainer.comparing import compare as compare_models
    from trainer.evaluation import TASK

    metrics = compare_models(home, settings, seeds, detail)
    console.print(metrics_table(metrics, TASK, "next action, test part"))
    console.print(slices_table(metrics, TASK))
    say(f"report {home / 'reports' / REPORT}")


@app.command()
def predict(
    user: Annotated[str, typer.Option("--user", help="The user's identifier.")],
    dataset: Dataset = DEFAULT,
    run: RunName = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="Ask the offline store at this instant: ISO 8601, or 'end'."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the distribution of a user's next action.

    [dim]trainer predict --user u7[/]                   from the online store
    [dim]trainer predict --user u7 --at 2024-04-18[/]   from the offline store, as of that instant
    """
    from trainer.instants import parse_instant

    instant = parse_instant(at, "--at") if at is not None and at != "end" else None
    home = _built_home(dataset)
    from trainer.runs import find_run, load_served_run

    find_run(home, run)
    from trainer.prediction import Predictor, log_end
    from trainer.terminal import console, prediction_table

    predictor = Predictor(home, load_served_run(home, run))
    if at == "end":
        instant = log_end(home)
    answers = predictor.now([user]) if instant is None else predictor.at([user], instant)
    if as_json:
        typer.echo(json.dumps(vars(answers[0]), indent=1, ensure_ascii=False))
    else:
        console.print(prediction_table(answers[0]))


@app.command()
def explain(
    user: Annotated[str, typer.Option("--user", help="The user's identifier.")],
    dataset: Dataset = DEFAULT,
    run: RunName = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="Ask the offline store at this instant: ISO 8601, or 'end'."),
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Which next state; the likeliest without it.")
    ] = None,
    events: Annotated[int, typer.Option("--events", min=1, help="How many of the last.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all events.")] = False,
) -> None:
    """Say why a user's next action has its probability: by scale, by event, and without each event.

    Contributions are to the logit. Those of the scales are exact, and there are some only for a run
    with fusion.kind=additive.

    [dim]trainer explain --user u7[/]
    [dim]trainer explain --user u7 --at 2024-04-18 --state purchase[/]
    """
    from trainer.instants import parse_instant

    instant = parse_instant(at, "--at") if at is not None and at != "end" else None
    home = _built_home(dataset)
    from trainer.runs import find_run, load_run

    find_run(home, run)
    from dataclasses import asdict

    from trainer.prediction import Predictor, log_end
    from trainer.reasons import explain as explain_example
    from trainer.terminal import console, reasons_tables

    loaded = load_run(home, run)
    model = loaded.recurrent
    if not model.predicts_next_action:
        raise BadInput(
            f"run {loaded.name} does not predict the next action (tasks.next_action=0), which is "
            "what is explained; name another --run"
        )
    predictor = Predictor(home, loaded)
    if at == "end":
        instant = log_end(home)
    if state is not None and state not in model.states:
        raise BadInput(f"--state: {state!r} is no state; states: {', '.join(model.states)}")
    example = predictor.examples([user], instant)
    if example.lengths[0] == 0:
        raise BadInput(f"--user: the store knows no event of {user!r}; everyone gets the prior")
    reasons = explain_example(model, example, state)
    if as_json:
        typer.echo(json.dumps(asdict(reasons), indent=1, ensure_ascii=False))
        return
    for table in reasons_tables(reasons, user, events):
        console.print(table)


@app.command()
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
    home = _built_home(dataset)
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
    from trainer.streaming.batches import Batches
    from trainer.streaming.engine import Engine
    from trainer.streaming.online import StoredOnline
    from trainer.streaming.router import make_events_router

    batches = Batches(Engine(dataset, home, StoredOnline(home)))
    try:
        app.include_router(make_events_router(batches))
        serve_app(app, settings, host, port)
    finally:
        batches.close()


@app.command()
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
    home = _built_home(dataset)
    from trainer.streaming.command import run

    run(dataset, home, redis, name, group)


@app.command()
def demo(
    overrides: Overrides = None,
    dataset: Dataset = DEFAULT,
    config: ConfigFile = None,
) -> None:
    """Walk the whole path: build, apply, sync, fit, evaluate, predict.

    [dim]trainer demo[/]
    [dim]trainer demo --dataset data/moodle_courses.yml[/]
    """
    from trainer.config import load_config

    settings = load_config(config, overrides or ())
    home = _home(dataset)
    from trainer.demo import demo as walk

    walk(dataset, home, settings)


def _home(dataset_path: str) -> Path:
    """Home of the dataset, made known to every part of this process and to those it starts."""
    from feature_repo.home import HOME_VARIABLE
    from feature_repo.home import home as home_of
    from trainer.dataset import DatasetFile

    folder = home_of(DatasetFile.load(dataset_path).dataset)
    os.environ[HOME_VARIABLE] = str(folder)
    return folder


def _built_home(dataset_path: str) -> Path:
    """The home, refused where nothing was built or another dataset was."""
    from feature_repo.manifest import dataset_vars
    from trainer.dataset import DatasetFile

    folder = _home(dataset_path)
    built, wanted = dataset_vars(folder).get("dataset"), DatasetFile.load(dataset_path).dataset
    if built != wanted:
        raise BadInput(
            f"{folder} was built from dataset {built!r} and not {wanted!r}; "
            f"run trainer build --dataset {dataset_path}"
        )
    return folder


def main() -> None:
    """Entry point of the command ``trainer``."""
    app()


if __name__ == "__main__":
    main()
