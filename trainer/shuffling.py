"""``shuffle-test``: does the order of events matter on this log at all?

Notes
-----
Within the window of each test row, what was done (action, item, category, location, duration) is
dealt anew to the instants at which something was done. The rhythm stays, and so does what was done;
only its order goes. If the next action does not depend on the order, the shuffled window has the
same distribution beside it as the real one, and the log-loss of any fixed model changes by 0 on
average: the test is that of a permutation, and a bootstrap over users says how far from 0 the
change may lie.

Two models are asked. The run itself says what it reads from the order beyond its features; they
are computed in order too (the last action, the user's transitions), and are not shuffled. A network
of the same shape that sees the events alone, fitted here on the same rows, says whether order
matters at all. The change is no measure of what order is worth: a network that trusts it is the
more wrong without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from trainer.bootstrap import user_intervals
from trainer.chunks import make_windows
from trainer.config import FitConfig, TaskConfig
from trainer.examples import Examples
from trainer.fitting import TrainingSet, read_training_set
from trainer.metrics import row_log_loss
from trainer.models.base import Report, silent, write_json
from trainer.models.recurrent import Recurrent
from trainer.runs import Run
from trainer.training import reproducible

REPORT = "shuffle_test.json"
EVENTS_ALONE = "events_alone"


@dataclass(frozen=True)
class OrderEffect:
    """What shuffling does to the log-loss of one model, in nats.

    Attributes
    ----------
    rows, users
        Judged instants, and whose they are.
    log_loss, shuffled
        With the real order, and with shuffled ones.
    change, low, high
        ``shuffled - log_loss``, and its 95 % interval from the bootstrap over users.
    seeds
        Shuffles that were averaged.
    """

    rows: int
    users: int
    log_loss: float
    shuffled: float
    change: float
    low: float
    high: float
    seeds: int

    @property
    def matters(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


def order_effect(model: Recurrent, examples: Examples, seeds: int, seed: int = 0) -> OrderEffect:
    """Shuffle the windows of labelled rows, several times, and see what the model loses.

    Parameters
    ----------
    model
        A fitted sequence model with a head of the next action.
    examples
        Labelled rows with history.
    seeds
        Shuffles.
    seed
        Of the first one.
    """
    whole = row_log_loss(model.predict_proba(examples), examples.labels)
    losses = []
    for number in range(seed, seed + seeds):
        dealt = shuffled(examples, model.config.encoder.window, np.random.default_rng(number))
        losses.append(row_log_loss(model.predict_proba(dealt), examples.labels))
    mean = np.mean(losses, axis=0)
    low, high = user_intervals({"change": mean - whole}, examples.owners)["change"]
    return OrderEffect(
        rows=len(examples),
        users=len(np.unique(examples.owners)),
        log_loss=float(whole.mean()),
        shuffled=float(mean.mean()),
        change=float((mean - whole).mean()),
        low=low,
        high=high,
        seeds=seeds,
    )


def shuffled(examples: Examples, window: int, random: np.random.Generator) -> Examples:
    """The rows, each with its own window of events in which what was done is dealt anew.

    Parameters
    ----------
    examples
        Rows with history.
    window
        Events that a prediction sees.
    random
        Deals.
    """
    places, lengths = make_windows(examples.first, examples.ends - 1, window)
    real = np.arange(window) < lengths[:, None]
    # The places of the window in a random order, padding last.
    dealt = np.argsort(np.where(real, random.random(real.shape), 2.0), axis=1)
    what = np.take_along_axis(places, dealt, axis=1)[real]
    when = places[real]
    sequences = examples.sequences
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    alone = replace(
        sequences.picked(sequences.users[examples.owners], offsets, what),
        gaps_ms=sequences.gaps_ms[when],
        hours=sequences.hours[when],
        weekdays=sequences.weekdays[when],
        instants=None if sequences.instants is None else sequences.instants[when],
    )
    return replace(examples, sequences=alone, owners=np.arange(len(examples)), ends=offsets[1:])


def events_alone(config: FitConfig) -> FitConfig:
    """The configuration of a network of the same shape that no feature tells the order."""
    return config.model_copy(
        update={
            "features": config.features.model_copy(update={"user_row": False}),
            "tasks": TaskConfig(next_item=0.0, next_category=0.0),
        }
    )


def shuffle_test(home: Path, run: Run, seeds: int, report: Report) -> dict[str, OrderEffect]:
    """Ask the run and a network of the events alone, and write ``reports/shuffle_test.json``.

    Parameters
    ----------
    home
        Home of the run.
    run
        The run, of a sequence model.
    seeds
        Shuffles.
    report
        Takes lines of progress.

    Raises
    ------
    BadInput
        When the run is a baseline, or the test part has no labelled row.
    """
    model = run.recurrent
    config = run.config.without_rankings
    data = read_training_set(home, config, (config.model,), report, run.cuts)
    judged = judged_rows(data)
    found = {}
    with reproducible(run.config.seed, run.config.threads):
        if model.predicts_next_action:
            found[model.name] = order_effect(model, judged, seeds)
        report("fitting a network of the events alone")
        found[EVENTS_ALONE] = order_effect(fit_events_alone(run.config, data), judged, seeds)
    with replacing(home / "reports" / REPORT) as fresh:
        write_json(fresh, {name: vars(effect) for name, effect in found.items()})
    return found


def judged_rows(data: TrainingSet) -> Examples:
    """Labelled event instants of the test part; refused where there are none."""
    test = data.dataset.test
    judged = test.take((test.labels >= 0) & ~test.landmarks & (test.lengths > 0))
    if not len(judged):
        raise BadInput("the log has no labelled event after valid_end: there is nothing to shuffle")
    return judged


def fit_events_alone(config: FitConfig, data: TrainingSet) -> Recurrent:
    """A network that sees the events, the calendar, and no feature."""
    alone = Recurrent(events_alone(config), ())
    alone.fit(replace(data.training, report=silent))
    return alone


def verdict(effect: OrderEffect) -> str:
    """The answer, in one sentence."""
    interval = f"[{effect.low:+.4f}, {effect.high:+.4f}]"
    if effect.matters:
        return (
            f"Order matters on this log: with what each user did shuffled, log-loss goes from "
            f"{effect.log_loss:.4f} to {effect.shuffled:.4f}, by {effect.change:+.4f} {interval}."
        )
    return (
        f"There is no sign that order matters on this log: with what each user did shuffled, "
        f"log-loss changes by {effect.change:+.4f}, and the interval {interval} "
        + ("contains 0." if effect.high >= 0 else "lies below 0.")
    )


def verdict_on_run(name: str, effect: OrderEffect) -> str:
    """What the run itself reads from the order, in one sentence."""
    interval = f"{effect.change:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}]"
    if effect.matters:
        return f"Beside its features, {name} reads the order too: without it, {interval}."
    return f"Beside its features, {name} reads nothing from the order: without it, {interval}."
