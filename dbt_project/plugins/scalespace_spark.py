"""Steps of a build on Spark: a row of its script transformation comes in, the answer goes out.

Spark runs this program for the macro ``step`` (see macros/cross_db/step.sql). Request and answer
are one line of hexadecimal digits each, so that nothing in them can end a line or a field.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

# Each step is a process, and loads no more than it needs: {step: module}.
STEPS = {
    "csv_header": "scalespace_log",
    "duckdb_columns": "scalespace_staging",
    "forgotten_users": "scalespace_users",
    "journal_files": "scalespace_journal",
    "prepare": "scalespace_publishing",
    "problem_with": "scalespace_log",
    "problem_with_sql": "scalespace_log",
    "publish": "scalespace_publishing",
    "resolve_path": "scalespace_log",
    "run_python_model": "scalespace_python_model",
    "spark_tables": "scalespace_staging",
    "stage_log": "scalespace_staging",
    "unreadable": "scalespace_log",
    "write_quality": "scalespace_quality",
    "write_report": "scalespace_publishing",
}


def main() -> None:
    """Answer the one request on standard input."""
    request: dict[str, Any] = json.loads(bytes.fromhex(sys.stdin.readline().strip()))
    function = getattr(importlib.import_module(STEPS[request["step"]]), request["step"])
    answer = function(*map(str, request["arguments"]))
    print(answer.encode().hex())


if __name__ == "__main__":
    main()
