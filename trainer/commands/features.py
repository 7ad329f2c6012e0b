"""The commands from the log to the online store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feature_repo.errors import BadInput
from trainer.commands.options import (
    DEFAULT,
    Dataset,
    built_home,
    check_at,
    home_of,
    instant_of,
)

commands = typer.Typer()

DIFFERENT = 1


@commands.command()
def build(dataset: Dataset = DEFAULT) -> None:
    """Build features and labels with dbt, and account for every row of the log.

    [dim]trainer build --dataset data/shop.yml[/]
    """
    from trainer.build import accounting_line
    from trainer.build import build as run_dbt
    from trainer.terminal import detail, say

    home = home_of(dataset)
    say(accounting_line(run_dbt(dataset, home, detail)))
    say(f"features {home / 'features'}")
    say(f"quality  {home / 'reports' / 'quality.html'}")


@commands.command()
def apply(dataset: Dataset = DEFAULT) -> None:
    """Register the built features in Feast.

    [dim]trainer apply[/]
    """
    from feature_repo.store import apply as register
    from trainer.terminal import say

    home = built_home(dataset)
    views = register(home).list_feature_views()
    say(f"{len(views)} feature views, {sum(len(v.features) for v in views)} features registered")


@commands.command()
def sync(
    dataset: Dataset = DEFAULT,
    at: Annotated[
        str | None,
        typer.Option("--at", help="The instant that is now: ISO 8601, or 'end' of the log."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option("--every", help="Keep running and sync this often: 60s, 5m. Ctrl-C ends it."),
    ] = None,
) -> None:
    """Bring the online store to the values in force now, or at an instant.

    Only what changed since the last sync is written.

    [dim]trainer sync[/]                           now is the clock's time
    [dim]trainer sync --at end[/]                  now is the log's last event
    [dim]trainer sync --at 2024-04-18T12:00:00Z[/]
    [dim]trainer sync --every 60s[/]
    """
    from trainer.instants import parse_duration, to_datetime
    from trainer.terminal import say, sync_line

    if at is not None and every is not None:
        raise BadInput("give --at or --every: a sync that is repeated follows the clock")
    seconds = None
    if every is not None:
        seconds = parse_duration(every, "--every").astype("timedelta64[s]").astype(int)
        if seconds < 1:
            raise BadInput(f"--every: {every!r} is less than a second")
    check_at(at)
    home = built_home(dataset)
    if seconds is not None:
        _sync_every(home, float(seconds))
        return
    from feature_repo.sync import sync as load

    instant = instant_of(at, home)
    say(sync_line(load(home, None if instant is None else to_datetime(instant))))


def _sync_every(home: Path, seconds: float) -> None:
    """Sync until the process is told to end; a sync that runs then is finished."""
    import signal
    import threading

    from feature_repo.sync import sync_every
    from trainer.terminal import say, sync_line

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def failed(error: BadInput) -> None:
        typer.echo("error: " + " ".join(str(error).split()) + "; trying again", err=True)

    sync_every(home, seconds, stop, lambda done: say(sync_line(done)), failed)


@commands.command()
def verify(
    dataset: Dataset = DEFAULT,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Entities of each view to compare.")
    ] = 1000,
    everything: Annotated[bool, typer.Option("--all", help="Compare every entity.")] = False,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="The instant to compare at: ISO 8601, or 'end'; default that of the last sync.",
        ),
    ] = None,
) -> None:
    """Compare the online store with the offline store, every view and feature, bit for bit.

    Exit code 1 where a value differs.

    [dim]trainer verify[/]
    [dim]trainer verify --all[/]
    """
    from trainer.instants import to_datetime
    from trainer.terminal import say, verify_lines

    check_at(at)
    home = built_home(dataset)
    from feature_repo.verify import verify as compare

    instant = instant_of(at, home)
    found = compare(
        home, None if instant is None else to_datetime(instant), None if everything else sample
    )
    for line in verify_lines(found):
        say(line)
    if found.mismatches:
        raise typer.Exit(DIFFERENT)
