"""dbt's own SQL for what a stream does: compiled once, ordered, and no more of it than needed.

The project is compiled with the variable ``streaming`` (see ``macros/dataset/streaming.sql``) in a
folder of its own, so that neither the warehouse nor the manifest of the last build is touched. What
is kept are the user's feature views and what they read; items, the population, labels and reports
are the next build's business.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from trainer.build import DBT, PROJECT, explain_failure
from trainer.dataset import REPOSITORY, find_dataset_file

FOLDER = "streaming"  # in the home: the compiled project
STAGING = ("base_events", "base_events__judged", "stg_events")
COMPILED = ("resource_type:model", "resource_type:analysis")  # and none of the tests
_ENTITY = "user"


@dataclass(frozen=True)
class Model:
    """One model of the project.

    Attributes
    ----------
    name : str
    sql : str
        A select statement, which reads the relations of its parents by name.
    parents : tuple of str
        Those among the statements of a batch.
    """

    name: str
    sql: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Statements:
    """What a stream runs.

    Attributes
    ----------
    log_rows : str
        Every row of the log's files.
    journal_rows : str
        Lines of the journal as rows of the log, from the relation ``streaming.lines``.
    staging : dict of str to Model
        `STAGING` by name.
    intermediate : tuple of Model
        Histories of users, each after its parents.
    views : tuple of Model
        Feature views of users, each after its parents.
    references : tuple of str
        Relations that only a build makes, which views read.
    steps_us : tuple of int
        How long after an event a row can change, in microseconds: at once, when its session
        closes, and when either leaves a window.
    judges_history : bool
        Whether the verdict on an event depends on the user's others (the bot rule).
    """

    log_rows: str
    journal_rows: str
    staging: dict[str, Model]
    intermediate: tuple[Model, ...]
    views: tuple[Model, ...]
    references: tuple[str, ...]
    steps_us: tuple[int, ...]
    judges_history: bool


def compile_statements(dataset_path: str, home: Path, *, anew: bool = False) -> Statements:
    """Return the statements for one dataset file, compiled by dbt or as they were compiled before.

    Parameters
    ----------
    dataset_path
        The dataset file.
    home
        Home of the run.
    anew
        Compile also what was compiled before: the log has other columns now.

    Raises
    ------
    BadInput
        When dbt cannot compile the project for this dataset; one line.
    """
    text = find_dataset_file(dataset_path).read_text(encoding="utf-8")
    folder = home.absolute() / FOLDER
    kept = folder / f"statements-{_fingerprint(text)}.json"
    if not anew and kept.exists():
        return _from_json(json.loads(kept.read_text(encoding="utf-8")))
    variables = {**yaml.safe_load(text), "streaming": True}
    statements = statements_of(_compile(variables, folder, dataset_path), variables)
    for old in folder.glob("statements-*.json"):
        old.unlink(missing_ok=True)
    with replacing(kept) as fresh:
        fresh.write_text(json.dumps(asdict(statements)), encoding="utf-8")
    return statements


def statements_of(manifest: Mapping[str, Any], variables: Mapping[str, Any]) -> Statements:
    """Pick and order what a stream needs of a compiled project.

    Parameters
    ----------
    manifest
        dbt's ``manifest.json``.
    variables
        The dataset file's keys.
    """
    nodes = {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    analyses = {
        n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "analysis"
    }
    wanted = [
        name
        for name, node in nodes.items()
        if _meta(node).get("publish") == "features" and _follows_users(node)
    ]
    ordered = _in_order(wanted, nodes)
    references = sorted(
        {
            parent
            for name in ordered
            for parent in _read_by(name, nodes)
            if parent not in STAGING and not _follows_users(nodes[parent])
        }
    )
    views = [name for name in ordered if _meta(nodes[name]).get("publish") == "features"]
    kept = set(ordered)

    def model(name: str) -> Model:
        parents = [p for p in _read_by(name, nodes) if p in kept]
        return Model(name, nodes[name]["compiled_code"], tuple(parents))

    widths = {_width_us(_meta(nodes[name]).get("scale") or "all") for name in views}
    gap = int(variables.get("session_gap_minutes", 30) * 60_000_000)
    return Statements(
        log_rows=analyses["log_rows"]["compiled_code"],
        journal_rows=analyses["journal_rows"]["compiled_code"],
        staging={name: Model(name, nodes[name]["compiled_code"], ()) for name in STAGING},
        intermediate=tuple(model(name) for name in ordered if name not in views),
        views=tuple(model(name) for name in views),
        references=tuple(references),
        # A session's close is an instant of its own, and leaves a window as an event does.
        steps_us=tuple(sorted({width + close for width in widths | {0} for close in (0, gap)})),
        judges_history=bool(variables.get("bots")),
    )


def _in_order(names: Iterable[str], nodes: Mapping[str, Any]) -> list[str]:
    """The models of users that `names` need, and they, each after its parents."""
    found: list[str] = []

    def visit(name: str) -> None:
        if name in found or name in STAGING or not _follows_users(nodes[name]):
            return
        for parent in _read_by(name, nodes):
            visit(parent)
        found.append(name)

    for name in sorted(names):
        visit(name)
    return found


def _read_by(name: str, nodes: Mapping[str, Any]) -> list[str]:
    """Models that a model's SQL reads; what it only has to follow in a build is none."""
    parents = [parent.split(".")[-1] for parent in nodes[name]["depends_on"]["nodes"]]
    sql = nodes[name]["compiled_code"]
    return [p for p in parents if p in nodes and nodes[p]["relation_name"] in sql]


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return node["config"].get("meta") or {}


