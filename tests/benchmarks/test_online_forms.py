"""The compared online stores give back the generated values."""

import shutil
from pathlib import Path

import pytest

from benchmarks.data import write_features
from benchmarks.online_forms import FORMS, run

USERS, FEATURES = 40, (3, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("online")
    for n, count in enumerate(FEATURES):
        write_features(folder / f"view_{n}.parquet", USERS, USERS, f"v{n}", count, seed=n)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_a_form_writes_and_reads_every_value(folder: Path, form: str) -> None:
    if form == "redis" and shutil.which("redis-server") is None:
        pytest.skip("no redis-server here; Debian's package redis-server has it")
    figures = run(form, folder, many=8)
    assert figures["cells"] == USERS * sum(FEATURES)
    assert figures["different"] == 0
    # The bare query decodes nothing.
    assert figures["compared"] == (0 if form == "packed" else 8 * sum(FEATURES))
    assert figures["bytes"] > 0


def test_the_comparison_sees_a_changed_value(folder: Path) -> None:
    """The store is loaded with other values than those of the files."""
    from benchmarks.online_forms import _compare

    users = [f"u{n}" for n in range(3)]
    wrong = {f"v{n}_{k}": [-1, -1, -1] for n, count in enumerate(FEATURES) for k in range(count)}
    assert _compare(wrong, folder, users) == (3 * sum(FEATURES), 3 * sum(FEATURES))
