"""What training may not know changes no byte: the future, users held out, places held out.

Every model of the registry is fitted through the store on a log, and on the same log without what
the fit must not have seen. Also who is held out, by hand, and how models answer those that they
never saw.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import synthetic_log as synthetic

from feature_repo.errors import BadInput
from feature_repo.store import apply
from trainer.backtesting import fit_fold
from trainer.config import FitConfig, SplitConfig, load_config
from trainer.examples import Dataset, unlabelled
from trainer.held_out import holder, modal_locations
from trainer.labels import read_labels
from trainer.models.base import Model, Training
from trainer.models.registry import COMPARED, RANKS, make_model
from trainer.sequences import Sequences
from trainer.splits import Cuts

Event = synthetic.Event
TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 21)
GAP = np.timedelta64(30 * 60 * 1_000_000, "us")
CUTS = Cuts(np.datetime64(TRAIN_END, "us"), np.datetime64(VALID_END, "us"), GAP, GAP)
PLACES = ("Aarhus", "Bern", "Cork", "Delft", "Espoo")
# Next items are ranked by counts of everybody, so no user is held out of them.
NAMES = tuple(name for name in COMPARED if name not in RANKS)
CRUDE = ("marginal", "recent_popularity", "repeat_last", "column")
SMALL = (
    *("encoder.hidden=4", "encoder.layers=1", "epochs=2", "boosting.iterations=4"),
    *("boosting.leaf_rows=5", "logistic.iterations=20"),
    *("tasks.next_item=0", "tasks.next_category=0"),
)


def config_of(by: str) -> FitConfig:
    return load_config(None, [*SMALL, f"split.by={by}", "split.share=0.35"])


def placed_log() -> synthetic.Log:
    """Users who are mostly in one place, and now and then in another."""
    log = synthetic.order_two_log(users=30, events=18, seed=9)
    for number, events in enumerate(log.users.values()):
        for place, event in enumerate(events):
            elsewhere = place % 4 == 0
            object.__setattr__(event, "location", PLACES[(number + elsewhere) % len(PLACES)])
    return log


def fitted(log: synthetic.Log, folder: Path, config: FitConfig) -> tuple[dict[str, bytes], Dataset]:
    """Every file of every model, and the rows that they were given."""
    home = synthetic.publish(log, folder)
    apply(home)
    files: dict[str, bytes] = {}
    models = fit_fold(home, config, NAMES, CUTS, lambda _line: None)
    for model, _ in models:
        own = folder / "saved" / model.name
        own.mkdir(parents=True)
        model.save(own)
        files |= {f"{model.name}/{path.name}": learned(path) for path in own.iterdir()}
    return files, models[0][1]


def learned(path: Path) -> bytes:
    """A file without the configuration: what was asked for is no part of what was learned."""
    if path.suffix == ".yml":
        return b""
    if path.suffix != ".json":
        return path.read_bytes()
    content = json.loads(path.read_text())
    content.pop("config", None)
    return json.dumps(content).encode()


def held_out_of(dataset: Dataset) -> list[str]:
    assert dataset.held_out is not None
    return dataset.examples.sequences.users[dataset.held_out].tolist()


@pytest.mark.parametrize("hidden", ["future", "users", "location"])
def test_deleting_what_training_may_not_know_changes_no_byte(hidden: str, tmp_path: Path) -> None:
    log = placed_log()
    by = "time" if hidden == "future" else hidden
    whole, dataset = fitted(log, tmp_path / "whole", config_of(by))
    left = log.until(TRAIN_END) if hidden == "future" else log.without(held_out_of(dataset))
    assert sum(map(len, left.users.values())) < 0.95 * sum(map(len, log.users.values()))
    without, _ = fitted(left, tmp_path / "left", config_of("time"))
    assert {name.partition("/")[0] for name in whole} == {*NAMES[:-1], "lstm"}
    assert whole.keys() == without.keys()
    assert [name for name in whole if whole[name] != without[name]] == []
    if hidden == "future":
        return
    held_out, parts = held_out_of(dataset), (dataset.train, dataset.valid, dataset.test)
    train, valid, test = ({str(user) for user in part.users} for part in parts)
    assert 0 < len(held_out) < len(log.users)
    assert not train & set(held_out)
    assert test
    assert (valid | test) <= set(held_out)


# ---- who is held out -----------------------------------------------------------------------------


def test_the_most_frequent_place_until_the_cut_is_a_user_s_own() -> None:
    cut = np.datetime64("2024-01-10", "us")
    rows = [
        *[("a", day, "Bern") for day in (1, 2)],
        *[("a", day, "Cork") for day in (3, 20, 21, 22)],  # most of them later
        *[("b", day, place) for day, place in ((1, "Delft"), (2, "Cork"), (3, None))],  # a tie
        *[("c", day, place) for day, place in ((20, "Espoo"), (21, "Espoo"), (22, "Bern"))],
        *[("d", day, place) for day, place in ((1, None), (20, "Bern"))],  # nothing known in time
        *[("e", 20, None)],
    ]
    names = ("user_id", "event_timestamp", "location")
    instants = [(user, datetime(2024, 1, day), place) for user, day, place in rows]
    for order in (instants, instants[::-1]):
        columns = dict(zip(names, map(list, zip(*order, strict=True)), strict=True))
        types = (pa.string(), pa.timestamp("us"), pa.string())
        events = pa.table({n: pa.array(columns[n], t) for n, t in zip(names, types, strict=True)})
        users = np.array(list("abcde"), dtype=object)
        found = modal_locations(events, users, cut).to_pylist()
        assert found == ["Bern", "Cork", "Espoo", None, None]


def test_places_are_held_out_whole_and_nobody_changes_sides(tmp_path: Path) -> None:
    log = placed_log()
    cut = CUTS.train_end
    chosen = {}
    for name, of in (("all", log), ("some", log.without([f"u{n:03d}" for n in range(0, 30, 3)]))):
        labels = read_labels(synthetic.publish(of, tmp_path / name) / "labels")
        for by in ("users", "location"):
            choose = holder(tmp_path / name / "labels", SplitConfig(by=by, share=0.4))
            assert choose is not None
            users = labels.sequences.users
            chosen[name, by] = dict(zip(users, choose(labels, cut).tolist(), strict=True))
    places: dict[str, set[bool]] = {}
    for number, held_out in enumerate(chosen["all", "location"].values()):
        places.setdefault(PLACES[number % 5], set()).add(held_out)
    assert all(len(sides) == 1 for sides in places.values())
    for by in ("users", "location"):
        assert set(chosen["all", by].values()) == {True, False}
        assert all(chosen["all", by][user] == held for user, held in chosen["some", by].items())
    assert holder(tmp_path, SplitConfig()) is None


def test_a_share_that_holds_nobody_out_is_refused(tmp_path: Path) -> None:
    log = synthetic.order_two_log(users=5, events=6)  # nowhere: no place is known
    labels = read_labels(synthetic.publish(log, tmp_path / "home") / "labels")
    choose = holder(tmp_path / "home" / "labels", SplitConfig(by="location"))
    assert choose is not None
    with pytest.raises(BadInput, match="split.by=location: a share of 0.2 holds out 0 of 5 users"):
        choose(labels, CUTS.train_end)


# ---- users that nobody has seen ------------------------------------------------------------------


@pytest.fixture(scope="module")
def cold(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training]
) -> tuple[Dataset, dict[str, Model]]:
    """Users of one law, half of them after the cut; every model, fitted."""
    matrix = [[0.6, 0.2, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]]
    log = synthetic.markov_log(matrix, users=220, events=12, seed=3)
    dataset = make_dataset(log, datetime(2024, 1, 9), datetime(2024, 1, 9, 12))
    config = load_config(None, [*SMALL[:2], *SMALL[3:], "epochs=4", "learning_rate=0.01"])
    training = training_of(log, dataset, config)
    models = {name: make_model(name, config, synthetic.INPUTS) for name in NAMES}
    for model in models.values():
        model.fit(training)
    return dataset, models


@pytest.mark.parametrize("name", NAMES)
def test_a_cold_user_of_one_or_three_events_gets_calibrated_answers(
    name: str, cold: tuple[Dataset, dict[str, Model]]
) -> None:
    """Case P1: what is said of users without a past is as frequent as it says, state by state."""
    dataset, models = cold
    test = dataset.test
    new = ~np.isin(test.owners, dataset.train.owners)
    for length in (1, 3):
        rows = test.take(new & (test.lengths == length))
        assert len(rows) > 80
        chances = models[name].predict_proba(rows)
        assert np.isfinite(chances).all()
        assert chances.sum(axis=1) == pytest.approx(1.0)
        shares = np.bincount(rows.labels, minlength=4) / len(rows)
        # Four deviations of a count in which each row is a draw of what was said of it. Those that
        # do not know the state cannot know what follows one.
        spread = np.sqrt((chances * (1 - chances)).mean(axis=0) / len(rows))
        if name not in CRUDE:
            assert (np.abs(chances.mean(axis=0) - shares) < 4 * spread + 0.02).all(), length


@pytest.mark.parametrize("name", NAMES)
def test_a_cold_user_without_an_event_gets_what_everyone_does(
    name: str, cold: tuple[Dataset, dict[str, Model]]
) -> None:
    dataset, models = cold
    nothing = synthetic.features_at(
        synthetic.Log(("browse", "search", "purchase")), ["nobody"], [datetime(2030, 1, 1)]
    )
    users = np.array(["nobody"], dtype=object)
    states = ("browse", "search", "purchase", "leave")
    at = np.array(["2030-01-01"], "datetime64[us]")
    rows = unlabelled(Sequences.from_arrays(users, nothing), at, nothing, states)
    (chances,) = models[name].predict_proba(rows)
    assert chances.sum() == pytest.approx(1.0)
    # Between half and twice what the training part says of everyone, for all that are not rare.
    counts = np.bincount(dataset.train.labels, minlength=4) / len(dataset.train)
    common = counts > 0.1
    # Those that read features say what they would of a row without any.
    if name not in ("repeat_last", "column", "logistic", "boosting"):
        assert (chances[common] > counts[common] / 2).all()
        assert (chances[common] < counts[common] * 2).all()
    assert chances.max() < 0.95
