"""The log in the article's bare form gives the article's matrix back."""

from __future__ import annotations

import csv
import math
import runpy
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

DATA = Path(__file__).resolve().parents[2] / "data"

article = SimpleNamespace(**runpy.run_path(str(DATA / "generate_article.py")))


@pytest.fixture(scope="module")
def users() -> dict[str, list[tuple[datetime, str]]]:
    """The events of each user by time."""
    histories: dict[str, list[tuple[datetime, str]]] = {}
    with (DATA / "article.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        assert rows.fieldnames == ["user_id", "action_type", "time_stamp"]
        for row in rows:
            event = (datetime.fromisoformat(row["time_stamp"]), row["action_type"])
            histories.setdefault(row["user_id"], []).append(event)
    return {user: sorted(events) for user, events in histories.items()}


def test_generating_again_gives_the_same_bytes() -> None:
    assert article.to_csv(article.draw_log()).encode() == (DATA / "article.csv").read_bytes()


def test_form(users: dict[str, list[tuple[datetime, str]]]) -> None:
    assert (DATA / "article.csv").stat().st_size < 300_000
    assert len(users) == 60
    assert sum(map(len, users.values())) == 5_606
    gaps = [after[0] - before[0] for events in users.values() for before, after in pairwise(events)]
    assert min(gaps) > timedelta(0)
    assert not [gap for gap in gaps if timedelta(minutes=15) < gap < timedelta(hours=2)]


def test_matrix(users: dict[str, list[tuple[datetime, str]]]) -> None:
    rows: dict[str, Counter[str]] = {}
    for events in users.values():
        states = ["leave"]
        last_at = events[0][0]
        for at, action in events:
            if at - last_at > timedelta(minutes=30):
                states.append("leave")
            states.append(action)
            last_at = at
        for last, following in pairwise([*states, "leave"]):
            rows.setdefault(last, Counter())[following] += 1
    assert rows["leave"].total() == 600
    for last, planted in {"leave": article.FIRST, **article.MATRIX}.items():
        assert set(rows[last]) == set(planted)
        for following, share in planted.items():
            cases = rows[last].total()
            bound = 4 * math.sqrt(share * (1 - share) / cases)  # four standard errors
            assert abs(rows[last][following] / cases - share) <= bound
