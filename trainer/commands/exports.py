"""The command that takes a run elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainer.commands.options import DEFAULT, Dataset, RunName, built_home

commands = typer.Typer()


@commands.command()
def export(
    to: Annotated[Path, typer.Option("--to", help="A new folder.", metavar="FOLDER")],
    dataset: Dataset = DEFAULT,
    run: RunName = None,
) -> None:
    """Write a run's graphs (ONNX) with all that a program elsewhere needs to ask them.

    The folder has the graphs, vocabularies and scalers as text, the names and shapes of inputs and
    outputs, a worked example, and a README that says how events and features become inputs.

    [dim]trainer export --to exported[/]
    [dim]trainer export --run 20240501T120000-000-lstm --to exported[/]
    """
    home = built_home(dataset)
    from trainer.exporting import export as write
    from trainer.terminal import say

    say(f"exported to {write(home, run, to)}")
