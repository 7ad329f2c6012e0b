"""Whether drift is found where it is, and only there.

``python -m benchmarks.drift planted`` and ``retail`` print one table each and write it as JSON.
"""

import argparse
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.homes import build_features, trainer
from benchmarks.measurement import Aim, Result, add_common_arguments, working_folder
from benchmarks.settings import DRIFT_SEEDS, DRIFT_USERS

START = datetime(2024, 1, 1)
WEEK = timedelta(days=7)
WEEKS = 13
TRAIN_END, VALID_END = START + 8 * WEEK, START + 9 * WEEK
BREAK = START + 11 * WEEK  # the third week after the validation part
ACTIONS = ("browse", "search", "purchase")
BEFORE = ((0.3, 0.5, 0.05, 0.15), (0.4, 0.2, 0.2, 0.2), (0.2, 0.1, 0.05, 0.65))
AFTER = ((0.3, 0.35, 0.15, 0.2), (0.3, 0.15, 0.35, 0.2), (0.2, 0.1, 0.1, 0.6))
RETAIL = "data/online_retail.yml"
SUMMER, AUTUMN = "90d", "2011-09-15"


def events(seed: int, broken: bool, users: int) -> Iterator[tuple[str, str, datetime]]:
    """One population, in which as many users come as go, each for four weeks."""
    rng = random.Random(seed)
    name = f"{'broken' if broken else 'still'}{seed:02d}"
    stay, end = 4 * WEEK, START + WEEKS * WEEK
    for number in range(users):
        came = START - stay + (WEEKS * WEEK + stay) * rng.random()
        at = came
        while True:
            at += timedelta(days=rng.expovariate(1 / 3))
            if at >= min(came + stay, end):
                break
            state, moment = 0, at
            while state != 3 and moment < end:
                if moment > START:
                    yield f"{name}-{number}", ACTIONS[state], moment.replace(microsecond=0)
                law = AFTER if broken and moment > BREAK else BEFORE
                state = rng.choices(range(4), law[state])[0]
                moment += timedelta(seconds=rng.randrange(5, 600))
            at = moment


def write_dataset(folder: Path, seeds: int, users: int) -> Path:
    """Write the log of all populations, and its dataset file."""
    rows = [
        row
        for broken in (False, True)
        for seed in range(seeds)
        for row in events(seed, broken, users)
    ]
    who, what, when = zip(*rows, strict=True)
    pq.write_table(pa.table({"who": who, "what": what, "at": when}), folder / "log.parquet")
    dataset = {
        "dataset": "drift",
        "events_path": str(folder / "log.parquet"),
        "columns": {"user_id": "who", "action_type": "what", "event_timestamp": "at"},
        "actions": list(ACTIONS),
        "split": {"train_end": TRAIN_END.isoformat(), "valid_end": VALID_END.isoformat()},
    }
    path = folder / "drift.yml"
    path.write_text(yaml.safe_dump(dataset))
    return path


def planted(arguments: argparse.Namespace) -> Result:
    """Populations whose law stands still, and as many whose law breaks."""
    result = Result(
        "drift_planted",
        "Weeks of populations of one law, and of populations whose law breaks",
        {"seeds": arguments.seeds, "users of each": arguments.users},
        trial=(arguments.seeds, arguments.users) != (DRIFT_SEEDS, DRIFT_USERS),
    )
    with working_folder(arguments.work) as work:
        home = work / "home"
        os.environ["SCALESPACE_HOME"] = str(home)
        dataset = write_dataset(work, arguments.seeds, arguments.users)
        build_features(str(dataset), home)
        trainer(str(dataset), home, "fit", "epochs=6", "monitor.users=20")
        found = compare_populations(home)
    still = [row for name, row in found.items() if name.startswith("still")]
    broken = [row for name, row in found.items() if name.startswith("broken")]
    for law, rows in (("stands still", still), ("breaks", broken)):
        for place in range(WEEKS - 9):
            weeks = [row[place] for row in rows]
            after = law == "breaks" and VALID_END + place * WEEK >= BREAK
            figures = [{alarm.figure for alarm in week.alarms} for week in weeks]
            result.add(
                law=law,
                week="after the break" if after else "before",
                until=weeks[0].end[:10],
                **{"users, median": int(np.median([week.users for week in weeks]))},
                **{"seeds with an alarm": sum(map(bool, figures)), "of": len(weeks)},
                **{
                    name: sum(figure in each for each in figures)
                    for name, figure in (
                        ("PSI", "psi"),
                        ("JSD", "js"),
                        ("log-loss", "log_loss"),
                        ("calibration", "calibration"),
                    )
                },
                **{"largest PSI, median": _median(weeks, "psi")},
                **{"largest JSD, median": _median(weeks, "js")},
                **{"log-loss, median": _median_loss(weeks)},
            )
    first = (BREAK - VALID_END) // WEEK
    early = [row[:first] for row in broken] + still
    false = sum(bool(week.alarms) for row in early for week in row)
    result.aims = [
        Aim("weeks without a break and with an alarm", false, 0),
        Aim(
            "breaks found in the week after them, share",
            float(np.mean([bool(row[first].alarms) for row in broken])),
            1.0,
            at_most=False,
        ),
    ]
    return result


