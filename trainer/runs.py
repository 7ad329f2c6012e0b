"""Run folders: everything that a fit leaves, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.errors import BadInput
from trainer.models.base import Model, read_json, write_json
from trainer.models.marginal import Marginal
from trainer.models.markov import Markov
from trainer.splits import Cuts, read_cuts

if TYPE_CHECKING:
    from trainer.models.recurrent import Recurrent

MODELS, LATEST = "models", "latest"
RUN, SPLIT, METRICS = "run.json", "split.json", "metrics.json"


@dataclass(frozen=True)
class Run:
    """A fitted run, loaded.

    Attributes
    ----------
    folder
        ``<home>/models/<run>``.
    recurrent, baselines
        The fitted models.
    cuts
        The split it was fitted with.
    info, metrics
        Content of ``run.json`` and ``metrics.json``.
    """

    folder: Path
    recurrent: Recurrent
    baselines: tuple[Model, ...]
    cuts: Cuts
    info: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.name

    @property
    def models(self) -> tuple[Model, ...]:
        """Baselines first, as tables show them."""
        return (*self.baselines, self.recurrent)


def write_run(
    home: Path,
    models: Sequence[Model],
    info: dict[str, Any],
    split: dict[str, Any],
    metrics: dict[str, Any],
) -> Path:
    """Write a run beside its place, then rename it there and point ``latest`` at it.

    Returns
    -------
    folder
        ``<home>/models/<run>``; the run is named after the clock and its model.
    """
    parent = home / MODELS
    parent.mkdir(parents=True, exist_ok=True)
    # One instant, one process: two fits at once never meet in a folder.
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3].replace(".", "-")
    name = f"{stamp}-{models[-1].name}"
    partial = parent / f".{name}.{os.getpid()}.partial"
    partial.mkdir()
    try:
        for model in models:
            model.save(partial)
        write_json(partial / RUN, {"run": name, **info})
        write_json(partial / SPLIT, split)
        write_json(partial / METRICS, metrics)
        folder = parent / name
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    pointer = parent / f".{LATEST}.{os.getpid()}.partial"
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(name, target_is_directory=True)
    pointer.replace(parent / LATEST)
    return folder


def find_run(home: Path, name: str | None = None) -> Path:
    """Folder of a run; the newest without a name.

    Raises
    ------
    BadInput
        When there is none.
    """
    parent = home / MODELS
    folder = (parent / (name or LATEST)).resolve()
    if (folder / RUN).is_file() and folder.parent == parent.resolve():
        return folder
    if name is None:
        raise BadInput(f"{parent}: no run was fitted yet; run trainer fit")
    known = sorted(run.parent.name for run in parent.glob(f"*/{RUN}") if run.parent.name != LATEST)
    raise BadInput(f"{parent}: there is no run {name!r}; known: {', '.join(known) or 'none'}")


def load_run(home: Path, name: str | None = None) -> Run:
    """Load a run with all of its models; see :func:`find_run`."""
    from trainer.models.recurrent import Recurrent

    folder = find_run(home, name)
    try:
        return Run(
            folder=folder,
            recurrent=Recurrent.load(folder),
            baselines=(Marginal.load(folder), Markov.load(folder)),
            cuts=read_cuts(read_json(folder / SPLIT)["cuts"]),
            info=read_json(folder / RUN),
            metrics=read_json(folder / METRICS),
        )
    except Exception as error:  # whatever a half-copied file makes torch or json say
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(
            f"{folder}: this run is damaged or of another version ({line}); run trainer fit again"
        ) from None
