"""Where the journal of a home lies: what a stream has taken in, beside the log's own files."""

import json
from pathlib import Path

FOLDER = "journal"
PATTERN = "events-*.ndjson"


def journal_files(home: str) -> str:
    """Return a JSON list of the journal's files, in the order of their lines; empty without one.

    A file without a line is none: DuckDB would have nothing to tell its columns from.
    """
    files = sorted((Path(home) / FOLDER).glob(PATTERN))
    return json.dumps([str(file.resolve()) for file in files if file.stat().st_size])
