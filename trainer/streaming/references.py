"""What only a build makes and a stream reads, as user_pattern's centers: from its warehouse."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from trainer.streaming.compiled import FOLDER

_PATIENCE_S = 10.0
_PAUSE_S = 0.2


def read_references(home: Path, names: Collection[str]) -> dict[str, pa.Table]:
    """Return the named tables of the last build.

    Parameters
    ----------
    home : Path
        Home of the run.
    names : collection of str
        Tables of its warehouse.

    Raises
    ------
    BadInput
        If there is no build, or if one is running and the tables were never read before.

    Notes
    -----
    While a build runs nobody else can open its warehouse, so the tables are kept beside it when
    they are read: those of the build before are the ones in force until the new one is published.
    """
    warehouse = home / "warehouse.duckdb"
    if not warehouse.exists():
        raise BadInput(f"no dbt build found at {home}: run `dbt build` or `trainer build` first")
    kept = {name: home / FOLDER / f"{name}.parquet" for name in names}
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with duckdb.connect(str(warehouse), read_only=True) as connection:
                tables = {n: connection.sql(f'from "{n}"').to_arrow_table() for n in names}
            break
        except duckdb.IOException:
            if all(path.exists() for path in kept.values()):
                return {name: pq.read_table(path) for name, path in kept.items()}
            if time.monotonic() > until:
                raise BadInput(
                    f"{warehouse} is held by a build: start the stream when it has finished"
                ) from None
            time.sleep(_PAUSE_S)
        except duckdb.CatalogException as error:
            raise BadInput(
                f"{warehouse}: {str(error).splitlines()[0]}; build again with this version"
            ) from None
    for name, path in kept.items():
        with replacing(path) as fresh:
            pq.write_table(tables[name], fresh)
    return tables
