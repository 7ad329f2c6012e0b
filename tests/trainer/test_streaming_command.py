"""``trainer stream``: what it refuses, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from streaming_replay import home_beside
from trainer.cli import app
from trainer.streaming.engine import Engine
from trainer.streaming.journal import Journal


def refusal(*arguments: str) -> str:
    """The one line of a refused command."""
    result = CliRunner().invoke(app, ["stream", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_without_a_build_or_a_registry(
    tmp_path: Path, shop_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALESPACE_HOME", str(tmp_path / "nothing"))
    assert "run `dbt build` or `trainer build` first" in refusal()
    home = home_beside(shop_home, tmp_path)
    monkeypatch.setenv("SCALESPACE_HOME", str(home))
    assert "run `feast -c feature_repo apply` first" in refusal()
    assert "write redis://host:6379/0" in refusal("--redis", "localhost")


def test_another_dataset_than_the_built_one(
    tmp_path: Path, shop_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.yml"
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "other", "events_path": "other.csv", "columns": columns}
    other.write_text(yaml.safe_dump(content | {"actions": ["a"]}))
    monkeypatch.setenv("SCALESPACE_HOME", str(home_beside(shop_home, tmp_path)))
    assert "was built from dataset 'shop' and not 'other'" in refusal("--dataset", str(other))


def test_two_processes_on_one_home(tmp_path: Path, shop_home: Path) -> None:
    from feature_repo.errors import BadInput

    home = home_beside(shop_home, tmp_path)
    first = Journal(home)
    with pytest.raises(BadInput, match="stop the other one"):
        Engine("data/shop.yml", home, None)  # type: ignore[arg-type]
    first.close()
