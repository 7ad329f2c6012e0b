"""Reading a training set from a store that goes on being built."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.errors import BadInput
from trainer.fitting import one_publication


def publish(home: Path, number: int) -> None:
    """Point the public link at another publication, as a build does."""
    (home / ".published" / str(number) / "features").mkdir(parents=True)
    current = home / ".published" / "current"
    current.unlink(missing_ok=True)
    current.symlink_to(str(number))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    publish(tmp_path, 1)
    (tmp_path / "features").symlink_to(".published/current/features")
    return tmp_path


def test_a_build_between_two_reads_is_refused(home: Path) -> None:
    with (
        pytest.raises(BadInput, match="published new features while they were read"),
        one_publication(home),
    ):
        publish(home, 2)


def test_without_one_nothing_is_said(home: Path) -> None:
    publish(home, 2)
    with one_publication(home):
        pass
