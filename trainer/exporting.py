"""``export``: a folder with all that a program in any language needs to run a fitted network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.config import load_config
from trainer.event_inputs import EventEncoder
from trainer.models.base import read_json, write_json
from trainer.models.onnx_network import (
    CONVERSION,
    ENCODER,
    ENCODER_INPUTS,
    HEAD,
    NEXT_TIME,
    OnnxNetwork,
    coarse_graph,
)
from trainer.rollups import EXTRA, Period, RollupBatch, group_of
from trainer.runs import CONFIG, find_run
from trainer.waits import LEVELS

INTERFACE, EXAMPLE, README = "interface.json", "example.json", "README.md"
GRAPHS = (ENCODER, HEAD, CONVERSION, NEXT_TIME)
_TEXTS = ("vocabularies.json", "features.json")
_ROWS, _TIME = 3, 5  # of the worked example


def export(home: Path, run: str | None, target: Path) -> Path:
    """Write a run's graphs, what they are fed with, and a worked example.

    Parameters
    ----------
    home
        Home of the run.
    run
        Its name; the newest without one.
    target
        A folder that does not exist yet, or is empty.

    Returns
    -------
    target
        As given.

    Raises
    ------
    BadInput
        For a run without graphs, and for a folder with something in it.
    """
    folder = find_run(home, run)
    config = load_config(folder / CONFIG)
    if config.model != "recurrent":
        raise BadInput(
            f"run {folder.name} is a {config.model}, which has no graph; "
            "export a run of model=recurrent"
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"{target}: there is something already; name a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        coarse = config.encoder.coarse
        names = (*GRAPHS, *map(coarse_graph, coarse))
        graphs = [name for name in names if (folder / name).is_file()]
        for name in (*graphs, *_TEXTS):
            shutil.copy2(folder / name, partial / name)
        vocabularies, features = (read_json(folder / name) for name in _TEXTS)
        write_json(
            partial / INTERFACE,
            {
                "run": folder.name,
                "window": config.encoder.window,
                "states": vocabularies["states"],
                "horizons": vocabularies["horizons"],
                "levels": list(LEVELS) if vocabularies["waits"] else [],
                "columns": features["columns"],
                "coarse": list(coarse),
                "graphs": {name: _signature(partial / name) for name in graphs},
            },
        )
        write_json(partial / EXAMPLE, _example(partial, graphs, coarse, vocabularies, features))
        shutil.copyfile(Path(__file__).with_name("exported_readme.md"), partial / README)
        if target.is_dir():
            target.rmdir()
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _signature(path: Path) -> dict[str, Any]:
    """Names, types and shapes of a graph's inputs and outputs; a text is a size that is free."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def described(values: Any) -> list[dict[str, Any]]:
        return [{"name": v.name, "type": v.type, "shape": v.shape} for v in values]

    return {
        "inputs": described(session.get_inputs()),
        "outputs": described(session.get_outputs()),
    }


def _example(
    folder: Path,
    graphs: list[str],
    coarse: Sequence[Period],
    vocabularies: dict[str, Any],
    features: dict[str, Any],
) -> dict[str, Any]:
    """Inputs at random, and what the graphs make of them."""
    random = np.random.default_rng(0)
    head, conversion, next_time = (name in graphs for name in GRAPHS[1:])
    network = OnnxNetwork(folder, head, conversion, next_time, coarse)
    sizes = EventEncoder.from_json(vocabularies["events"]).sizes
    given: dict[str, NDArray[Any]] = {
        **{
            name: random.integers(0, sizes[name] + 1, (_ROWS, _TIME))
            for name in ENCODER_INPUTS[:-1]
        },
        "numbers": random.normal(size=(_ROWS, _TIME, sizes["numbers"])).astype(np.float32),
        "context": random.normal(size=(_ROWS, len(features["columns"]))).astype(np.float32),
        "closed": np.arange(_ROWS) == _ROWS - 1,
    }
    actions, items, categories, locations, numbers = (given[name] for name in ENCODER_INPUTS)
    hidden, _ = network.encode(actions, items, categories, locations, numbers)
    batches = []
    for period in coarse:
        shape = (_ROWS, _TIME, sizes["actions"] + EXTRA)
        numbers, ages = random.random(shape), random.random((_ROWS, EXTRA))
        given[group_of(period)] = numbers.astype(np.float32)
        given[f"{group_of(period)}_ages"] = ages.astype(np.float32)
        each = np.arange(_ROWS)
        batches.append(
            RollupBatch(given[group_of(period)], each + 1, each, given[f"{group_of(period)}_ages"])
        )
    encoded, context = hidden[:, -1], network.whole_context(given["context"], batches)
    found: dict[str, NDArray[Any]] = {"encoded": encoded, "whole_context": context}
    if HEAD in graphs:
        logits = network.logits(encoded, context, given["closed"])
        # JSON has no infinity; who has left cannot leave.
        found["next_action"] = np.where(np.isfinite(logits), logits, -1e30)
    if CONVERSION in graphs:
        found["conversion"] = network.conversion_logits(encoded, context)
    if NEXT_TIME in graphs:
        found["next_time"] = network.quantiles(encoded, context)
    return {
        "inputs": {name: value.tolist() for name, value in given.items()},
        "outputs": {name: value.tolist() for name, value in found.items()},
    }
