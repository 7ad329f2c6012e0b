"""The benchmark of privacy fits what it says it fits, on a small home."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import privacy_runs


def test_rows_have_a_budget_each_and_attacks_where_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--epsilons=1", "--epochs=1", "--attacked=3"]
    monkeypatch.setattr(sys, "argv", ["privacy_runs", str(folder / "home"), *given])
    monkeypatch.setattr(
        privacy_runs, "BASE", ("encoder.hidden=4", "encoder.layers=1", "device=cpu")
    )
    monkeypatch.setenv("SCALESPACE_HOME", "")
    privacy_runs.main()
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["epsilon"], row["model"]) for row in rows] == [
        *(("1", "markov_1"), ("1", "lstm"), ("none", "markov_1"), ("none", "lstm")),
    ]
    assert all(row["low"] <= row["log-loss"] <= row["high"] for row in rows)
    assert rows[1]["bound"] == pytest.approx(0.7311, abs=1e-3)
    assert rows[3]["bound"] is None
    assert "loss AUC" not in rows[0]
