"""Write `data/shop.csv`: a small synthetic shop with planted truths.

    python data/generate_shop.py [--output data/shop.csv]

The log is invented. It exists so that a test can know the right answer: everything below holds in
the process that draws the events, and `tests/data/test_shop.py` finds it again in the file. The
same seed gives the same bytes on every machine: nothing but `random.random()` and exact
arithmetic decides a value.

Form
    500 users, 120 days from 2024-01-01 (UTC), one row an event, in order of arrival
    (`ingested_at`). `time_stamp` is naive ISO text in UTC; users with an even number send
    milliseconds, the others whole seconds. `cart` and `purchase` have no duration, `search` has
    no item. A tenth of the purchases are baskets of two lines that share one instant.

(a) Order 2. After `search` the action before it, within the session, decides (`AFTER_SEARCH`):

        before the search        browse  search  cart   leave
        browse                   .05     .05     .80    .10
        search                   .80     .05     .05    .10
        none, cart or purchase   .05     .80     .05    .10

    The three contexts are about equally frequent, so the order-1 row of `search` is nearly flat
    over browse, search and cart: its entropy is 1.31 nats, that of each row above .71.
    All other rows are of order 1: sessions start with browse .45, search .55 (`FIRST`); after
    browse: browse .25, search .45, cart .05, leave .25 (`AFTER_BROWSE`); after purchase: browse
    .20, search .10, leave .70 (`AFTER_PURCHASE`).
(b) Rhythm. Sessions start by UTC hour with the shares of `RHYTHM`: .06 before 6 h, .18 before
    12 h, .24 before 18 h, .52 after; .28 in the peak, from 19 h to 21 h.
(c) Seven days. After `cart`, purchase follows with .75 where the user's carts in (t - 7d, t],
    this one included, are at least 3, else with .15 (`P_PURCHASE`). Nothing else matters: given
    that, the last hour says nothing. The rest goes to browse, search and leave as 2 : 1 : 2.
(d) New users. 75 users (u426 to u500) have their first event after 2024-04-12, which is the point
    at 85 % of the 120 days; every other user has one before it.
(e) Arrival and dirt, in exact numbers (`LATE` and below):
    300 events arrive 1 h to 72 h late, all others within 5 s;
    142 duplicates (an `event_id` again, 1 min to 24 h after the first): 120 events as they were,
    20 events with another duration, 2 of the `wishlist` rows;
    rejects: 12 rows without a user, 9 with an unreadable time, 3 of the year 2099, 15 `wishlist`
    (an action outside the taxonomy); 8 accepted events have a negative duration.

Sessions have gaps of 1 s to 10 min inside and of at least 2 h between them.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

SEED = 20240101
USERS = 500
NEW_USERS = 75
DAYS = 120
NEW_FROM_DAY = 102
START = datetime(2024, 1, 1)

HEADER = (
    "user_id,action_type,time_stamp,item_id,category_id,duration_ms,location,event_id,ingested_at"
)

FIRST = {"browse": 0.45, "search": 0.55}
AFTER_BROWSE = {"browse": 0.25, "search": 0.45, "cart": 0.05, "leave": 0.25}
AFTER_SEARCH = {
    "browse": {"browse": 0.05, "search": 0.05, "cart": 0.80, "leave": 0.10},
    "search": {"browse": 0.80, "search": 0.05, "cart": 0.05, "leave": 0.10},
    "other": {"browse": 0.05, "search": 0.80, "cart": 0.05, "leave": 0.10},
}
AFTER_PURCHASE = {"browse": 0.20, "search": 0.10, "leave": 0.70}
CARTS_7D = 3
P_PURCHASE = {True: 0.75, False: 0.15}  # carts in the last 7 days >= CARTS_7D
AFTER_CART_ELSE = {"browse": 0.4, "search": 0.2, "leave": 0.4}
P_BASKET = 0.10

RHYTHM = (
    [0.01] * 6 + [0.03] * 6 + [0.04] * 6 + [0.10, 0.14, 0.14, 0.08, 0.04, 0.02]
)  # share of session starts by UTC hour

LATE = 300
DUPLICATES_SAME = 120
DUPLICATES_OTHER_DURATION = 20
DUPLICATES_OF_REJECTED = 2
NEGATIVE_DURATIONS = 8
NULL_USER = 12
BAD_TIMESTAMP = 9
FUTURE_TIMESTAMP = 3
UNKNOWN_ACTION = 15

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Active spells and quiet spells of a user, day by day: what makes the count of 7 days move.
P_FALL_QUIET = 1 / 9
P_WAKE_UP = 1 / 55
SESSIONS_ON_ACTIVE_DAY = {0: 0.50, 1: 0.36, 2: 0.14}
SESSIONS_ON_QUIET_DAY = {0: 0.975, 1: 0.025}

CATEGORIES = 8
ITEMS_PER_CATEGORY = 25
LOCATIONS = ["Berlin", "Lyon", "Madrid", "Turin", "Vienna"]


Key = TypeVar("Key", str, int)


@dataclass(frozen=True)
class Event:
    """One row; instants are milliseconds since START."""

    user_id: str
    action: str
    at: int
    item_id: str = ""
    category_id: str = ""
    duration_ms: int | None = None
    location: str = ""
    event_id: str = ""
    ingested: int = 0
    raw_time: str | None = None  # written instead of `at` where the time is dirty


def draw(rng: random.Random, shares: dict[Key, float]) -> Key:
    """Draw a key of `shares`, whose values sum to 1."""
    left = rng.random()
    for key, share in shares.items():
        left -= share
        if left < 0:
            return key
    return key  # a sum of 1 - 1e-16 must not fall through


def between(rng: random.Random, low: int, high: int) -> int:
    """Draw a whole number from [low, high]."""
    return low + int(rng.random() * (high - low + 1))


def skewed(rng: random.Random, low: int, high: int) -> int:
    """Draw a whole number from [low, high], small ones more often.

    A product of uniforms, not a log-normal: multiplication is exact on every machine, exp is not.
    """
    return low + int(rng.random() * rng.random() * rng.random() * (high - low + 1))


def session_starts(rng: random.Random, first_day: int) -> list[int]:
    """Draw the instants at which one user means to start a session, from `first_day` on."""
    hours = dict(enumerate(RHYTHM))
    starts = []
    active = True
    for day in range(first_day, DAYS):
        shares = SESSIONS_ON_ACTIVE_DAY if active else SESSIONS_ON_QUIET_DAY
        # The first day has a session, so that the user appears when it should.
        count = 1 if day == first_day else draw(rng, shares)
        for _ in range(count):
            starts.append(day * DAY + draw(rng, hours) * HOUR + between(rng, 0, HOUR - 1))
        active = rng.random() >= P_FALL_QUIET if active else rng.random() < P_WAKE_UP
    return starts


def next_action(rng: random.Random, before: str, last: str, carts: list[int]) -> str:
    """Draw the state after `last`; `before` is the one before it in the session, or "none"."""
    if last == "browse":
        return draw(rng, AFTER_BROWSE)
    if last == "search":
        return draw(rng, AFTER_SEARCH.get(before, AFTER_SEARCH["other"]))
    if last == "purchase":
        return draw(rng, AFTER_PURCHASE)
    often = sum(at > carts[-1] - 7 * DAY for at in carts) >= CARTS_7D
    if rng.random() < P_PURCHASE[often]:
        return "purchase"
    return draw(rng, AFTER_CART_ELSE)


def draw_item(rng: random.Random, favourite: int) -> tuple[str, str]:
    """Draw an item and its category: half of the interest goes to the user's favourite one."""
    category = favourite if rng.random() < 0.5 else between(rng, 0, CATEGORIES - 1)
    item = category * ITEMS_PER_CATEGORY + skewed(rng, 0, ITEMS_PER_CATEGORY - 1)
    return f"i{item:03d}", f"c{category}"


