"""The commands that look at runs as a whole: the report, the backtest and the shuffle test."""

from __future__ import annotations

from typing import Annotated

import typer

from trainer.commands.options import DEFAULT, ConfigFile, Dataset, Overrides, RunName, built_home

commands = typer.Typer()


@commands.command()
def report(dataset: Dataset = DEFAULT, run: RunName = None) -> None:
    """Draw a run as one HTML file: data, metrics, items, waits, curves, scales, users, slices.

    The file is reports/report.html. It needs no network and no script, and holds identifiers of
    users.

    [dim]trainer report[/]
    [dim]trainer report --run 20240501T101500-000-lstm[/]
    """
    home = built_home(dataset)
    from trainer.runs import find_run, load_run

    find_run(home, run)
    from trainer.report.page import write_report
    from trainer.terminal import detail, say

    say(f"report {write_report(home, load_run(home, run), detail)}")


@commands.command()
def backtest(
    overrides: Overrides = None,
    dataset: Dataset = DEFAULT,
    config: ConfigFile = None,
    folds: Annotated[int, typer.Option("--folds", min=1, max=50, help="How many moments.")] = 4,
) -> None:
    """Fit at several moments of the log, and judge each fit on what came next.

    The first half of the events is always learned from, the rest is tested step by step. The
    numbers are written to reports/backtest.json, in the form of a run's metrics.json.

    [dim]trainer backtest[/]
    [dim]trainer backtest --folds 6 model=markov_2[/]
    """
    from trainer.config import load_config

    settings = load_config(config, overrides or ())
    home = built_home(dataset)
    from trainer.backtesting import REPORT
    from trainer.backtesting import backtest as roll
    from trainer.terminal import console, detail, folds_table, say

    metrics, made = roll(home, settings, folds, detail)
    console.print(folds_table(metrics, made))
    say(f"report {home / 'reports' / REPORT}")


@commands.command("shuffle-test")
def shuffle_test(
    dataset: Dataset = DEFAULT,
    run: RunName = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Shuffles to average.")] = 5,
) -> None:
    """Say whether the order of events matters on this log at all.

    The order of what each user did is shuffled before the test part is predicted, by the run and by
    a network of its shape that sees the events alone, which is fitted for this. The numbers are
    written to reports/shuffle_test.json.

    [dim]trainer shuffle-test[/]
    [dim]trainer shuffle-test --seeds 10[/]
    """
    home = built_home(dataset)
    from trainer.runs import find_run, load_run

    find_run(home, run)
    from trainer.shuffling import EVENTS_ALONE, REPORT, verdict, verdict_on_run
    from trainer.shuffling import shuffle_test as shuffle
    from trainer.terminal import console, detail, order_table, say

    found = shuffle(home, load_run(home, run), seeds, detail)
    console.print(order_table(found))
    say(verdict(found[EVENTS_ALONE]))
    for name, effect in found.items():
        if name != EVENTS_ALONE:
            say(verdict_on_run(name, effect))
    say(f"report {home / 'reports' / REPORT}")
