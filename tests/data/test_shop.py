"""The bundled shop log: the planted truths of its generator are in the file.

The tolerances are binomial bounds: four standard errors of the planted share at the number of
cases found, so that a right file fails one check in 16,000 and a wrong share of a few points fails.
"""

from __future__ import annotations

import csv
import math
import runpy
from bisect import bisect_right
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import yaml

DATA = Path(__file__).resolve().parents[2] / "data"
SESSION_GAP = timedelta(minutes=30)


shop = SimpleNamespace(**runpy.run_path(str(DATA / "generate_shop.py")))


class Event(NamedTuple):
    """One accepted event."""

    at: datetime
    event_id: str
    action: str


def parsed(text: str) -> datetime | None:
    """Read an instant, or None where it is unreadable."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


@pytest.fixture(scope="module")
def raw() -> list[dict[str, str]]:
    """Every row of the file, in its order."""
    with (DATA / "shop.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def firsts(raw: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows that arrived first under their event_id."""
    by_id: dict[str, dict[str, str]] = {}
    for row in raw:
        by_id.setdefault(row["event_id"], row)
    return list(by_id.values())


@pytest.fixture(scope="module")
def reasons(firsts: list[dict[str, str]]) -> list[str]:
    """For each first row why it is rejected, or an empty text."""

    def reason(row: dict[str, str]) -> str:
        at = parsed(row["time_stamp"])
        if not row["user_id"]:
            return "null_user"
        if at is None:
            return "bad_timestamp"
        if at.year == 2099:
            return "future_timestamp"
        if row["action_type"] not in ("browse", "search", "cart", "purchase"):
            return "unknown_action"
        return ""

    return [reason(row) for row in firsts]


@pytest.fixture(scope="module")
def users(firsts: list[dict[str, str]], reasons: list[str]) -> dict[str, list[Event]]:
    """The accepted events of each user in total order."""
    histories: dict[str, list[Event]] = {}
    for row, reason in zip(firsts, reasons, strict=True):
        if not reason:
            event = Event(
                datetime.fromisoformat(row["time_stamp"]), row["event_id"], row["action_type"]
            )
            histories.setdefault(row["user_id"], []).append(event)
    return {user: sorted(events) for user, events in histories.items()}


@pytest.fixture(scope="module")
def sessions(users: dict[str, list[Event]]) -> list[list[Event]]:
    """The sessions of all users."""
    found: list[list[Event]] = []
    for events in users.values():
        for position, event in enumerate(events):
            if not position or event.at - events[position - 1].at > SESSION_GAP:
                found.append([])
            found[-1].append(event)
    return found


def instants(session: list[Event]) -> list[Event]:
    """One event an instant: the two lines of a basket are one purchase."""
    return list({event.at: event for event in session}.values())


def assert_share(hits: int, cases: int, planted: float) -> None:
    """Check a found share against the planted one, within four standard errors."""
    bound = 4 * math.sqrt(planted * (1 - planted) / cases)
    assert abs(hits / cases - planted) <= bound, f"{hits}/{cases} is not {planted} +- {bound:.3f}"


def assert_shares(found: Counter[str], planted: dict[str, float]) -> None:
    """Check every share of a distribution, and that nothing else occurs."""
    assert set(found) <= {action for action, share in planted.items() if share > 0}
    for action, share in planted.items():
        assert_share(found[action], found.total(), share)


