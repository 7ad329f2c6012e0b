"""The command that walks the whole path."""

from __future__ import annotations

import typer

from trainer.commands.options import DEFAULT, ConfigFile, Dataset, Overrides, home_of

commands = typer.Typer()


@commands.command()
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
    home = home_of(dataset)
    from trainer.demo import demo as walk

    walk(dataset, home, settings)
