"""The commands that ask a run for items, and for users."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from trainer.commands.options import (
    DEFAULT,
    AsJson,
    Dataset,
    RunName,
    User,
    built_home,
    check_at,
    instant_of,
)

commands = typer.Typer()


@commands.command()
def recommend(
    user: User,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many items.")] = 10,
    dataset: Dataset = DEFAULT,
    run: RunName = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="With what was known at this instant: ISO 8601, or 'end'."),
    ] = None,
    seen: Annotated[
        bool,
        typer.Option("--seen/--no-seen", help="Whether items that the user had may come again."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Print the items that come next for a user, with what each scale gave of the score.

    A user of whom nothing is known gets what is popular.

    [dim]trainer recommend --user u7[/]
    [dim]trainer recommend --user u7 -k 5 --no-seen --at 2024-04-18[/]
    """
    check_at(at)
    home = built_home(dataset)
    from trainer.runs import find_run

    find_run(home, run)
    from dataclasses import asdict

    from trainer.ranking.recommending import read_recommender
    from trainer.terminal import console, recommendations_table

    recommender = read_recommender(home, run)
    instant = instant_of(at, home)
    if instant is None:
        answer = recommender.now(user, k, seen)
    else:
        answer = recommender.at(user, instant, k, seen)
    if as_json:
        typer.echo(json.dumps(asdict(answer), indent=1, ensure_ascii=False))
    else:
        console.print(recommendations_table(answer))


@commands.command()
def similar(
    user: User,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many users.")] = 10,
    dataset: Dataset = DEFAULT,
    run: RunName = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="As they were at this instant: ISO 8601; the log's end without."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the users whose last events the sequence model reads most like a user's.

    The measure is the cosine of the encoder's states after each one's last 50 events.

    [dim]trainer similar --user u7[/]
    [dim]trainer similar --user u7 --at 2024-04-18 -k 5[/]
    """
    check_at(at)
    home = built_home(dataset)
    from trainer.runs import find_run

    find_run(home, run)
    from dataclasses import asdict

    from trainer.runs import load_served_run
    from trainer.similarity import similar_users
    from trainer.terminal import console, similar_table

    answer = similar_users(home, load_served_run(home, run), user, k, instant_of(at, home))
    if as_json:
        typer.echo(json.dumps(asdict(answer), indent=1, ensure_ascii=False))
    else:
        console.print(similar_table(answer))
