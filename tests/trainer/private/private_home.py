"""A small home on which the commands about privacy run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import synthetic_log as synthetic
import yaml
from typer.testing import CliRunner

from trainer.cli import app

SPLIT = {"train_end": "2024-01-20", "valid_end": "2024-01-24"}


def publish(log: synthetic.Log, folder: Path) -> Path:
    """A home with features applied, and its dataset file beside it."""
    home = synthetic.publish(log, folder / "home", split=SPLIT)
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "toy", "events_path": "toy.csv", "columns": columns}
    (folder / "toy.yml").write_text(yaml.safe_dump(content | {"actions": ["a", "b"]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(home))
        assert run(folder, "apply").exit_code == 0
    return folder


def run(folder: Path, *arguments: str) -> Any:
    """A command on the home in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(folder / "home"))
        return CliRunner().invoke(
            app, [*arguments, "--dataset", str(folder / "toy.yml")], env={"COLUMNS": "500"}
        )
