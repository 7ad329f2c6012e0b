"""Configurations are refused before anything runs, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.errors import BadInput
from trainer.config import FitConfig, load_config


def test_defaults_are_the_article_s_network() -> None:
    config = load_config(None)
    assert config == FitConfig()
    assert (config.encoder.cell, config.encoder.layers, config.encoder.hidden) == ("lstm", 2, 50)


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text("epochs: 7\nencoder: {cell: rnn, hidden: 20}\n")
    config = load_config(path, ["encoder.cell=gru", "learning_rate=1e-2"])
    assert (config.epochs, config.encoder.cell, config.encoder.hidden) == (7, "gru", 20)
    assert config.learning_rate == 0.01


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder.cel=gru", "unknown key 'encoder.cel'; the nearest known key is 'encoder.cell'"),
        ("epoch=3", "unknown key 'epoch'; the nearest known key is 'epochs'"),
        ("cell=gru", "unknown key 'cell'; the nearest known key is 'encoder.cell'"),
        ("encoder.cell=transformer", "encoder.cell"),
        ("epochs=many", "epochs='many'"),
        ("epochs=0", "epochs=0"),
        ("epochs", "write key=value"),
        ("epochs.x=3", "epochs"),
        ("encoder=lstm", "encoder"),
        ("epochs=[", "cannot be read"),
    ],
)
def test_bad_overrides_are_named(override: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_config(None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: [", "not YAML"),
        ("- epochs", "a list of keys"),
        ("encoder: {dropuot: 0.1}", "'encoder.dropuot'; the nearest known key is"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "my.yml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"my\.yml") as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="absent"):
        load_config(tmp_path / "absent.yml")
