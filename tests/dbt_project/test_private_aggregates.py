"""The population with bounded contributions and noise: what is released, once, at what cost."""

from __future__ import annotations

import math
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt_runner import Build
from dbt_session import PROJECT, DbtSession

VIEWS = ("--select", "+action_transitions_1d", "+action_transitions_all", "+item_activity_1d")
PRIVACY = {
    "epsilon_per_day": 40000.0,  # so much that noise is 0
    "budget": 80001.0,
    "max_events_per_user_per_day": 2,
    "items": ["i0", "i1", "never seen"],
}
VARIABLES: dict[str, Any] = {
    "dataset": "toy",
    "columns": {
        "user_id": "who",
        "action_type": "what",
        "event_timestamp": "at",
        "item_id": "item",
    },
    "actions": ["view", "buy"],
    "privacy": PRIVACY,
}


def write(folder: Path, *more: str, days: int = 3) -> dict[str, Any]:
    """Three users who each view i0, buy i1, and do both again, a minute apart, on each day."""
    rows = [
        f"{user},{'view' if place % 2 == 0 else 'buy'},2024-01-0{day} 10:0{place}:00,i{place % 2}"
        for user in "abc"
        for day in range(1, days + 1)
        for place in range(4)
    ]
    path = folder / "toy.csv"
    path.write_text("\n".join(["who,what,at,item", *rows, *more]) + "\n")
    return VARIABLES | {"events_path": str(path)}


