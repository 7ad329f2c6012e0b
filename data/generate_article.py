"""Write `data/article.csv`: a log in the article's bare form, drawn from the article's matrix.

    python data/generate_article.py [--output data/article.csv]

Three columns, `user_id,action_type,time_stamp`, and nothing else: 60 users, 10 sessions each,
whole seconds, sorted by time, no two events of a user at one instant. Sessions start with `FIRST`
and go on by `MATRIX`:

    after       browse  search  purchase  leave
    browse      .6      .2      .1        .1
    search      .3      .5      .1        .1
    purchase    .4      .3      .2        .1

Gaps are 5 s to 15 min inside a session and 2 h to 7 days between sessions, so that with a session
gap of 30 minutes the log gives the matrix back. The same seed gives the same bytes on every
machine.
"""

from __future__ import annotations

import argparse
import random
from datetime import datetime, timedelta
from pathlib import Path

SEED = 7
USERS = 60
SESSIONS = 10
START = datetime(2024, 1, 1)
HEADER = "user_id,action_type,time_stamp"

FIRST = {"browse": 0.6, "search": 0.3, "purchase": 0.1}
MATRIX = {
    "browse": {"browse": 0.6, "search": 0.2, "purchase": 0.1, "leave": 0.1},
    "search": {"browse": 0.3, "search": 0.5, "purchase": 0.1, "leave": 0.1},
    "purchase": {"browse": 0.4, "search": 0.3, "purchase": 0.2, "leave": 0.1},
}

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def draw(rng: random.Random, shares: dict[str, float]) -> str:
    """Draw a key of `shares`, whose values sum to 1."""
    left = rng.random()
    for key, share in shares.items():
        left -= share
        if left < 0:
            return key
    return key  # a sum of 1 - 1e-16 must not fall through


def draw_log(seed: int = SEED) -> list[tuple[str, str, str]]:
    """Draw the log as rows of (user_id, action_type, time_stamp), sorted by time."""
    rng = random.Random(seed)
    events = []
    for number in range(1, USERS + 1):
        at = int(rng.random() * 10 * DAY)
        for _ in range(SESSIONS):
            action = draw(rng, FIRST)
            while action != "leave":
                events.append((at, f"u{number:02d}", action))
                at += 5 + int(rng.random() * rng.random() * (15 * MINUTE - 5))
                action = draw(rng, MATRIX[action])
            at += 2 * HOUR + int(rng.random() * (7 * DAY - 3 * HOUR))
    events.sort()
    return [
        (user, action, (START + timedelta(seconds=at)).isoformat()) for at, user, action in events
    ]


def to_csv(events: list[tuple[str, str, str]]) -> str:
    """Write the log as CSV text with a header."""
    return "\n".join([HEADER, *map(",".join, events)]) + "\n"


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description="Write the log in the article's bare form.")
    default = Path(__file__).with_name("article.csv")
    parser.add_argument("--output", type=Path, default=default, help=f"default: {default}")
    output = parser.parse_args().output
    events = draw_log()
    output.write_bytes(to_csv(events).encode())
    print(f"{output}: {len(events)} rows")


if __name__ == "__main__":
    main()
