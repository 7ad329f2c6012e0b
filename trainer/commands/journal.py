"""The command that looks after what came by stream."""

from __future__ import annotations

from typing import Annotated

import typer

from trainer.commands.options import DEFAULT, Dataset, built_home

commands = typer.Typer()


@commands.command()
def journal(
    dataset: Dataset = DEFAULT,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove the files whose events the log has, all of them."),
    ] = False,
) -> None:
    """Say what the journal holds, and how much of it the log has as well; --prune removes that.

    What came by stream is in the journal alone until the log is exported with it. Files are removed
    whole, and never one with an event that the log does not have. No stream may run meanwhile.

    [dim]trainer journal[/]
    [dim]trainer journal --prune[/]
    """
    home = built_home(dataset)
    from trainer.streaming.pruning import prune as look
    from trainer.terminal import journal_lines, say

    for line in journal_lines(look(dataset, home, remove=prune), removed=prune):
        say(line)
