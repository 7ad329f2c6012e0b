"""What dbt published, read from its manifest, where columns and types are declared once."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_repo.errors import BadInput
from feature_repo.home import manifest_path

EVENT_TIMESTAMP = "event_timestamp"
COMPUTED_AT = "computed_at"  # when the row was computed; no value of the entity
STAGING_MODEL = "stg_events"


@dataclass(frozen=True)
class Column:
    """A column of a published model, as its contract declares it."""

    name: str
    data_type: str  # DuckDB's name, in capitals: BIGINT, DOUBLE[], ...
    description: str


@dataclass(frozen=True)
class View:
    """A published model: a feature view or a table of labels.

    Attributes
    ----------
    entity : str
        Whose values these are, e.g. ``user``; the join key is ``<entity>_id``.
    family, scale : str or None
        ``user_activity`` and ``7d`` of ``user_activity_7d``; None where the model has none.
    columns : tuple of Column
        All columns in the order of the contract, the join key and the timestamp included.
    """

    name: str
    description: str
    entity: str
    family: str | None
    scale: str | None
    columns: tuple[Column, ...]

    @property
    def join_key(self) -> str:
        """Name of the column that holds the entity's key."""
        return f"{self.entity}_id"

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that hold values: all but the join key and the timestamps."""
        keys = (self.join_key, EVENT_TIMESTAMP, COMPUTED_AT)
        return tuple(column for column in self.columns if column.name not in keys)

    @property
    def created_column(self) -> str | None:
        """Name of the column that says when a row was computed; None where the view has none."""
        return COMPUTED_AT if any(c.name == COMPUTED_AT for c in self.columns) else None


def load_views(home: Path) -> tuple[View, ...]:
    """Return the feature views of the build in `home`, ordered by name.

    Raises
    ------
    BadInput
        If nothing was built there, or if a view lacks its join key, its timestamp or a type.
    """
    return _published(home, "features")


def load_labels(home: Path) -> tuple[View, ...]:
    """Return the spine and label tables of the build in `home`, ordered by name."""
    return _published(home, "labels")


def dataset_vars(home: Path) -> dict[str, Any]:
    """Return the dataset's variables with which the build in `home` ran.

    Raises
    ------
    BadInput
        If nothing was built there, or if the build did not record its variables.
    """
    for node in _models(_read(home)):
        if node["name"] == STAGING_MODEL:
            variables = _meta(node).get("dataset_vars")
            if variables:
                return dict(variables)
    raise BadInput(
        f"{manifest_path(home)}: model {STAGING_MODEL} has no meta.dataset_vars; "
        "build again with this version of the dbt project"
    )


def fingerprint(home: Path) -> str:
    """Return a SHA-256 of everything in the manifest that decides what the published values are.

    Two builds of the same project with the same variables have the same fingerprint, whenever and
    wherever they ran: timestamps, invocation ids and paths are left out. The code of every model
    and macro of the project counts, because a feature's meaning is spread over them.
    """
    manifest = _read(home)
    models = list(_models(manifest))
    project = manifest.get("metadata", {}).get("project_name")
    stable = {
        "published": {
            node["name"]: {
                "columns": [
                    [name, (column.get("data_type") or "").upper()]
                    for name, column in _columns(node).items()
                ],
                "meta": _meta(node),
            }
            for node in models
            if "publish" in _meta(node)
        },
        "models": {node["name"]: _checksum(node.get("raw_code")) for node in models},
        "macros": {
            key: _checksum(macro.get("macro_sql"))
            for key, macro in manifest.get("macros", {}).items()
            if macro.get("package_name") == project
        },
        "dataset_vars": next(
            (_meta(n).get("dataset_vars") for n in models if n["name"] == STAGING_MODEL), None
        ),
    }
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()


def _read(home: Path) -> dict[str, Any]:
    path = manifest_path(home)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"no dbt build found at {home}: run `dbt build` or `trainer build` first"
        ) from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: not a dbt manifest ({error}); build again") from None


def _models(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in sorted(manifest.get("nodes", {})):
        node = manifest["nodes"][key]
        if node.get("resource_type") == "model":
            yield node


def _meta(node: dict[str, Any]) -> dict[str, Any]:
    return node.get("config", {}).get("meta") or node.get("meta") or {}


def _columns(node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    # A command that leaves a model out (`dbt ls`, a selection) writes only what YAML says of it;
    # what the model says of itself lasts in its meta.
    declared = _meta(node).get("columns")
    return {column["name"]: column for column in declared} if declared else node["columns"]


def _checksum(text: str | None) -> str:
    return hashlib.sha256((text or "").encode()).hexdigest()


def _published(home: Path, kind: str) -> tuple[View, ...]:
    views = [
        _view(node, home) for node in _models(_read(home)) if _meta(node).get("publish") == kind
    ]
    return tuple(sorted(views, key=lambda view: view.name))


def _view(node: dict[str, Any], home: Path) -> View:
    meta = _meta(node)
    where = f"{manifest_path(home)}: model {node['name']}"
    columns = []
    for name, column in _columns(node).items():
        if not column.get("data_type"):
            raise BadInput(f"{where}: column {name} has no data_type; declare it in the contract")
        columns.append(Column(name, column["data_type"].upper(), column.get("description") or ""))
    view = View(
        name=node["name"],
        description=node.get("description") or meta.get("description") or "",
        entity=meta.get("entity") or "user",
        family=meta.get("family"),
        scale=meta.get("scale"),
        columns=tuple(columns),
    )
    names = {column.name for column in columns}
    for required in (view.join_key, EVENT_TIMESTAMP):
        if required not in names:
            raise BadInput(f"{where}: no column {required}; a published model needs it")
    return view
