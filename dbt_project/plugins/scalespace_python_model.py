"""A Python model of the project on an engine that runs none: over the Parquet of its parents.

The model sees what dbt-duckdb would show it: ``dbt.ref(name)`` is a DuckDB relation, and what it
returns is an Arrow table.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq


class _Dbt:
    """The part of dbt's object that a model of this project uses."""

    def __init__(self, parents: dict[str, str], connection: duckdb.DuckDBPyConnection) -> None:
        self._parents = parents
        self._connection = connection

    def config(self, **_: Any) -> None:
        """Dbt has read the configuration already."""

    def ref(self, name: str) -> duckdb.DuckDBPyRelation:
        return self._connection.read_parquet(f"{self._parents[name]}/*.parquet")


def run_python_model(path: str, parents: str, target: str) -> str:
    """Run a model and write its rows.

    Parameters
    ----------
    path : str
        The model's file.
    parents : str
        JSON: where the Parquet files of each parent lie, name to folder.
    target : str
        The folder that the rows are written to, as one file.

    Returns
    -------
    str
        ``target``.
    """
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        rows = module.model(_Dbt(json.loads(parents), connection), connection)
    folder = Path(target)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pq.write_table(rows, folder / "part-0.parquet")
    (folder / "_SUCCESS").touch()
    return target
