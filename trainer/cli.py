"""The command ``trainer``: the groups of its subcommands, in the order of the path."""

from __future__ import annotations

import gc
from typing import Any

import typer
from typer.core import TyperGroup

from feature_repo.errors import BadInput
from trainer.commands import (
    answers,
    exports,
    features,
    journal,
    models,
    monitoring,
    privacy,
    recommendations,
    reports,
    services,
    tuning,
    walk,
)

BAD_INPUT = 2


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
for group in (
    features,
    models,
    tuning,
    reports,
    monitoring,
    answers,
    recommendations,
    exports,
    services,
    journal,
    privacy,
    walk,
):
    app.add_typer(group.commands)


def main() -> None:
    """Entry point of the command ``trainer``."""
    # A fifth of the import of Feast is the search for garbage among what it makes to stay.
    gc.set_threshold(50_000, 20, 20)
    app()


if __name__ == "__main__":
    main()
