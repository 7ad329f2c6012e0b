"""What the commands have in common: their options, and the home that they work on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_repo.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

Dataset = Annotated[
    str,
    typer.Option(
        "--dataset", envvar="SCALESPACE_DATASET", help="The dataset file.", metavar="FILE"
    ),
]
RunName = Annotated[
    str | None, typer.Option("--run", help="A run under models/; the newest without it.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, as in encoder.cell=gru epochs=5."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A YAML file of keys that differ from the defaults.")
]
User = Annotated[str, typer.Option("--user", help="The user's identifier.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT = "data/shop.yml"
END = "end"  # of the log, as an instant


def home_of(dataset_path: str) -> Path:
    """Home of the dataset, made known to every part of this process and to those it starts."""
    from feature_repo.home import HOME_VARIABLE, home
    from trainer.dataset import DatasetFile

    folder = home(DatasetFile.load(dataset_path).dataset)
    os.environ[HOME_VARIABLE] = str(folder)
    return folder


def built_home(dataset_path: str) -> Path:
    """The home, refused where nothing was built or another dataset was."""
    from feature_repo.manifest import dataset_vars
    from trainer.dataset import DatasetFile

    folder = home_of(dataset_path)
    built, wanted = dataset_vars(folder).get("dataset"), DatasetFile.load(dataset_path).dataset
    if built != wanted:
        raise BadInput(
            f"{folder} was built from dataset {built!r} and not {wanted!r}; "
            f"run trainer build --dataset {dataset_path}"
        )
    return folder


def check_at(at: str | None, option: str = "--at") -> None:
    """Refuse what is no instant, before anything is read; `option` is the one that said it."""
    if at is not None and at != END:
        from trainer.instants import parse_instant

        parse_instant(at, option)


def instant_of(at: str | None, home: Path, option: str = "--at") -> np.datetime64 | None:
    """The instant that `option` names: ISO 8601 in UTC, or the end of the log; ``None`` for now."""
    if at == END:
        from trainer.prediction import log_end

        return log_end(home)
    if at is None:
        return None
    from trainer.instants import parse_instant

    return parse_instant(at, option)
