"""Run folders: everything that a fit leaves, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.errors import BadInput
from trainer.config import FitConfig, load_config, save_config
from trainer.features import Feature
from trainer.models.base import Model, Predicting, read_json, write_json
from trainer.models.registry import load_model
from trainer.splits import Cuts, read_cuts

if TYPE_CHECKING:
    from trainer.models.recurrent import Recurrent

MODELS, LATEST = "models", "latest"
RUN, CONFIG, SPLIT, METRICS = "run.json", "config.yml", "split.json", "metrics.json"
REFERENCE = "reference.json"  # what trainer monitor compares with


@dataclass(frozen=True)
class Run:
    """A fitted run, loaded.

    Attributes
    ----------
    folder
        ``<home>/models/<run>``.
    model, baselines
        The fitted models: the run's own, and those beside it.
    features, states
        What the models read of the store, and the order of their probability vectors.
    config
        What was fitted.
    cuts
        The split it was fitted with.
    info, metrics
        Content of ``run.json`` and ``metrics.json``.
    """

    folder: Path
    model: Model
    baselines: tuple[Model, ...]
    features: tuple[Feature, ...]
    states: tuple[str, ...]
    config: FitConfig
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
        return (*self.baselines, self.model)

    @property
    def recurrent(self) -> Recurrent:
        """The run's sequence model.

        Raises
        ------
        BadInput
            Where the run is one of a baseline alone.
        """
        from trainer.models.recurrent import Recurrent

        if not isinstance(self.model, Recurrent):
            raise BadInput(
                f"run {self.name} is a {self.model.name} and no sequence model; "
                "run trainer fit model=recurrent"
            )
        return self.model


@dataclass(frozen=True)
class ServedRun:
    """A fitted run with what answers requests and nothing else.

    Attributes
    ----------
    folder
        ``<home>/models/<run>``.
    model
        What answers: a sequence model as exported, which needs no torch, or a baseline.
    features, states
        What the model reads of the store, and the order of its probability vectors.
    """

    folder: Path
    model: Predicting
    features: tuple[Feature, ...]
    states: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.name


def write_run(
    home: Path,
    models: Sequence[Model],
    config: FitConfig,
    info: dict[str, Any],
    split: dict[str, Any],
    metrics: dict[str, Any],
    reference: dict[str, Any] | None = None,
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
        save_config(config, partial / CONFIG)
        write_json(partial / RUN, {"run": name, **info})
        write_json(partial / SPLIT, split)
        write_json(partial / METRICS, metrics)
        if reference is not None:
            # Hundreds of histograms, which nobody reads by eye: a line, and not one a number.
            text = json.dumps(reference, ensure_ascii=False) + "\n"
            (partial / REFERENCE).write_text(text, encoding="utf-8")
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
    folder = find_run(home, name)
    with _damage_named(folder):
        info, config = read_json(folder / RUN), load_config(folder / CONFIG)
        return Run(
            folder=folder,
            model=load_model(config.model, folder),
            baselines=tuple(load_model(name, folder) for name in info["baselines"]),
            features=tuple(Feature(**feature) for feature in info["features"]),
            states=tuple(info["states"]),
            config=config,
            cuts=read_cuts(read_json(folder / SPLIT)["cuts"]),
            info=info,
            metrics=read_json(folder / METRICS),
        )


def load_served_run(home: Path, name: str | None = None) -> ServedRun:
    """Load what answers of a run, and nothing else; see :func:`find_run`."""
    from trainer.models.served import Served

    folder = find_run(home, name)
    with _damage_named(folder):
        info, kind = read_json(folder / RUN), load_config(folder / CONFIG).model
        return ServedRun(
            folder=folder,
            model=Served.load(folder) if kind == "recurrent" else load_model(kind, folder),
            features=tuple(Feature(**feature) for feature in info["features"]),
            states=tuple(info["states"]),
        )


@contextlib.contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a half-copied file makes torch, ONNX or json say
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(
            f"{folder}: this run is damaged or of another version ({line}); run trainer fit again"
        ) from None
