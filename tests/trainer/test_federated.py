"""Federated averaging: by hand, beside a central fit, and what leaves a client."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import synthetic_log as synthetic
import torch
from torch import nn

from feature_repo.errors import BadInput
from trainer.config import FitConfig, load_config
from trainer.examples import Dataset
from trainer.federated.clients import client_numbers, gathered
from trainer.federated.flower import run_rounds
from trainer.federated.training import clipped_mean_gradient
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent

FLOWER = pytest.mark.skipif(find_spec("flwr") is None, reason="the extra federated is not there")
START = synthetic.START
SMALL = ("encoder.hidden=8", "encoder.layers=1", "learning_rate=0.01", "features.user_row=true")


@pytest.fixture(scope="module")
def given(make_dataset: Callable[..., Dataset], training_of: Callable) -> Callable:
    """A log in which the action before last decides, and its training part for a configuration."""
    log = synthetic.order_two_log(users=30, events=30)
    dataset = make_dataset(log, START + timedelta(days=21), START + timedelta(days=23))

    def make(*keys: str) -> tuple[FitConfig, Training, Dataset]:
        config = load_config(None, [*SMALL, *keys])
        return config, training_of(log, dataset, config), dataset

    return make


def fitted(config: FitConfig, training: Training) -> Recurrent:
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training)
    return model


def weights(model: Recurrent) -> dict[str, np.ndarray]:
    return {k: v.detach().numpy().copy() for k, v in model.network.named_parameters()}


# ---- averaging -----------------------------------------------------------------------------------


@FLOWER
def test_two_clients_are_averaged_by_their_rows_by_hand() -> None:
    begin = {"w": np.array([1.0, -2.0], np.float32), "b": np.array([[0.5]], np.float32)}
    rounds: list[tuple[int, list[float], float]] = []

    def client(step: float, weight: float) -> Callable:
        def fit(given: dict, number: int) -> tuple[dict, float, float]:
            return {name: value + step * number for name, value in given.items()}, weight, step

        return fit

    def after(number: int, averaged: dict, loss: float) -> None:
        rounds.append((number, averaged["w"].tolist(), loss))

    last = run_rounds([client(1.0, 1.0), client(4.0, 3.0)], begin, 2, after)
    # (1 * 1 + 3 * 4) / 4 = 3.25 in the first round, twice that in the second.
    assert rounds == [(1, [4.25, 1.25], 3.25), (2, [10.75, 7.75], 3.25)]
    assert last["w"].tolist() == [10.75, 7.75] and last["b"].tolist() == [[10.25]]
    assert begin["w"].tolist() == [1.0, -2.0]  # nobody's weights are written over


@FLOWER
@pytest.mark.parametrize("keys", [(), ("encoder.coarse=[day]",)], ids=["events", "days too"])
def test_one_client_and_one_round_are_a_central_fit(given: Callable, keys: tuple[str, ...]) -> None:
    rounds = ("stopping.share=0", "epochs=3", "federated.rounds=1", "federated.epochs=3")
    config, training, _ = given(*rounds, *keys)
    users = len(training.examples.sequences.users)
    alone = replace(training, clients=np.zeros(users, dtype=np.int64))
    central, federated = weights(fitted(config, training)), weights(fitted(config, alone))
    assert all(np.array_equal(central[name], federated[name]) for name in central)


@FLOWER
def test_rounds_of_clients_learn_what_is_there_to_learn(given: Callable) -> None:
    config, training, dataset = given("federated.rounds=12", "federated.epochs=5")
    numbers = np.arange(len(training.examples.sequences.users)) % 3
    model = fitted(config, replace(training, clients=numbers))
    assert len(model.curve) == 12
    test = dataset.test.take((dataset.test.labels >= 0) & ~dataset.test.landmarks)
    own = model.predict_proba(test)[np.arange(len(test)), test.labels]
    # The chain of order 1 has ln 2 over two actions and knows nothing of what was before.
    assert -np.log(own).mean() < 0.6 < np.log(2)
    again = fitted(config, replace(training, clients=numbers))
    one, other = weights(model), weights(again)
    assert all(np.array_equal(one[name], other[name]) for name in one)


@FLOWER
def test_a_client_reads_no_row_of_another(given: Callable) -> None:
    """What a client gives back after a round is the same whatever stands in others' rows."""
    # The strength of the users' own rows is one number that all clients' labels choose.
    keys = ("stopping.share=0", "federated.rounds=1", "features.user_row=false")
    config, training, _ = given(*keys)
    numbers = np.arange(len(training.examples.sequences.users)) % 2
    mine = numbers[training.examples.owners] == 0
    found = []
    for labels in (training.examples.labels, np.where(mine, training.examples.labels, 0)):
        given_back: list[dict] = []

        def note(clients: list, begin: dict, rounds: int, after: Callable) -> dict:
            given_back.append(clients[0](begin, 1)[0])  # noqa: B023
            after(1, begin, 0.0)
            return begin

        changed = replace(training.examples, labels=labels)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trainer.federated.training.run_rounds", note)
            model = Recurrent(config, synthetic.INPUTS)
            # The first weights begin at the labels' shares, which are sums over all clients.
            patch.setattr(Training, "label_counts", np.array([5, 5, 5]))
            model.fit(replace(training, examples=changed, clients=numbers))
        found.append(given_back[0])
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