def _follows_users(node: Mapping[str, Any]) -> bool:
    return _meta(node).get("update_by") == _ENTITY


def _width_us(scale: str) -> int:
    """Microseconds of a scale's name, as the project's macro duration_us has it; 0 for all."""
    if scale == "all":
        return 0
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[scale[-1]]
    return int(scale[:-1]) * unit * 1_000_000


def _compile(variables: Mapping[str, Any], folder: Path, dataset_path: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    code, output = _run_dbt(variables, folder)
    if code != 0:
        raise BadInput(explain_failure(output, dataset_path).replace("dbt build", "dbt compile"))
    manifest = json.loads((folder / "target" / "manifest.json").read_text(encoding="utf-8"))
    # What dbt leaves in a home: nothing of it is needed any more.
    for left in ("target", ".built", "reports"):
        shutil.rmtree(folder / left, ignore_errors=True)
    (folder / "warehouse.duckdb").unlink(missing_ok=True)
    return manifest


def _run_dbt(variables: Mapping[str, Any], folder: Path) -> tuple[int, list[str]]:
    """Compile the project in a home of its own: a build may hold the warehouse of the real one."""
    command = [sys.executable, "-c", DBT, "compile", "--quiet"]
    command += ["--no-use-colors", "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    command += ["--select", *COMPILED, "--vars", json.dumps(variables)]
    process = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "SCALESPACE_HOME": str(folder)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return process.returncode, (process.stdout + process.stderr).splitlines()


def _fingerprint(dataset: str) -> str:
    """Of everything that decides what dbt makes of the dataset, but for the log's own columns."""
    parts = [dataset, str(PROJECT), duckdb.__version__, Path(__file__).read_text(encoding="utf-8")]
    for folder in ("models", "macros", "analyses", "plugins"):
        for file in sorted((PROJECT / folder).rglob("*")):
            if file.suffix in (".sql", ".yml", ".py"):
                parts.append(file.read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _from_json(kept: dict[str, Any]) -> Statements:
    def model(fields: dict[str, Any]) -> Model:
        return Model(fields["name"], fields["sql"], tuple(fields["parents"]))

    return Statements(
        log_rows=kept["log_rows"],
        journal_rows=kept["journal_rows"],
        staging={name: model(fields) for name, fields in kept["staging"].items()},
        intermediate=tuple(map(model, kept["intermediate"])),
        views=tuple(map(model, kept["views"])),
        references=tuple(kept["references"]),
        steps_us=tuple(kept["steps_us"]),
        judges_history=kept["judges_history"],
    )
