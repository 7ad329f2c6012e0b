"""The commands that ask a run about one user."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from feature_repo.errors import BadInput
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
def predict(
    user: User,
    dataset: Dataset = DEFAULT,
    run: RunName = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="Ask the offline store at this instant: ISO 8601, or 'end'."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the distribution of a user's next action.

    [dim]trainer predict --user u7[/]                   from the online store
    [dim]trainer predict --user u7 --at 2024-04-18[/]   from the offline store, as of that instant
    """
    check_at(at)
    home = built_home(dataset)
    from trainer.runs import find_run, load_served_run

    find_run(home, run)
    from trainer.prediction import Predictor
    from trainer.terminal import console, prediction_table

    predictor = Predictor(home, load_served_run(home, run))
    instant = instant_of(at, home)
    answers = predictor.now([user]) if instant is None else predictor.at([user], instant)
    if as_json:
        typer.echo(json.dumps(vars(answers[0]), indent=1, ensure_ascii=False))
    else:
        console.print(prediction_table(answers[0]))


@commands.command()
def explain(
    user: User,
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
    """Say why a user's next action has its probability: by scale, by event, by own transition.

    Contributions are to the logit. Those of the scales are exact, and there are some only for a run
    with fusion.kind=additive. Beside each event, and the user's own transitions out of his current
    state, stands what the probability would be without it, recomputed.

    [dim]trainer explain --user u7[/]
    [dim]trainer explain --user u7 --at 2024-04-18 --state purchase[/]
    """
    check_at(at)
    home = built_home(dataset)
    from trainer.runs import find_run, load_run

    find_run(home, run)
    from dataclasses import asdict

    from trainer.prediction import Predictor
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
    if state is not None and state not in model.states:
        raise BadInput(f"--state: {state!r} is no state; states: {', '.join(model.states)}")
    example = predictor.examples([user], instant_of(at, home))
    if example.lengths[0] == 0:
        raise BadInput(f"--user: the store knows no event of {user!r}; everyone gets the prior")
    reasons = explain_example(model, example, state)
    if as_json:
        typer.echo(json.dumps(asdict(reasons), indent=1, ensure_ascii=False))
        return
    for table in reasons_tables(reasons, user, events):
        console.print(table)
