"""The two forms of training end with the same weights on a small log."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import training_forms


@pytest.mark.parametrize("length", [40, 230])
def test_both_forms_give_the_same_weights(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where histories are longer than a chunk: then positions are read that are not scored."""
    sizes = {"events": 10 * length, "users": 10, "features": 6, "epochs": 2, "batch": 4, "seed": 1}
    given = [f"--{name}={value}" for name, value in sizes.items()]
    monkeypatch.setattr(sys, "argv", ["training_forms", str(tmp_path), *given])
    training_forms.main()  # ends with a message where they differ
    found = training_forms.json.loads(capsys.readouterr().out)
    assert found["events"] == 10 * (length - 1)  # the last of each user has no next action
    assert len(found["ours_s"]) == len(found["bare_s"]) == 2
    assert (found["positions"] > found["events"]) == (length > 100)


def test_different_weights_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"events": 100, "users": 10, "features": 2, "epochs": 1, "batch": 4, "seed": 1}
    given = [f"--{name}={value}" for name, value in sizes.items()]
    monkeypatch.setattr(sys, "argv", ["training_forms", str(tmp_path), *given])
    bare = training_forms.Forms.bare

    def other(self: training_forms.Forms) -> tuple:
        self.config = self.config.model_copy(update={"learning_rate": 0.02})
        return bare(self)

    monkeypatch.setattr(training_forms.Forms, "bare", other)
    with pytest.raises(SystemExit, match="other weights"):
        training_forms.main()