# ---- clipping ------------------------------------------------------------------------------------


def gradient(*losses: tuple[float, float], limit: float = 1.0) -> list[float]:
    network = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        network.weight.zero_()
    parts = [network(torch.tensor([loss])).sum() for loss in losses]
    clipped_mean_gradient(network, parts, limit)
    assert network.weight.grad is not None
    return network.weight.grad[0].tolist()


def test_each_users_gradient_is_cut_before_the_mean_by_hand() -> None:
    # (3, 4) has norm 5 and becomes (.6, .8); (.3, .4) is short enough.
    assert gradient((3.0, 4.0), (0.3, 0.4)) == pytest.approx([0.45, 0.6])
    assert gradient((3.0, 4.0), limit=10.0) == pytest.approx([3.0, 4.0])


def test_one_user_moves_a_step_by_no_more_than_his_share() -> None:
    others = [(0.1, 0.2), (-0.5, 0.3), (2.0, 0.0)]
    for extreme in ((1e6, -1e6), (-1e6, 3.0)):
        calm, wild = gradient(*others, (0.0, 0.0)), gradient(*others, extreme)
        assert np.linalg.norm(np.subtract(wild, calm)) <= 1.0 / 4 + 1e-6


@FLOWER
def test_a_clipped_fit_learns_too(given: Callable) -> None:
    config, training, _ = given(
        "federated.rounds=3", "federated.epochs=2", "federated.user_clip=0.5"
    )
    numbers = np.arange(len(training.examples.sequences.users)) % 2
    model = fitted(config, replace(training, clients=numbers))
    losses = [epoch.loss for epoch in model.curve]
    assert losses[-1] < losses[0]


# ---- who is whose --------------------------------------------------------------------------------


def test_small_partitions_are_one_together() -> None:
    names = np.array(["GB", "FR", "GB", "DE", "", "FR", "GB"], dtype=object)
    assert gathered(names, 2).tolist() == [2, 1, 2, 0, 0, 1, 2]
    assert gathered(names, 1).tolist() == [3, 2, 3, 1, 0, 2, 3]


def test_users_go_with_the_place_where_they_are_most(
    make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    log = synthetic.order_two_log(users=8, events=20, seed=1)
    places = {}
    for number, (user, events) in enumerate(log.users.items()):
        places[user] = ["FR", "GB", None][number % 3]
        log.users[user] = [
            replace(event, location=places[user] if place % 4 else "DE" if places[user] else None)
            for place, event in enumerate(events)
        ]
    pq.write_table(synthetic.events_table(log), tmp_path / "events.parquet")
    dataset = make_dataset(log, START + timedelta(days=21), START + timedelta(days=23))
    users = dataset.examples.sequences.users

    def numbers(*keys: str) -> list[int]:
        found = client_numbers(tmp_path, dataset, load_config(None, keys))
        assert found is not None
        return found.tolist()

    by = "federated.by=location"
    order = {None: 0, "FR": 1, "GB": 2}
    assert numbers(by, "federated.fewest=1") == [order[places[user]] for user in users]
    hashed = numbers("federated.by=users", "federated.clients=3", "federated.fewest=1")
    assert set(hashed) == {0, 1, 2}
    assert client_numbers(tmp_path, dataset, load_config(None)) is None
    for keys, said in (
        ((by, "federated.fewest=50"), "no two clients have 50 users"),
        ((by, "model=markov_1"), "model=markov_1 is no network to average"),
        ((by, "tasks.conversion=1"), "add tasks.together=true"),
    ):
        with pytest.raises(BadInput, match=said):
            client_numbers(tmp_path, dataset, load_config(None, keys))


def test_without_flower_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flwr.app", None)
    monkeypatch.setitem(sys.modules, "flwr", None)
    with pytest.raises(BadInput, match=r"pip install 'scalespace\[federated\]'"):
        run_rounds([], {"w": np.zeros(1, np.float32)}, 1, lambda *_: None)