def next_states(sessions: list[list[Event]]) -> dict[tuple[str, str], Counter[str]]:
    """Count the state after each (action before, action) of a session; "none" is its start."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for session in sessions:
        states = ["none", *(event.action for event in instants(session)), "leave"]
        for before, last, following in zip(states, states[1:], states[2:], strict=False):
            counts.setdefault((before, last), Counter())[following] += 1
    return counts


def entropy(counts: Counter[str]) -> float:
    """Entropy in nats."""
    return -sum(n / counts.total() * math.log(n / counts.total()) for n in counts.values() if n)


def conditional_entropy(rows: list[Counter[str]]) -> float:
    """Mean entropy of the rows in nats, each weighted by its cases."""
    return sum(row.total() * entropy(row) for row in rows) / sum(row.total() for row in rows)


def test_generating_again_gives_the_same_bytes() -> None:
    assert shop.to_csv(shop.draw_log()).encode() == (DATA / "shop.csv").read_bytes()


def test_size_and_span(raw: list[dict[str, str]], users: dict[str, list[Event]]) -> None:
    assert (DATA / "shop.csv").stat().st_size < 3_500_000
    assert len(users) == 500
    assert sum(map(len, users.values())) == 29_682
    assert min(events[0].at for events in users.values()) >= datetime(2024, 1, 1)
    assert max(events[-1].at for events in users.values()) < datetime(2024, 5, 1)


def test_rows_lie_in_order_of_arrival(raw: list[dict[str, str]]) -> None:
    arrivals = [datetime.fromisoformat(row["ingested_at"]) for row in raw]
    assert arrivals == sorted(arrivals)


def test_accounting(raw: list[dict[str, str]], reasons: list[str]) -> None:
    assert len(raw) == 29_863
    assert len(raw) - len(reasons) == 142
    assert Counter(filter(None, reasons)) == {
        "null_user": 12,
        "bad_timestamp": 9,
        "future_timestamp": 3,
        "unknown_action": 15,
    }
    assert reasons.count("") == 29_682


def test_duplicates_by_kind(raw: list[dict[str, str]], firsts: list[dict[str, str]]) -> None:
    by_id = {row["event_id"]: row for row in firsts}
    first_rows = {id(row) for row in firsts}
    kinds: Counter[str] = Counter()
    for row in raw:
        if id(row) in first_rows:
            continue
        first = by_id[row["event_id"]]
        changed = {name for name in row if row[name] != first[name]}
        assert "ingested_at" in changed
        if row["action_type"] == "wishlist":
            kinds["rejected"] += 1
        else:
            kinds["other duration" if "duration_ms" in changed else "same"] += 1
        assert changed <= {"ingested_at", "duration_ms"}
    assert kinds == {"same": 120, "other duration": 20, "rejected": 2}


def test_late_rows_and_negative_durations(firsts: list[dict[str, str]], reasons: list[str]) -> None:
    accepted = [row for row, reason in zip(firsts, reasons, strict=True) if not reason]
    delays = [
        datetime.fromisoformat(row["ingested_at"]) - datetime.fromisoformat(row["time_stamp"])
        for row in accepted
    ]
    late = [delay for delay in delays if delay > timedelta(seconds=5)]
    assert len(late) == 300
    assert timedelta(hours=1) <= min(late) and max(late) <= timedelta(hours=72)
    assert sum(row["duration_ms"].startswith("-") for row in accepted) == 8


def test_some_events_share_an_instant(users: dict[str, list[Event]]) -> None:
    ties = [
        (before, event)
        for events in users.values()
        for before, event in pairwise(events)
        if before.at == event.at
    ]
    assert all(before.action == event.action == "purchase" for before, event in ties)
    purchases = sum(event.action == "purchase" for events in users.values() for event in events)
    assert_share(len(ties), purchases - len(ties), shop.P_BASKET)


def test_gaps_inside_and_between_sessions(users: dict[str, list[Event]]) -> None:
    gaps = [
        event.at - before.at
        for events in users.values()
        for before, event in pairwise(events)
        if before.at != event.at
    ]
    inside = [gap for gap in gaps if gap <= SESSION_GAP]
    between = [gap for gap in gaps if gap > SESSION_GAP]
    assert min(inside) > timedelta(0) and max(inside) <= timedelta(minutes=10)
    assert min(between) >= timedelta(hours=1, minutes=50)


def test_order_two_rows_after_search(sessions: list[list[Event]]) -> None:
    merged: dict[str, Counter[str]] = {}
    for (before, last), row in next_states(sessions).items():
        if last == "search":
            context = before if before in ("browse", "search") else "other"
            merged.setdefault(context, Counter()).update(row)
    for context, row in merged.items():
        assert row.total() > 3_500
        assert_shares(row, shop.AFTER_SEARCH[context])


def test_order_one_cannot_see_it(sessions: list[list[Event]]) -> None:
    rows = [row for (_, last), row in next_states(sessions).items() if last == "search"]
    order_one = entropy(sum(rows, Counter()))
    assert order_one > 1.28  # four equally likely states would have 1.386
    assert order_one - conditional_entropy(rows) > 0.5


def test_order_one_still_beats_the_marginal(sessions: list[list[Event]]) -> None:
    by_last: dict[str, Counter[str]] = {}
    for (_, last), row in next_states(sessions).items():
        by_last.setdefault(last, Counter()).update(row)
    marginal = entropy(sum(by_last.values(), Counter()))
    assert marginal - conditional_entropy(list(by_last.values())) > 0.2


def test_rows_of_order_one(sessions: list[list[Event]]) -> None:
    assert_shares(Counter(session[0].action for session in sessions), shop.FIRST)
    by_context = next_states(sessions)
    for (_, last), row in by_context.items():
        if last == "browse" and row.total() > 100:
            assert_shares(row, shop.AFTER_BROWSE)
    purchases = [row for (_, last), row in by_context.items() if last == "purchase"]
    assert_shares(sum(purchases, Counter()), shop.AFTER_PURCHASE)


def test_purchase_depends_on_seven_days_and_not_on_the_last_hour(
    users: dict[str, list[Event]], sessions: list[list[Event]]
) -> None:
    carts = {
        event.event_id: [other.at for other in events if other.action == "cart"]
        for events in users.values()
        for event in events
        if event.action == "cart"
    }
    found: dict[tuple[bool, bool], Counter[bool]] = {}
    for session in sessions:
        for event, following in pairwise([*instants(session), None]):
            if event is None or event.action != "cart":
                continue
            times = carts[event.event_id]
            until_now = bisect_right(times, event.at)
            last_7d = until_now - bisect_right(times, event.at - timedelta(days=7))
            last_1h = until_now - bisect_right(times, event.at - timedelta(hours=1))
            bought = following is not None and following.action == "purchase"
            found.setdefault((last_7d >= shop.CARTS_7D, last_1h >= 2), Counter())[bought] += 1
    assert len(found) == 4
    for (often, _), counts in found.items():
        assert counts.total() > 300
        assert_share(counts[True], counts.total(), shop.P_PURCHASE[often])


def test_rhythm_of_session_starts(sessions: list[list[Event]]) -> None:
    assert math.isclose(sum(shop.RHYTHM), 1)
    hours = Counter(session[0].at.hour for session in sessions)
    for hour, share in enumerate(shop.RHYTHM):
        assert_share(hours[hour], len(sessions), share)
    assert_share(hours[19] + hours[20], len(sessions), 0.28)


def test_new_users_appear_late(users: dict[str, list[Event]]) -> None:
    late = {user for user, events in users.items() if events[0].at >= datetime(2024, 4, 12)}
    assert late == {f"u{number:03d}" for number in range(426, 501)}


def test_dataset_file_cuts_at_70_and_85_percent(users: dict[str, list[Event]]) -> None:
    dataset = yaml.safe_load((DATA / "shop.yml").read_text())
    times = [event.at for events in users.values() for event in events]
    for cut, share in (("train_end", 0.70), ("valid_end", 0.85)):
        end = datetime.fromisoformat(dataset["split"][cut])
        assert sum(at < end for at in times) / len(times) == pytest.approx(share, abs=0.01)
