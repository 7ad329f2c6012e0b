"""Homes that are built with the trainer's own commands, in processes of their own."""

import sys
from pathlib import Path

from benchmarks.measurement import run


def trainer(dataset: str, home: Path, *arguments: str) -> None:
    """Run one command of the trainer on a dataset file."""
    command = [sys.executable, "-m", "trainer.cli", *arguments, "--dataset", dataset]
    run(command, {"SCALESPACE_HOME": str(home)})


def build_features(dataset: str, home: Path) -> None:
    """Build and apply."""
    for step in ("build", "apply"):
        trainer(dataset, home, step)
