"""The command that searches for a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from trainer.commands.options import DEFAULT, ConfigFile, Dataset, Overrides, built_home

commands = typer.Typer()


@commands.command()
def tune(
    overrides: Overrides = None,
    dataset: Dataset = DEFAULT,
    config: ConfigFile = None,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Finished trials, those of earlier runs too.")
    ] = 20,
) -> None:
    """Search for a configuration, by log-loss on the validation part.

    The first trial is the configuration itself. Trials that fall behind are given up. A search that
    was stopped goes on where it was, to the same end; so does one that is asked for more trials.
    Keys given here are fixed. What was found is printed as a command, and written to
    reports/tune.json.

    [dim]trainer tune --trials 40[/]
    [dim]trainer tune --trials 40 encoder.cell=gru epochs=15[/]
    """
    from trainer.config import FitConfig, load_config
    from trainer.terminal import detail, say, track

    fixed = overrides or []
    load_config(config, fixed)
    home = built_home(dataset)
    from trainer.tuning import REPORT
    from trainer.tuning import tune as search

    def make_config(more: Sequence[str]) -> FitConfig:
        return load_config(config, [*fixed, *more])

    winner = search(home, make_config, fixed, trials, detail, track)
    options = [] if dataset == DEFAULT else ["--dataset", dataset]
    options += [] if config is None else ["--config", str(config)]
    say(f"trial {winner.number} is the best: log-loss {winner.value:.4f} on the validation part")
    say(winner.command(*options, *fixed))
    say(f"report {home / 'reports' / REPORT}")