def table(home: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def released(home: Path) -> list[list[tuple[Any, ...]]]:
    return [
        table(home, f"from state.{name} order by all")
        for name in ("released_transitions", "released_items", "privacy_ledger")
    ]


@pytest.fixture(scope="module")
def first(dbt_session: DbtSession, tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("aggregates")
    build = dbt_session(folder / "home", write(folder), *VIEWS)
    assert build.returncode == 0, build.output
    return build


def test_a_user_counts_up_to_his_limit_of_closed_days(first: Build) -> None:
    # Of four events a day two count: a view of i0, and a purchase of i1. The first day's states are
    # view, buy, view, buy, so its first two transitions are view -> buy and buy -> view; on the
    # second day leave has come between: leave -> view and view -> buy. The third is not over.
    found = table(
        first.home,
        "select action_id, day(event_timestamp), population_transition_counts_1d "
        "from action_transitions_1d order by all",
    )
    nothing = [0, 0, 0]
    assert found == [
        *[("buy", 2, [3, 0, 0]), ("buy", 3, nothing), ("buy", 4, nothing)],
        *[("leave", 2, nothing), ("leave", 3, [3, 0, 0]), ("leave", 4, nothing)],
        *[("view", 2, [0, 3, 0]), ("view", 3, [0, 3, 0]), ("view", 4, nothing)],
    ]
    items = table(
        first.home,
        "select item_id, day(event_timestamp), item_event_count_1d, item_view_count_1d, "
        "item_buy_count_1d, item_distinct_users_1d from item_activity_1d order by all",
    )
    assert items == [
        *[("i0", 2, 3, 3, 0, None), ("i0", 3, 3, 3, 0, None), ("i0", 4, 0, 0, 0, None)],
        *[("i1", 2, 3, 0, 3, None), ("i1", 3, 3, 0, 3, None), ("i1", 4, 0, 0, 0, None)],
        # What nobody touched has rows too: that it is there tells nothing.
        *[("never seen", day, 0, 0, 0, None) for day in (2, 3, 4)],
    ]


def test_the_ledger_composes_over_days(first: Build) -> None:
    ledger = table(
        first.home,
        "select day(event_timestamp), release, epsilon, epsilon_spent from privacy_ledger",
    )
    assert ledger == [
        (2, "action_transitions", 20000, 20000),
        (2, "item_activity", 20000, 40000),
        (3, "action_transitions", 20000, 60000),
        (3, "item_activity", 20000, 80000),
    ]


def test_what_was_released_stays_and_what_would_overspend_is_refused(
    first: Build, dbt_session: DbtSession, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(first.home, home, symlinks=True)
    before = released(home)
    # A late event on a released day, and a fourth day, which closes the third.
    late = ("d,view,2024-01-01 12:00:00,i0",)
    variables = write(tmp_path, *late, days=4)
    over = dbt_session(home, variables, *VIEWS)
    assert over.returncode != 0
    assert (
        "1 days from 2024-01-04 on would cost epsilon 40000, but of privacy.budget 80001.0 only 1 "
        "is left, for 0 days: nothing was released" in over.complaint
    )
    assert released(home) == before
    assert table(
        home,
        "select count(*) from read_parquet('{}')".format(
            home / "features" / "action_transitions_1d.parquet"
        ),
    ) == [(9,)]

    cheap = PRIVACY | {"epsilon_per_day": 0.5}
    build = dbt_session(home, variables | {"privacy": cheap}, *VIEWS, "--full-refresh")
    assert build.returncode == 0, build.output
    assert "1 days of the population were released with noise; epsilon 80000.5" in build.output
    after = released(home)
    for was, now in zip(before, after, strict=True):
        assert now[: len(was)] == was  # not drawn again, and without the late event
    fresh = [count for _, _, count in after[0][len(before[0]) :]]
    assert len(fresh) == 9
    # b = 2 / .25 = 8: that all nine cells are within 1 of the truth has a chance of 1e-7.
    truth = [0, 3, 0, 0, 0, 0, 3, 0, 0]
    assert max(abs(one - other) for one, other in zip(fresh, truth, strict=True)) > 1
    counts = table(home, "select population_transition_counts_1d from action_transitions_1d")
    assert min(count for (row,) in counts for count in row) >= 0


@pytest.mark.slow
def test_rare_items_are_kept_back_where_none_are_declared(
    dbt_session: DbtSession, tmp_path: Path
) -> None:
    # The threshold is ceil(1 + 2 / 10000 * ln(2 / (2 * 1e-6))) = 2 users.
    privacy = {key: value for key, value in PRIVACY.items() if key != "items"}
    variables = write(tmp_path, "d,view,2024-01-01 12:00:00,rare", "e,buy,2024-01-01 12:00:00,i1")
    variables["privacy"] = privacy | {"delta_per_day": 1e-6}
    build = dbt_session(tmp_path / "home", variables, *VIEWS)
    assert build.returncode == 0, build.output
    items = table(build.home, "select distinct item_id from item_activity_1d order by 1")
    assert items == [("i0",), ("i1",)]
    costs = table(build.home, "select delta_spent from privacy_ledger order by all")
    assert [round(delta, 12) for (delta,) in costs] == [0, 1e-6, 1e-6, 2e-6]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epsilon_per_day": 0}, "privacy.epsilon_per_day must be a number above 0"),
        ({"budget": None}, "privacy.budget must be a number above 0"),
        ({"max_events_per_user_per_day": 0}, "must be a whole number from 1"),
        ({"items": []}, "either declare privacy.items, or give delta_per_day"),
        ({"epsilon": 1}, "privacy.epsilon is unknown; known are"),
    ],
)
def test_what_is_no_guarantee_is_refused(
    dbt_session: DbtSession, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    variables = VARIABLES | {"events_path": "absent.csv", "privacy": PRIVACY | given}
    build = dbt_session(tmp_path / "home", variables, *VIEWS)
    assert build.returncode != 0
    assert said in build.complaint


def test_noise_is_discrete_laplace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(PROJECT / "plugins")])
    from scalespace_noise import discrete_laplace

    for sensitivity, epsilon in (("1", "0.5"), ("3", "2")):
        draws = Counter(int(discrete_laplace(sensitivity, epsilon, "")) for _ in range(20_000))
        ratio = math.exp(-float(epsilon) / float(sensitivity))
        for value in (-3, -1, 0, 1, 2, 4):
            expected = 20_000 * (1 - ratio) / (1 + ratio) * ratio ** abs(value)
            assert abs(draws[value] - expected) < 5 * math.sqrt(expected)
        variance = sum(n * value**2 for value, n in draws.items()) / 20_000
        assert variance == pytest.approx(2 * ratio / (1 - ratio) ** 2, rel=0.1)
