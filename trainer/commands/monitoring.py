"""The command that watches a run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from feature_repo.errors import BadInput
from trainer.commands.options import (
    DEFAULT,
    AsJson,
    Dataset,
    Overrides,
    RunName,
    built_home,
    check_at,
    instant_of,
)

commands = typer.Typer()

CROSSED = 3
_PREFIX = "monitor."


@commands.command()
def monitor(
    overrides: Overrides = None,
    dataset: Dataset = DEFAULT,
    run: RunName = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Cut periods from here on; the end of validation without it."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Until here; the end of the log without it.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", min=1, help="Only so many whole periods, the last ones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare what came since a fit with what the run learned from; exit with 3 at an alarm.

    Each whole period's features, labels and predictions are set beside the training part's, its
    log-loss and calibration beside the validation part's, where labels have arrived. Thresholds are
    the keys monitor.* of the run's configuration. The numbers are written to reports/monitor.json,
    and for people to reports/monitor.html.

    [dim]trainer monitor[/]
    [dim]trainer monitor --last 1 monitor.psi=0.3[/]        the last week alone, for a schedule
    [dim]trainer monitor --from 2024-04-01 --to 2024-05-01[/]
    """
    for override in overrides or ():
        if not override.startswith(_PREFIX):
            raise BadInput(
                f"{override!r}: only keys monitor.* can change here; run trainer fit for the others"
            )
    check_at(start, "--from")
    check_at(end, "--to")
    home = built_home(dataset)
    from trainer.runs import CONFIG, find_run, load_run

    folder = find_run(home, run)
    from trainer.config import load_config
    from trainer.monitoring.monitor import REPORT
    from trainer.monitoring.monitor import monitor as watch
    from trainer.monitoring.page import PAGE, write_page
    from trainer.terminal import alarm_lines, console, detail, monitor_table, say

    config = load_config(folder / CONFIG, overrides or ()).monitor
    found = watch(
        home,
        load_run(home, run),
        config,
        (lambda _line: None) if as_json else detail,
        instant_of(start, home, "--from"),
        instant_of(end, home, "--to"),
        last,
    )
    write_page(home, found)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        console.print(monitor_table(found))
        for line in alarm_lines(found):
            say(line)
        say(f"report {home / 'reports' / REPORT}")
        say(f"page   {home / 'reports' / PAGE}")
    if found.alarms:
        raise typer.Exit(CROSSED)
