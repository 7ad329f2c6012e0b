"""Attacks tell who was learned from where a model shows it, and nobody where it cannot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import synthetic_log as synthetic
from private_home import run
from typer.testing import CliRunner

from feature_repo.errors import BadInput
from trainer.attacking import judge, member_losses
from trainer.cli import app
from trainer.config import FitConfig, PrivacyConfig, load_config
from trainer.examples import Dataset
from trainer.fitting import TrainingSet
from trainer.models.base import Training, silent
from trainer.private.membership import auc_bound, loss_threshold_auc, shadow_auc, shadow_scores

MEMBERS = np.array([True, True, False, False])


def test_the_loss_threshold_has_the_auc_of_its_order() -> None:
    assert loss_threshold_auc(np.array([0.1, 0.2, 0.5, 0.6]), MEMBERS) == 1.0
    assert loss_threshold_auc(np.array([0.6, 0.5, 0.2, 0.1]), MEMBERS) == 0.0
    assert loss_threshold_auc(np.array([0.3, 0.3, 0.3, 0.3]), MEMBERS) == 0.5
    # Of four pairs one is in the wrong order.
    assert loss_threshold_auc(np.array([0.1, 0.4, 0.3, 0.6]), MEMBERS) == 0.75


def test_shadows_tell_a_member_who_is_hard_to_predict() -> None:
    # Each user's loss falls by .2 where he is learned from; how hard he is differs much more.
    hard = np.array([2.0, 0.5, 1.0, 0.1])
    membership = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)
    shadows = hard - 0.2 * membership
    losses = hard - 0.2 * MEMBERS
    assert loss_threshold_auc(losses, MEMBERS) == 0.25
    assert shadow_auc(losses, MEMBERS, shadows, membership) == 1.0


def test_the_score_is_the_log_of_the_likelihood_ratio() -> None:
    # Deviation of the residuals is .1: losses 1.1 and .9 around 1 with, 2.1 and 1.9 without him.
    shadows = np.array([[1.1], [0.9], [2.1], [1.9]])
    membership = np.array([[True], [True], [False], [False]])
    score = shadow_scores(np.array([1.2]), shadows, membership)
    assert score == pytest.approx([((1.2 - 2) ** 2 - (1.2 - 1) ** 2) / (2 * 0.01)])
    never = shadow_scores(np.array([1.2]), shadows[2:], membership[2:])
    assert never == pytest.approx([0.0])


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1.0, 0.0), (3.0, 0.01), (8.0, 1e-5)])
def test_the_bound_is_the_area_under_the_best_curve(epsilon: float, delta: float) -> None:
    x = np.linspace(0, 1, 200_001)
    best = np.minimum(delta + math.exp(epsilon) * x, 1 - math.exp(-epsilon) * (1 - delta - x))
    area = np.trapezoid(np.minimum(best, 1), x)
    assert auc_bound(epsilon, delta) == pytest.approx(area, abs=1e-4)
    if delta == 0:
        assert auc_bound(epsilon) == pytest.approx(1 / (1 + math.exp(-epsilon)))


def test_losses_that_know_nothing_of_membership_give_a_coin() -> None:
    random = np.random.default_rng(0)
    privacy = PrivacyConfig(epsilon=1.0)
    hard = random.exponential(size=4000)
    for models in (4, 7):
        members = random.random((models, 4000)) < 0.5
        found = judge(hard + random.normal(size=members.shape), members, privacy)
        assert abs(found.loss_auc - 0.5) < 0.02
        assert abs(found.shadow_auc - 0.5) < 0.02
        seen = judge(hard + random.normal(size=members.shape) - 2 * members, members, privacy)
        assert 0.8 < seen.loss_auc < seen.shadow_auc + 0.1


@pytest.fixture(scope="module")
def data(make_dataset: Callable[..., Dataset], training_of: Callable[..., Training]) -> TrainingSet:
    """Sixty users whose next action is a coin: whoever predicts it has learned them by heart."""
    log = synthetic.order_two_log(users=60, events=14, seed=5)
    random = np.random.default_rng(5)
    for events in log.users.values():
        for place, event in enumerate(events):
            events[place] = synthetic.Event(event.at, str(random.choice(["a", "b"])))
    dataset = make_dataset(log, datetime(2024, 1, 29), datetime(2024, 1, 30))
    config = load_config(None, ["stopping.share=0"])
    users = np.array(sorted(log.users), dtype=object)
    at_cut = synthetic.features_at(log, users.tolist(), [datetime(2024, 1, 29)] * len(users))
    known = pa.array([value is not None for value in at_cut["transition_counts_all"].to_pylist()])
    counted = (users[np.array(known)], at_cut.filter(known))
    return TrainingSet(dataset, training_of(log, dataset, config), synthetic.INPUTS, counted)


def attacked(data: TrainingSet, config: FitConfig, models: int) -> Any:
    losses, members = member_losses(data, config, models, silent)
    assert losses.shape == members.shape
    assert abs(members.mean() - 0.5) < 0.15
    return judge(losses, members, config.privacy)


SMALL = ("encoder.hidden=24", "encoder.layers=1", "batch=4", "learning_rate=0.02", "device=cpu")


def test_a_model_that_learned_by_heart_is_told_from_and_a_private_one_is_not(
    data: TrainingSet,
) -> None:
    by_heart = load_config(
        None,
        [
            *(*SMALL, "epochs=25", "stopping.share=0", "head.dropout=0", "encoder.dropout=0"),
            *("fusion.scale_dropout=0", "weight_decay=0", "tasks.next_item=0"),
            "tasks.next_category=0",
        ],
    )
    open_book = attacked(data, by_heart, 4)
    assert open_book.loss_auc > 0.8
    assert open_book.shadow_auc > 0.8
    assert open_book.bound is None
    private = by_heart.model_copy(
        update={"privacy": PrivacyConfig(epsilon=1.0, users=30), "epochs": 5}
    )
    closed = attacked(data, private, 4)
    assert 0.35 < closed.loss_auc < 0.65
    assert 0.35 < closed.shadow_auc < 0.65
    assert closed.bound == pytest.approx(0.7311, abs=1e-3)


def test_too_few_users_are_refused(
    make_dataset: Callable[..., Dataset], training_of: Callable[..., Training]
) -> None:
    log = synthetic.order_two_log(users=8, events=10)
    config = load_config(None, ["stopping.share=0"])
    dataset = make_dataset(log, datetime(2024, 1, 29), datetime(2024, 1, 30))
    few = TrainingSet(dataset, training_of(log, dataset, config), synthetic.INPUTS)
    with pytest.raises(BadInput, match="an attack needs 20"):
        member_losses(few, config, 3, silent)


def test_the_command_prints_both_and_keeps_no_model(folder: Path) -> None:
    before = sorted((folder / "home").glob("models/*"))
    result = run(folder, "attack", "model=markov_1", "privacy.epsilon=1", "--models", "3")
    assert result.exit_code == 0, result.output + result.stderr
    assert "without privacy: loss threshold" in result.output
    assert "epsilon 1: loss threshold" in result.output
    report = json.loads((folder / "home" / "reports" / "attack.json").read_text())
    assert [each["privacy"] for each in report["attacked"]] == [None, 1.0]
    assert sorted((folder / "home").glob("models/*")) == before
    ranks = CliRunner().invoke(
        app,
        ["attack", "model=v_sknn", "--dataset", str(folder / "toy.yml")],
        env={"SCALESPACE_HOME": str(folder / "home")},
    )
    assert "attacks are on the next action" in ranks.stderr
