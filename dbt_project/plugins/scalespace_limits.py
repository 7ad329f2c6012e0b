"""What a build may take of a machine, and what it leaves there.

The variables are ``SCALESPACE_MEMORY_LIMIT`` and ``SCALESPACE_TEMP_DIRECTORY``.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import duckdb


def problem_with_limits(memory_limit: str, environment: Mapping[str, str]) -> str:
    """Say in one line why a build cannot run within its limits; empty where it can.

    Parameters
    ----------
    memory_limit : str
        What DuckDB is given: a size, or a share of the machine's memory.
    environment : mapping
        The environment. The folder that it names for spilled data is made where it is missing:
        DuckDB would notice only when it has to spill, in the middle of a build.
    """
    try:
        duckdb.connect(config={"memory_limit": memory_limit or "80%"}).close()
    except duckdb.Error:
        return (
            f"SCALESPACE_MEMORY_LIMIT is '{memory_limit}': write a size or a share of the memory, "
            "as in 4GB or 50%"
        )
    folder = environment.get("SCALESPACE_TEMP_DIRECTORY")
    if not folder:
        return ""
    if not os.path.isabs(folder):
        return f"SCALESPACE_TEMP_DIRECTORY is '{folder}': write it as an absolute path"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"SCALESPACE_TEMP_DIRECTORY is '{folder}', which cannot be made: {error.strerror}"
    if not os.access(folder, os.W_OK):
        return f"SCALESPACE_TEMP_DIRECTORY is '{folder}', where nothing can be written"
    return ""


def discard_spilled(folder: Path) -> None:
    """Drop what a killed build had spilled: DuckDB removes its own files alone, at its end."""
    for file in folder.glob("duckdb_temp_*"):
        file.unlink()