def _median(weeks: list, figure: str) -> float:  # type: ignore[type-arg]
    return float(np.median([max(getattr(m, figure) for m in week.moved) for week in weeks]))


def _median_loss(weeks: list) -> float:  # type: ignore[type-arg]
    return float(np.median([week.performance["next_action"].log_loss for week in weeks]))


def compare_populations(home: Path) -> dict[str, tuple]:  # type: ignore[type-arg]
    """The weeks after the validation part of each population, beside its own training part."""
    from trainer.fitting import read_dataset
    from trainer.monitoring.comparing import Comparison
    from trainer.monitoring.monitor import Watched, compare_periods
    from trainer.monitoring.reference import make_reference
    from trainer.monitoring.rows import Periods
    from trainer.runs import load_run
    from trainer.splits import Parts

    fitted = load_run(home)
    config = fitted.config.monitor
    dataset = read_dataset(home, fitted)
    names = np.array([str(user).split("-")[0] for user in dataset.examples.users])
    length = np.timedelta64(WEEK).astype("timedelta64[us]")
    end = np.datetime64(START + WEEKS * WEEK, "us")
    periods = Periods.between(np.datetime64(VALID_END, "us"), end, length)
    watched = Watched(fitted.model, fitted.features, dataset.taxonomy, fitted.cuts.train_end)
    answer = {}
    for name in np.unique(names):
        own, parts = names == name, dataset.parts
        mine = replace(dataset, parts=Parts(parts.train & own, parts.valid & own, parts.test & own))
        reference = make_reference(mine, fitted.model, fitted.features, config)
        answer[str(name)] = compare_periods(
            watched, mine.test, periods, Comparison(reference, config), end
        )
    return answer


def retail(arguments: argparse.Namespace) -> Result:
    """A shop's autumn beside its summer."""
    from trainer.monitoring.monitor import monitor
    from trainer.runs import load_run

    result = Result(
        "drift_retail",
        "Online Retail, the autumn of 2011 beside the 90 days that training ended with",
        {"epochs": 12},
        trial=False,
    )
    with working_folder(arguments.work) as work:
        home = arguments.home or work / "home"
        os.environ["SCALESPACE_HOME"] = str(home)
        if arguments.home is None:
            build_features(RETAIL, home)
            trainer(RETAIL, home, "fit", "epochs=12")
        fitted = load_run(home)
        config = fitted.config.monitor.model_copy(update={"reference": SUMMER})
        found = monitor(home, fitted, config, print, start=np.datetime64(AUTUMN, "us"))
    before = found.reference["performance"]["next_action"]
    result.parameters |= {
        "learned until": found.reference["end"][:10],
        "log-loss in validation": before["log_loss"],
    }
    for period in found.periods:
        groups = period.to_json()["groups"]
        farthest = max(period.moved, key=lambda moved: moved.js)
        told = period.performance["next_action"]
        result.add(
            until=period.end[:10],
            users=period.users,
            **{f"PSI {group}": values["psi_max"] for group, values in sorted(groups.items())},
            **{"largest JSD": farthest.js, "of": farthest.column, "by chance": farthest.by_chance},
            **{"log-loss": told.log_loss, "error": told.log_loss_error},
            **{"new users": period.cold, "usual": period.usual_cold, "alarms": len(period.alarms)},
        )
    return result


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("planted", help=planted.__doc__)
    first.add_argument("--seeds", type=int, default=DRIFT_SEEDS)
    first.add_argument("--users", type=int, default=DRIFT_USERS)
    first.set_defaults(measure=planted)
    second = commands.add_parser("retail", help=retail.__doc__)
    second.add_argument("--home", type=Path, help="a home that is built and fitted already")
    second.set_defaults(measure=retail)
    for each in (first, second):
        add_common_arguments(each)
    arguments = parser.parse_args()
    arguments.measure(arguments).finish(arguments.results)


if __name__ == "__main__":
    main()
