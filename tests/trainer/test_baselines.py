"""Baselines: by hand, against oracles and the library that fitted them, and as artefacts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import synthetic_log as synthetic

from feature_repo.errors import BadInput
from trainer import metrics
from trainer.config import FitConfig, load_config
from trainer.examples import Dataset, Examples, unlabelled
from trainer.models.base import Model, Training
from trainer.models.classifier import ClassRows
from trainer.models.column import Column
from trainer.models.markov_2 import Markov2
from trainer.models.recent_popularity import RecentPopularity
from trainer.models.registry import COMPARED, RANKS, load_model, make_model
from trainer.models.repeat_last import RepeatLast
from trainer.models.softmax_regression import SoftmaxRegression
from trainer.models.tree_ensemble import TreeEnsemble
from trainer.sequences import Sequences

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 24)
MATRIX = [[0.6, 0.2, 0.1, 0.1], [0.3, 0.5, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]]
SIMPLE = tuple(name for name in COMPARED if name not in ("recurrent", *RANKS))

Data = tuple[Dataset, Training]


@pytest.fixture(scope="module")
def config() -> FitConfig:
    return load_config(None, ["boosting.iterations=20", "boosting.leaf_rows=10"])


@pytest.fixture(scope="module")
def planted(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> Data:
    log = synthetic.order_two_log(users=120, events=50)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
    return dataset, training_of(log, dataset, config)


@pytest.fixture(scope="module")
def sessions(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> Data:
    log = synthetic.markov_log(MATRIX, users=40, events=60, seed=2)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
    return dataset, training_of(log, dataset, config)


@pytest.fixture(scope="module")
def fitted(planted: Data, config: FitConfig) -> dict[str, Model]:
    _, training = planted
    models = {name: make_model(name, config, synthetic.INPUTS) for name in SIMPLE}
    for model in models.values():
        model.fit(training)
    return models


@pytest.fixture(scope="module")
def judged(planted: Data) -> Examples:
    test = planted[0].test
    return test.take(~test.landmarks & (test.labels >= 0))


# ---- each as a model -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIMPLE)
def test_answers_are_distributions(name: str, planted: Data, fitted: dict[str, Model]) -> None:
    test = planted[0].test
    chances = fitted[name].predict_proba(test)
    assert chances.shape == (len(test), 3)
    assert np.isfinite(chances).all()
    assert chances.sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("name", SIMPLE)
def test_who_has_left_cannot_leave(name: str, sessions: Data, config: FitConfig) -> None:
    dataset, training = sessions
    model = make_model(name, config, synthetic.INPUTS)
    model.fit(training)
    chances = model.predict_proba(dataset.test)
    closed = dataset.test.states == 3
    assert 20 < closed.sum() < len(closed) - 20
    assert (chances[~closed, 3] > 0).all()
    if name not in ("marginal", "recent_popularity", "markov_1"):  # which know no session
        assert (chances[closed, 3] == 0).all()


@pytest.mark.parametrize("name", SIMPLE)
def test_saved_and_loaded_it_answers_the_same(
    name: str, fitted: dict[str, Model], judged: Examples, tmp_path: Path
) -> None:
    import torch

    fitted[name].save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".pt"}
    for path in tmp_path.glob("*.pt"):
        torch.load(path, weights_only=True)
    loaded = load_model(name, tmp_path)
    assert np.array_equal(loaded.predict_proba(judged), fitted[name].predict_proba(judged))


@pytest.mark.parametrize("name", SIMPLE)
def test_rows_are_answered_one_by_one_as_together(
    name: str, fitted: dict[str, Model], judged: Examples
) -> None:
    some = judged.take(np.arange(40))
    together = fitted[name].predict_proba(some)
    for row in range(0, 40, 7):
        alone = fitted[name].predict_proba(some.take(np.array([row])))
        assert alone[0] == pytest.approx(together[row], abs=1e-12)


@pytest.mark.parametrize("name", SIMPLE)
def test_unknown_users_and_words_get_sane_answers(name: str, fitted: dict[str, Model]) -> None:
    users, values = synthetic.strangers([None, "a", "unheard of"])
    at = np.repeat(np.datetime64("2030-01-01", "us"), 3)
    nobody = unlabelled(Sequences.from_arrays(users, values), at, values, ("a", "b", "leave"))
    chances = fitted[name].predict_proba(nobody)
    assert np.isfinite(chances).all()
    assert chances.sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("name", SIMPLE)
def test_events_after_train_end_change_no_byte(
    name: str,
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
    config: FitConfig,
    tmp_path: Path,
) -> None:
    log = synthetic.order_two_log(users=60, events=40, seed=5)
    for number, of in enumerate((log, log.until(TRAIN_END))):
        dataset = make_dataset(of, TRAIN_END, VALID_END, landmarks=True)
        model = make_model(name, config, synthetic.INPUTS)
        model.fit(training_of(of, dataset, config))
        (tmp_path / str(number)).mkdir()
        model.save(tmp_path / str(number))
    whole, shortened = (sorted((tmp_path / folder).iterdir()) for folder in "01")
    for a, b in zip(whole, shortened, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


# ---- what each knows -----------------------------------------------------------------------------


def test_order_two_finds_what_order_one_cannot(fitted: dict[str, Model], judged: Examples) -> None:
    losses = {
        name: metrics.log_loss(fitted[name].predict_proba(judged), judged.labels)
        for name in ("markov_1", "user_row", "markov_2")
    }
    assert min(losses["markov_1"], losses["user_row"]) > 0.6
    assert losses["markov_2"] < 0.45  # the law's own entropy is .325


def test_pairs_are_those_of_a_plain_count(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> None:
    log = synthetic.markov_log(MATRIX, users=30, events=40, seed=8)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
    training = training_of(log, dataset, config)
    model = Markov2()
    model.fit(training)
    known = log.until(TRAIN_END)
    end = known.end
    expected = np.zeros((5, 4, 4), dtype=int)
    for events in known.users.values():
        path = [log.states.index(s) for s, _ in path_of(events, end)]
        for place in range(1, len(path)):
            before = path[place - 2] if place >= 2 else 4
            expected[before, path[place - 1], path[place]] += 1
    assert expected.sum() > 800
    assert (model.pairs == expected).all()


def path_of(events: list[synthetic.Event], until: datetime) -> list[tuple[str, datetime]]:
    """States one by one: events, and a leave where the next one is more than half an hour away."""
    path: list[tuple[str, datetime]] = []
    for place, event in enumerate(events):
        path.append((event.action, event.at))
        following = events[place + 1].at if place + 1 < len(events) else None
        close = event.at + synthetic.GAP
        if close <= until and (following is None or following > close):
            path.append(("leave", close))
    return path


def test_a_user_s_own_pairs_are_those_of_a_plain_count(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> None:
    log = synthetic.markov_log(MATRIX, users=20, events=70, seed=9)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
    model = Markov2()
    model.fit(training_of(log, dataset, config))
    test = dataset.test
    assert (test.lengths > 50).sum() > 20
    before, _, own_pairs = model._histories(test)
    for row in range(0, len(test), 5):
        at = test.instants[row].item()
        events = [event for event in log.users[test.users[row]] if event.at <= at][-50:]
        path = [log.states.index(state) for state, _ in path_of(events, at)]
        assert before[row] == (path[-2] if len(path) > 1 else 4)
        counts = np.zeros(4, dtype=int)
        for place in range(2, len(path)):
            if path[place - 2 : place] == path[-2:]:
                counts[path[place]] += 1
        assert own_pairs[row].tolist() == counts.tolist()


def test_recent_popularity_forgets(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training], config: FitConfig
) -> None:
    days = [synthetic.START + timedelta(days=n / 10) for n in range(600)]
    events = [synthetic.Event(at, "a" if n < 200 else "b") for n, at in enumerate(days)]
    log = synthetic.Log(("a", "b"), {"u": events})
    dataset = make_dataset(log, days[500], days[550])
    training = training_of(log, dataset, config)
    model = RecentPopularity()
    model.fit(training)
    # The last 30 days of training are of `b` alone, and each event is followed by a leave.
    assert model.counts.tolist() == [0, 0, 300]


def test_repeat_last_by_hand(fitted: dict[str, Model], judged: Examples) -> None:
    model = RepeatLast(("a", "b", "leave"), repeats=0.6, others=np.array([0.5, 0.3, 0.2]))
    chances = model.predict_proba(judged)
    after_a = judged.states == 0
    assert chances[after_a][0] == pytest.approx([0.6, 0.4 * 0.3 / 0.5, 0.4 * 0.2 / 0.5])
    # In the planted log each action repeats every other time.
    learned = fitted["repeat_last"]
    assert isinstance(learned, RepeatLast)
    assert learned.repeats == pytest.approx(0.5, abs=0.03)


def test_a_column_is_the_shares_within_its_bins(planted: Data) -> None:
    dataset, training = planted
    config = load_config(None, ["column.name=last_action_type"]).column
    model = Column(config, synthetic.INPUTS)
    model.fit(training)
    train = dataset.train
    train = train.take(~train.landmarks)
    binned = model.next_action
    assert binned is not None
    for state, word in enumerate(binned.words):
        place = ("a", "b").index(word)
        counts = np.bincount(train.labels[train.states == place], minlength=3)
        every = np.bincount(train.labels, minlength=3)
        marginal = (every + 1 / 3) / (every.sum() + 1)
        expected = (counts + 5 * marginal) / (counts.sum() + 5)
        assert binned.probabilities[state] == pytest.approx(expected)
    with pytest.raises(BadInput, match="no single-valued feature 'nope'"):
        Column(load_config(None, ["column.name=nope"]).column, synthetic.INPUTS).fit(training)


# ---- against the library that fitted them --------------------------------------------------------


def class_rows(classes: int) -> ClassRows:
    random = np.random.default_rng(classes)
    matrix = random.normal(size=(600, 5)).astype(np.float32)
    scores = matrix @ random.normal(size=(5, classes)) + random.normal(size=(600, classes))
    labels = scores.argmax(axis=1)
    weights = random.uniform(0.3, 1, 600)
    cut = slice(0, 450), slice(450, None)
    return ClassRows(
        *(values[cut[0]] for values in (matrix, labels, weights)),
        *(values[cut[1]] for values in (matrix, labels, weights)),
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_trees_add_up_to_scikit_learn_s_own_answer(classes: int, config: FitConfig) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = class_rows(classes)
    model = HistGradientBoostingClassifier(
        max_iter=30, min_samples_leaf=5, early_stopping=False, random_state=0
    )
    model.fit(rows.matrix, rows.labels, sample_weight=rows.weights)
    ours = TreeEnsemble._from_fitted(model)
    assert ours.probabilities(rows.held_matrix) == pytest.approx(
        model.predict_proba(rows.held_matrix), abs=1e-12
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_coefficients_give_scikit_learn_s_own_answer(classes: int, config: FitConfig) -> None:
    from sklearn.linear_model import LogisticRegression

    rows = class_rows(classes)
    ours = SoftmaxRegression._fit_one(rows, 0.3, 500)
    theirs = LogisticRegression(C=0.3, max_iter=500, tol=1e-3)
    theirs.fit(rows.matrix, rows.labels, sample_weight=rows.weights)
    assert ours.probabilities(rows.held_matrix) == pytest.approx(
        theirs.predict_proba(rows.held_matrix), abs=1e-6
    )


def test_held_out_rows_choose_the_penalty_and_the_number_of_trees() -> None:
    rows = class_rows(4)
    config = load_config(None, ["boosting.iterations=300", "boosting.leaf_rows=5"])
    chosen = SoftmaxRegression.fit(rows, config)
    every = [SoftmaxRegression._fit_one(rows, s, 200) for s in config.logistic.strengths]
    assert rows.held_loss(chosen.probabilities(rows.held_matrix)) == min(
        rows.held_loss(one.probabilities(rows.held_matrix)) for one in every
    )
    trees = TreeEnsemble.fit(rows, config)
    assert 4 <= len(trees.roots) < 4 * 300
