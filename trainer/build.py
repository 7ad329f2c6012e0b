"""``build``: the dbt project, run in a process of its own on one dataset file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from feature_repo.errors import BadInput
from trainer.dataset import REPOSITORY, DatasetFile, find_dataset_file
from trainer.models.base import Report

PROJECT = REPOSITORY / "dbt_project"
# A seventh of a small build is the search for garbage, of which there is little until dbt ends.
DBT = "import gc; gc.disable(); from dbt.cli.main import cli; cli()"
BAD_INPUT_MARK = "scalespace:"  # how the project's macros begin what they say to the user
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CLOCK = re.compile(r"^\d\d:\d\d:\d\d\s+")
_COUNT = re.compile(r"\b(\d+) of (\d+) (?:OK|PASS|ERROR|FAIL|WARN|SKIP)")
_TRACES = ("Database Error", "Compilation Error", "Runtime Error", "Parsing Error")


def build(dataset_path: str, home: Path, report: Report) -> dict[str, Any]:
    """Build the features and labels of one dataset file.

    Parameters
    ----------
    dataset_path
        The dataset file; its text is the variables of the dbt project, unchanged.
    home
        Home of the run.
    report
        Takes lines of progress.

    Returns
    -------
    accounting
        ``{raw, accepted, duplicates, rejected: {reason: n}}``

    Raises
    ------
    BadInput
        When the dataset cannot be built; the line is the project's own where it has one.

    Notes
    -----
    A process of its own, because a DuckDB file that one process holds is closed to every other.
    """
    DatasetFile.load(dataset_path).require_events(dataset_path)
    text = find_dataset_file(dataset_path).read_text(encoding="utf-8")
    home.mkdir(parents=True, exist_ok=True)
    # Not the script `dbt`: it may lie in another environment's bin.
    command = [sys.executable, "-c", DBT, "build"]
    command += ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--vars", text]
    environment = {**os.environ, "SCALESPACE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    try:
        tail = _follow(process.stdout, report)
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code != 0:
        raise BadInput(explain_failure(tail, dataset_path))
    return read_accounting(home)


def _follow(lines: Iterable[str], report: Report) -> list[str]:
    """Report about ten lines of a long build, and keep the last few hundred for an error."""
    tail: deque[str] = deque(maxlen=400)
    shown = 0
    for line in lines:
        plain = _plain(line)
        tail.append(plain)
        count = _COUNT.search(plain)
        if count and "hook" not in plain:
            tenth = 10 * int(count[1]) // max(int(count[2]), 1)
            if tenth > shown:
                shown = tenth
                report(f"dbt {count[1]} of {count[2]}")
    return list(tail)


def explain_failure(output: list[str], dataset_path: str) -> str:
    """One line that says why dbt failed.

    Parameters
    ----------
    output
        Lines of dbt's output.
    dataset_path
        The dataset file, which the line names.
    """
    # The project's log lines carry the same mark; what it refuses stands under an error's title.
    for title, line in pairwise(output):
        if "Error" in title and line.strip().startswith(BAD_INPUT_MARK):
            message = line.strip().removeprefix(BAD_INPUT_MARK).strip()
            return message if dataset_path in message else f"{dataset_path}: {message}"
    for place, line in enumerate(output):
        if any(trace in line for trace in _TRACES) or line.startswith("Failure in"):
            what = " ".join(part.strip() for part in output[place : place + 3] if part.strip())
            return f"{dataset_path}: dbt build failed: {what[:400]}"
    last = next((line for line in reversed(output) if line.strip()), "it said nothing")
    return f"{dataset_path}: dbt build failed: {last[:400]}"


def read_accounting(home: Path) -> dict[str, Any]:
    """What became of every raw row."""
    path = home / "reports" / "accounting.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput(f"{path}: the build left no accounting; run trainer build again") from None


def accounting_line(accounting: dict[str, Any]) -> str:
    """``raw = accepted + duplicates + rejected``, with the reasons."""
    rejected = {reason: n for reason, n in accounting["rejected"].items() if n}
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(rejected.items()))
    return (
        f"raw {accounting['raw']:,} = accepted {accounting['accepted']:,}"
        f" + duplicates {accounting['duplicates']:,}"
        f" + rejected {sum(rejected.values()):,}" + (f" ({reasons})" if reasons else "")
    )


def _plain(line: str) -> str:
    return _CLOCK.sub("", _COLOURS.sub("", line)).rstrip()
