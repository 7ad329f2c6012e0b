"""Run the trainer's commands as a user does: processes of their own, on a home of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import warm_python
from dbt_runner import ROOT

Trainer = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Demo:
    """A finished ``trainer demo`` of the bundled log."""

    home: Path
    output: str


def run_trainer(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``trainer`` with ``home`` as SCALESPACE_HOME."""
    return warm_python.run("-m", "trainer", *arguments, env=_environment(home))


def run_cold_trainer(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same by the script that is installed, from the start of Python on."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("trainer")), *arguments],
        capture_output=True,
        text=True,
        env=_environment(home),
        cwd=ROOT,
        check=False,
    )


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "SCALESPACE_HOME": str(home), "COLUMNS": "120"}
