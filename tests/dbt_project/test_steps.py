"""Every step in Python that a macro asks for exists on both engines."""

import importlib
import re
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
# Asked for only with keys of the dataset file that Spark's target refuses.
DUCKDB_ALONE = {"salt_problem", "problem_with_vectors", "problem_with_text_model"}


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROJECT / "plugins"))


@pytest.mark.usefixtures("plugins")
def test_a_step_of_a_macro_is_known_to_both_engines() -> None:
    steps = importlib.import_module("scalespace_spark").STEPS
    files = importlib.import_module("scalespace_files")
    on_duckdb = {function.__name__ for function in files.ARGUMENTS}
    asked = {
        name
        for path in PROJECT.rglob("*.sql")
        for name in re.findall(r"\bstep\('([a-z_]+)'", path.read_text())
    }
    assert len(asked) >= 15
    of_spark = {"duckdb_columns", "run_python_model", "spark_tables", "stage_log"}
    assert asked - on_duckdb == of_spark
    assert asked - set(steps) == DUCKDB_ALONE
    for name, module in steps.items():
        assert callable(getattr(importlib.import_module(module), name))
        assert module in sys.modules
