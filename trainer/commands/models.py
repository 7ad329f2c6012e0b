"""The commands that make models and judge them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from trainer.commands.options import DEFAULT, ConfigFile, Dataset, Overrides, RunName, built_home

commands = typer.Typer()


@commands.command()
def fit(
    overrides: Overrides = None,
    dataset: Dataset = DEFAULT,
    config: ConfigFile = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on after the last epoch of the same fit, if it was killed."
        ),
    ] = False,
) -> None:
    """Fit the sequence model, or a baseline, on point-in-time-correct features.

    The run lands in models/<run>, and models/latest points at it. Keys with their defaults stand in
    the run's config.yml.

    [dim]trainer fit[/]                              LSTM, 2 layers of 50
    [dim]trainer fit encoder.cell=gru epochs=5[/]
    [dim]trainer fit "features.exclude=['@1h']"[/]   without the scale of one hour
    [dim]trainer fit model=markov_2[/]               a baseline: same run folder, same commands
    [dim]trainer fit split.by=users[/]               judged on users that it never saw
    [dim]trainer fit --config my.yml seed=3[/]
    [dim]trainer fit --config my.yml --resume[/]     after a kill: ends with the same weights
    [dim]torchrun --nproc-per-node 2 -m trainer fit[/]   in two processes that share the users
    """
    from trainer.config import load_config
    from trainer.terminal import console, detail, metrics_table, other_tasks_tables, say, track

    settings = load_config(config, overrides or ())
    home = built_home(dataset)
    from trainer.evaluation import TASK
    from trainer.fitting import fit as fit_run
    from trainer.models.base import read_json

    folder = fit_run(home, settings, detail, track, resume)
    if folder is None:  # one of several processes, of which the first tells what came out
        return
    metrics = read_json(folder / "metrics.json")
    console.print(metrics_table(metrics, TASK, "next action, test part"))
    for table in other_tasks_tables(metrics):
        console.print(table)
    say(f"run {folder}")


@commands.command()
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
    home = built_home(dataset)
    from trainer.runs import find_run, load_run

    find_run(home, run)  # before torch and Feast are loaded
    from trainer import terminal
    from trainer.evaluation import TASK, require_metrics, sample
    from trainer.evaluation import evaluate as evaluate_models
    from trainer.fitting import read_dataset
    from trainer.training import reproducible

    loaded = load_run(home, run)
    model, config = loaded.model, loaded.config
    examples = read_dataset(home, loaded, rankings=True)
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
    for table in terminal.other_tasks_tables(metrics):
        terminal.console.print(table)
    if rows:
        shown = sample(model, examples.test, loaded.states, rows, config.seed)
        terminal.console.print(terminal.sample_table(shown))


@commands.command()
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
    from trainer.terminal import (
        console,
        detail,
        metrics_table,
        other_tasks_tables,
        say,
        slices_table,
    )

    settings = load_config(config, overrides or ())
    home = built_home(dataset)
    from trainer.comparing import REPORT
    from trainer.comparing import compare as compare_models
    from trainer.evaluation import TASK

    metrics = compare_models(home, settings, seeds, detail)
    console.print(metrics_table(metrics, TASK, "next action, test part"))
    console.print(slices_table(metrics, TASK))
    for table in other_tasks_tables(metrics):
        console.print(table)
    say(f"report {home / 'reports' / REPORT}")
