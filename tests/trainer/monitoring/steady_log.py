"""A log in which users come and go at one rate and behave by one law, unless it is broken.

Each user is there for four weeks, and as many come as go; what he does follows a matrix over
browse, search, purchase and leave. From the break on it is another matrix.
"""

from __future__ import annotations

import random
from datetime import timedelta

from synthetic_log import START, Event, Log

WEEK = timedelta(days=7)
WEEKS = 10
TRAIN_END, VALID_END = START + 6 * WEEK, START + 7 * WEEK
BREAK = START + 8 * WEEK  # the second week after the validation part
ACTIONS = ("browse", "search", "purchase")
BEFORE = ((0.3, 0.5, 0.05, 0.15), (0.4, 0.2, 0.2, 0.2), (0.2, 0.1, 0.05, 0.65))
AFTER = ((0.2, 0.1, 0.4, 0.3), (0.1, 0.1, 0.6, 0.2), (0.1, 0.1, 0.4, 0.4))


def steady_log(seed: int, broken: bool = False, users: int = 240) -> Log:
    """The log; `users` are those of the whole time, half as many are there in any week."""
    rng = random.Random(seed)
    log = Log(ACTIONS)
    stay, whole = 4 * WEEK, WEEKS * WEEK
    for number in range(users):
        # From four weeks before the log on, so that the first week has as many as any other.
        came = START - stay + (whole + stay) * rng.random()
        at, history = came, []
        while True:
            at += timedelta(days=rng.expovariate(1 / 3))
            if at >= min(came + stay, START + whole):
                break
            state, moment = 0, at
            while state != 3 and moment < START + whole:
                if moment > START:
                    history.append(Event(moment.replace(microsecond=0), ACTIONS[state]))
                law = AFTER if broken and moment > BREAK else BEFORE
                state = rng.choices(range(4), law[state])[0]
                moment += timedelta(seconds=rng.randrange(5, 600))
            at = moment
        if history:
            log.users[f"u{number:03d}"] = history
    return log