def user_events(rng: random.Random, number: int) -> list[Event]:
    """Draw the whole history of one user."""
    new = number > USERS - NEW_USERS
    first_day = between(rng, NEW_FROM_DAY, DAYS - 4) if new else between(rng, 0, 80)
    resolution = 1 if number % 2 == 0 else SECOND
    favourite = between(rng, 0, CATEGORIES - 1)
    home = LOCATIONS[between(rng, 0, len(LOCATIONS) - 1)]
    user_id = f"u{number:03d}"
    events: list[Event] = []
    carts: list[int] = []
    starts = session_starts(rng, first_day)
    heapq.heapify(starts)
    while starts:
        at = heapq.heappop(starts)
        if events and at < events[-1].at + 2 * HOUR:
            # Too soon after the last session: a day later, so that the rhythm stays as it is.
            if at + DAY < DAYS * DAY:
                heapq.heappush(starts, at + DAY)
            continue
        at -= at % resolution
        location = home if rng.random() < 0.85 else draw(rng, dict.fromkeys(LOCATIONS, 0.2))
        location = "" if rng.random() < 0.05 else location
        before, last = "none", draw(rng, FIRST)
        item_id, category_id = draw_item(rng, favourite)
        while last != "leave":
            if last in ("browse", "search"):
                item_id, category_id = draw_item(rng, favourite)
            duration = None
            if last == "browse":
                duration = skewed(rng, 2 * SECOND, 4 * MINUTE)
            elif last == "search":
                duration = skewed(rng, 1 * SECOND, 1 * MINUTE)
            shown = "" if last == "search" else item_id
            event = Event(user_id, last, at, shown, category_id, duration, location)
            events.append(event)
            if last == "cart":
                carts.append(at)
            if last == "purchase" and rng.random() < P_BASKET:
                second, its_category = draw_item(rng, favourite)
                events.append(replace(event, item_id=second, category_id=its_category))
            before, last = last, next_action(rng, before, last, carts)
            gap = skewed(rng, SECOND, 10 * MINUTE)
            at += max(gap - gap % resolution, resolution)
    return events


