"""Steps of a build that SQL has no words for, as SQL functions ``scalespace_<name>``.

dbt-duckdb loads this plugin (see profiles.yml) and the macros call its functions.
"""

import atexit
import os
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError
from scalespace_journal import journal_files
from scalespace_limits import discard_spilled, problem_with_limits
from scalespace_log import csv_header, problem_with, problem_with_sql, resolve_path, unreadable
from scalespace_noise import discrete_laplace
from scalespace_parquet import splice
from scalespace_publishing import keep, prepare, publish, sweep, write_report
from scalespace_quality import write_quality
from scalespace_text import embed_texts, problem_with_text_model
from scalespace_users import forgotten_users, pseudonym, salt_problem, without_lines_of_the_log
from scalespace_vectors import problem_with_vectors

ARGUMENTS = {
    resolve_path: 1,
    problem_with: 1,
    problem_with_sql: 1,
    csv_header: 2,
    unreadable: 2,
    problem_with_vectors: 1,
    problem_with_text_model: 1,
    embed_texts: 2,
    journal_files: 1,
    prepare: 1,
    keep: 1,
    splice: 1,
    sweep: 2,
    publish: 3,
    write_report: 3,
    write_quality: 3,
    discrete_laplace: 3,
    pseudonym: 1,
    salt_problem: 1,
    forgotten_users: 1,
}
ALWAYS_THE_SAME = {pseudonym}  # one argument, one answer: DuckDB may ask once


class Plugin(BasePlugin):
    """Registers the functions; every one takes and returns text."""

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        """Refuse what cannot be opened or spilled to, in one line: dbt would print a traceback."""
        if problem := problem_with_limits(config.get("memory_limit", ""), os.environ):
            raise DbtRuntimeError(f"scalespace: {problem}")
        try:
            duckdb.connect(creds.path, config=config).close()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].split(". However")[0]
            raise DbtRuntimeError(
                f"scalespace: {creds.path} cannot be opened: {reason} (one process can hold it at "
                "a time; everybody else reads the Parquet files)"
            ) from error

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on the connection that all threads of the build share."""
        assert self.creds is not None
        # The warehouse is open and closed to every other process, so nobody else spills beside it.
        discard_spilled(Path(f"{self.creds.path}.tmp"))
        for function, count in ARGUMENTS.items():
            conn.create_function(
                f"scalespace_{function.__name__}",
                function,
                ["VARCHAR"] * count,
                "VARCHAR",
                side_effects=function not in ALWAYS_THE_SAME,
            )
        if not salt_problem(""):
            # Whoever hashes identifiers wants no line of the log in dbt's notes of a failure.
            results = Path(self.creds.path).parent / "target" / "run_results.json"
            atexit.register(without_lines_of_the_log, results)
