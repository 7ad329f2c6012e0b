"""The commands about what may be known of a user."""

from __future__ import annotations

from typing import Annotated

import typer

from trainer.commands.options import (
    DEFAULT,
    AsJson,
    ConfigFile,
    Dataset,
    Overrides,
    User,
    built_home,
)

commands = typer.Typer()


@commands.command()
def forget(user: User, dataset: Dataset = DEFAULT, as_json: AsJson = False) -> None:
    """Take a user out of everything that the home holds, and say which runs had seen him.

    He goes onto a list of salted hashes that builds and streams read, then a build takes him out of
    features, labels and all that was counted of him, the online store is brought up to date, and
    files are written anew where they keep what is gone. The log is yours: remove his rows there,
    and fit runs that learned from him again. No stream and no build may run meanwhile.

    [dim]trainer forget --user u021[/]
    """
    home = built_home(dataset)
    from trainer.build import build
    from trainer.forgetting import as_json as written
    from trainer.forgetting import forget as forget_user
    from trainer.forgetting import lines, require_nothing_left
    from trainer.terminal import detail, say

    done = forget_user(dataset, home, user, (lambda _line: None) if as_json else detail, build)
    if as_json:
        typer.echo(written(done))
    else:
        for line in lines(done):
            say(line)
    require_nothing_left(done)


@commands.command()
def attack(
    overrides: Overrides = None,
    dataset: Dataset = DEFAULT,
    config: ConfigFile = None,
    models: Annotated[
        int, typer.Option("--models", min=3, max=64, help="Models of each kind to fit.")
    ] = 6,
) -> None:
    """Try to tell who a model learned from: by his loss, and with shadow models.

    Models of the configuration are fitted on random halves of the users; each is attacked once,
    with the others as its shadows. With privacy.epsilon, models without privacy and with it stand
    side by side. The numbers are written to reports/attack.json; the models are not kept.

    [dim]trainer attack[/]
    [dim]trainer attack privacy.epsilon=1 --models 8[/]
    """
    from trainer.config import load_config

    settings = load_config(config, overrides or ())
    home = built_home(dataset)
    from trainer.attacking import REPORT, lines
    from trainer.attacking import attack as attack_models
    from trainer.terminal import detail, say

    for line in lines(*attack_models(home, settings, models, detail)):
        say(line)
    say(f"report {home / 'reports' / REPORT}")
