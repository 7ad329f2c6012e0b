"""A small home that was applied, synced and fitted, and the service on it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic_log as synthetic
import yaml
from fastapi.testclient import TestClient

sys.path.append(str(Path(__file__).parent))

from serving_home import KEYS, NO_LIMIT, Served

from trainer.config import load_config
from trainer.serving.app import make_app

SPLIT = {"train_end": "2024-01-20", "valid_end": "2024-01-24"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A home that is shared by all tests: look, but change nothing in it."""
    from feature_repo.store import apply
    from feature_repo.sync import sync
    from trainer.fitting import fit
    from trainer.instants import to_datetime
    from trainer.models.base import silent
    from trainer.prediction import log_end

    folder = tmp_path_factory.mktemp("served")
    log = synthetic.order_two_log(users=25, events=30)
    home = synthetic.publish(log, folder / "home", split=SPLIT)
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "toy", "events_path": "toy.csv", "columns": columns}
    dataset = folder / "toy.yml"
    dataset.write_text(yaml.safe_dump(content | {"actions": ["a", "b"]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(home))
        apply(home)
        sync(home, to_datetime(log_end(home)))
        fit(home, load_config(None, KEYS), silent)
    return Served(home, log, dataset)


@pytest.fixture
def served(made: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setenv("SCALESPACE_HOME", str(made.home))
    return made


@pytest.fixture
def own(made: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A copy that a test may change."""
    shutil.copytree(made.home, tmp_path / "home", symlinks=True)
    monkeypatch.setenv("SCALESPACE_HOME", str(tmp_path / "home"))
    return Served(tmp_path / "home", made.log, made.dataset)


@pytest.fixture
def client(served: Served) -> Iterator[TestClient]:
    """The application in this process, without a limit of rate."""
    with TestClient(make_app(served.home, settings=NO_LIMIT)) as client:
        yield client
