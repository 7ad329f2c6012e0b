"""Dataset files: light checks, one line each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_repo.errors import BadInput
from trainer.dataset import REPOSITORY, DatasetFile, Taxonomy
from trainer.instants import parse_duration, parse_instant, show_duration, show_instant

GOOD = """
dataset: toy
events_path: data/toy.csv
columns: {user_id: who, action_type: what, event_timestamp: when}
actions: [view, buy]
split: {train_end: 2024-04-01, valid_end: "2024-05-01T02:00:00+02:00"}
horizons: {conversion: [1d, 7d]}
session_gap_minutes: 45
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yml"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "data").glob("*.yml")), ids=lambda path: path.stem
)
def test_every_dataset_of_the_repository_loads(path: Path) -> None:
    assert DatasetFile.load(path).dataset == path.stem


def test_taxonomy_of_a_build(file: Path) -> None:
    dataset = DatasetFile.load(file)
    taxonomy = Taxonomy.from_vars(dataset.model_dump())
    assert taxonomy.states == ("view", "buy", "leave")
    assert taxonomy.session_gap == np.timedelta64(45, "m")
    assert taxonomy.longest_horizon == np.timedelta64(7, "D")
    assert taxonomy.train_end == np.datetime64("2024-04-01T00:00:00", "us")
    assert taxonomy.valid_end == np.datetime64("2024-05-01T00:00:00", "us")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dataset: toy", "", "'dataset' is missing"),
        ("events_path: data/toy.csv", "", "'events_path' is missing"),
        ("actions: [view, buy]", "actions: []", "actions"),
        ("user_id: who, ", "", "columns.user_id is missing"),
        ("session_gap_minutes: 45", "session_gap_minutes: soon", "session_gap_minutes"),
        ("session_gap_minutes: 45", "bots: 1000", "bots"),
        ("session_gap_minutes: 45", "bot: {events_per_hour: 9}", "did you mean 'bots'?"),
        ("actions:", "action:", "did you mean 'actions'?"),
        ("horizons:", "horizon:", "did you mean 'horizons'?"),
        ("dataset: toy", "dataset: a/../b", "dataset"),
        ("dataset: toy", "dataset: [", "not YAML"),
    ],
)
def test_bad_files_get_one_line(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        DatasetFile.load(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_file_names_a_near_one() -> None:
    with pytest.raises(BadInput, match=r"did you mean data/shop\.yml"):
        DatasetFile.load("data/shpo.yml")


def test_a_log_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(BadInput, match=r"no file matches 'data/toy\.csv'"):
        DatasetFile.load(file).require_events(file)


def test_instants() -> None:
    assert parse_instant("2024-05-31T20:00:00+02:00", "x") == parse_instant(
        "2024-05-31 18:00:00", "x"
    )
    assert show_instant(parse_instant("2024-05-31", "x")) == "2024-05-31 00:00:00 UTC"
    for text in ("yesterday", "2024-13-01", "", "12:00"):
        with pytest.raises(BadInput, match="--at"):
            parse_instant(text, "--at")


def test_durations() -> None:
    assert show_duration(parse_duration("90m", "x")) == "90m"
    assert show_duration(parse_duration("48h", "x")) == "2d"
    with pytest.raises(BadInput, match="horizons"):
        parse_duration("7 days", "horizons.conversion")
