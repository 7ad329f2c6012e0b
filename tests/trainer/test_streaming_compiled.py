"""What a stream runs of the project: users' views and what they read, in order, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dbt_runner import ROOT
from feature_repo.errors import BadInput
from trainer.streaming.compiled import compile_statements

MINUTE_US = 60_000_000
SHOP = str(ROOT / "data" / "shop.yml")


def test_users_views_and_what_they_read_each_after_its_parents(shop_statements: Path) -> None:
    statements = compile_statements(SHOP, shop_statements.parent)
    assert {model.name for model in statements.intermediate} == {
        "int_events",
        "int_user_totals",
        "int_states",
        "int_transition_totals",
        "int_rhythm_totals",
        "int_user_activity_in_force",
        "int_user_transitions_in_force",
        "int_user_rhythm_in_force",
    }
    views = [view.name for view in statements.views]
    assert len(views) == 23
    assert all(view.startswith("user_") for view in views)
    done: set[str] = set()
    for model in (*statements.intermediate, *statements.views):
        assert done.issuperset(model.parents), model.name
        done.add(model.name)
    assert statements.references == ("int_patterns",)
    assert not statements.judges_history


def test_when_time_alone_can_change_a_row(shop_statements: Path) -> None:
    statements = compile_statements(SHOP, shop_statements.parent)
    hours = (0, 1, 24, 7 * 24, 30 * 24, 90 * 24, 365 * 24)
    expected = [h * 60 * MINUTE_US + close for h in hours for close in (0, 30 * MINUTE_US)]
    assert statements.steps_us == tuple(expected)


def test_what_was_compiled_is_kept_and_is_the_same(shop_statements: Path) -> None:
    (kept,) = shop_statements.glob("statements-*.json")
    before = kept.stat().st_mtime_ns
    statements = compile_statements(SHOP, shop_statements.parent)
    assert kept.stat().st_mtime_ns == before
    views = json.loads(kept.read_text())["views"]
    assert [view.sql for view in statements.views] == [view["sql"] for view in views]
    # Nothing of dbt's is left beside it.
    assert [path.name for path in shop_statements.iterdir()] == [kept.name]


def test_a_dataset_that_dbt_refuses_is_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    text = (ROOT / "data" / "shop.yml").read_text(encoding="utf-8")
    wrong.write_text(text.replace("user_id: user_id", "user_id: nobody"))
    with pytest.raises(BadInput, match="no column 'nobody'") as error:
        compile_statements(str(wrong), tmp_path / "home")
    assert "\n" not in str(error.value)
