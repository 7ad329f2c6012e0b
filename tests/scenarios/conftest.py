"""Scenarios walk the product as a user does: its commands, in processes of their own."""

from __future__ import annotations

import pytest

from trainer_runner import Demo, Trainer, run_cold_trainer, run_trainer


@pytest.fixture(scope="session")
def trainer() -> Trainer:
    return run_trainer


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run once for all scenarios, in a folder whose path has a space in it."""
    home = tmp_path_factory.mktemp("a demo") / "home"
    finished = run_cold_trainer(home, "demo")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return Demo(home, finished.stdout)