def draw_log(seed: int = SEED) -> list[Event]:
    """Draw the whole log in order of arrival, dirt included."""
    rng = random.Random(seed)
    events = [event for number in range(1, USERS + 1) for event in user_events(rng, number)]
    # Stable: the two lines of a basket keep their order, and so do their ids.
    events.sort(key=lambda event: (event.at, event.user_id))
    shuffled = sorted(range(len(events)), key=lambda _: rng.random())
    late = set(shuffled[:LATE])
    events = [
        replace(
            event,
            event_id=f"e{position + 1:05d}",
            ingested=event.at
            + (between(rng, HOUR, 72 * HOUR) if position in late else between(rng, SECOND, 5000)),
        )
        for position, event in enumerate(events)
    ]
    clean = [position for position in shuffled if position not in late]
    same, clean = clean[:DUPLICATES_SAME], clean[DUPLICATES_SAME:]
    timed = [position for position in clean if events[position].duration_ms is not None]
    other = timed[:DUPLICATES_OTHER_DURATION]
    repeats = [events[position] for position in same]
    for position in other:
        duration = events[position].duration_ms or 0
        repeats.append(replace(events[position], duration_ms=duration + between(rng, 1, 9000)))
    for position in timed[len(other) : len(other) + NEGATIVE_DURATIONS]:
        duration = events[position].duration_ms or 0
        events[position] = replace(events[position], duration_ms=-duration)
    rejects = draw_rejects(rng, first_id=len(events) + 1)
    repeats += [e for e in rejects if e.action == "wishlist"][:DUPLICATES_OF_REJECTED]
    repeats = [replace(e, ingested=e.ingested + between(rng, MINUTE, DAY)) for e in repeats]
    return sorted(events + rejects + repeats, key=lambda event: event.ingested)


def draw_rejects(rng: random.Random, first_id: int) -> list[Event]:
    """Draw the rows that a build must reject: each for one reason only."""
    unreadable = ["", "yesterday", "2024-02-30T25:61:00"]
    rejects = []
    for number in range(NULL_USER + BAD_TIMESTAMP + FUTURE_TIMESTAMP + UNKNOWN_ACTION):
        at = between(rng, DAY // SECOND, (DAYS - 1) * DAY // SECOND) * SECOND
        item_id, category_id = draw_item(rng, between(rng, 0, CATEGORIES - 1))
        event = Event(
            user_id=f"u{between(rng, 1, USERS - NEW_USERS):03d}",
            action="browse",
            at=at,
            item_id=item_id,
            category_id=category_id,
            duration_ms=between(rng, 2 * SECOND, MINUTE),
            location=LOCATIONS[between(rng, 0, len(LOCATIONS) - 1)],
            event_id=f"e{first_id + number:05d}",
            ingested=at + between(rng, SECOND, 5000),
        )
        if number < NULL_USER:
            event = replace(event, user_id="")
        elif number < NULL_USER + BAD_TIMESTAMP:
            event = replace(event, raw_time=unreadable[number % len(unreadable)])
        elif number < NULL_USER + BAD_TIMESTAMP + FUTURE_TIMESTAMP:
            event = replace(event, raw_time="2099-01-01T00:00:00")
        else:
            event = replace(event, action="wishlist")
        rejects.append(event)
    return rejects


def iso(milliseconds: int) -> str:
    """Write an instant as naive ISO text, with milliseconds only where there are some."""
    text = (START + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")
    return text.removesuffix(".000")


def to_csv(events: list[Event]) -> str:
    """Write the log as CSV text with a header."""
    lines = [HEADER]
    for event in events:
        fields = [
            event.user_id,
            event.action,
            iso(event.at) if event.raw_time is None else event.raw_time,
            event.item_id,
            event.category_id,
            "" if event.duration_ms is None else str(event.duration_ms),
            event.location,
            event.event_id,
            iso(event.ingested),
        ]
        lines.append(",".join(fields))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description="Write the synthetic shop log.")
    default = Path(__file__).with_name("shop.csv")
    parser.add_argument("--output", type=Path, default=default, help=f"default: {default}")
    output = parser.parse_args().output
    events = draw_log()
    output.write_bytes(to_csv(events).encode())
    print(f"{output}: {len(events)} rows")


if __name__ == "__main__":
    main()
