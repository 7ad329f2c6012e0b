"""Each record's gradient is its own: equal to that of a pass over the record alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.layers import DPLSTM
from private_records import Small
from torch import nn
from torch.nn import functional

from trainer.private.cells import UnrolledCell
from trainer.private.gradients import record_gradients
from trainer.private.records import pad
from trainer.private.training import private_optimizer, private_step


def alone(small: Small, member: int) -> tuple[dict[str, torch.Tensor], float]:
    """Gradients of one record's mean loss, by the network's own cell and plain autograd."""
    network, tensors, records = small.network, small.tensors, small.records
    places = torch.arange(records.starts[member], records.stops[member])
    hidden, _ = network.encoder(*tensors.events(places[None]))
    rows = records.order[records.bounds[member] : records.bounds[member + 1]]
    steps = torch.from_numpy(tensors.last[rows] - records.starts[member])
    chosen = torch.from_numpy(rows)
    logits = network.head(hidden[0, steps], tensors.context[chosen], tensors.closed[chosen])
    losses = functional.cross_entropy(logits, tensors.labels[chosen], reduction="none")
    weights = small.targets.next_action[chosen]
    loss = (losses * weights).sum() / weights.sum()
    network.zero_grad()
    loss.backward()
    return {n: w.grad.clone() for n, w in network.named_parameters()}, loss.item()


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("encoder.cell=gru", "fusion.kind=gated"),
        ("encoder.cell=rnn", "encoder.layers=1", "fusion.kind=additive"),
        ("fusion.kind=concat", "encoder.categories=0"),
    ],
)
def test_gradients_by_record_equal_those_of_each_record_alone(
    small: Callable[..., Small], keys: tuple[str, ...]
) -> None:
    one = small(*keys)
    one.network.train()
    members = np.arange(len(one.records))
    found, losses = record_gradients(
        one.network, one.tensors, one.targets, pad(one.records, one.tensors.last, members)
    )
    assert set(found) == {name for name, _ in one.network.named_parameters()}
    for member in members:
        expected, loss = alone(one, member)
        assert losses[member].item() == pytest.approx(loss, rel=1e-4)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name][member], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_an_unrolled_cell_answers_as_the_cell_does(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    cell = kind(5, 6, 2, batch_first=True)
    inputs = torch.randn(4, 9, 5)
    torch.testing.assert_close(UnrolledCell(cell).forward(inputs), cell(inputs)[0])


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_opacus_gives_the_same_gradients_of_an_lstm() -> None:
    torch.manual_seed(0)
    theirs = DPLSTM(5, 6, 2, batch_first=True)
    ours = nn.LSTM(5, 6, 2, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    inputs, weights = torch.randn(4, 9, 5), torch.randn(4, 9, 6)
    watched = GradSampleModule(theirs, loss_reduction="sum")
    (watched(inputs.requires_grad_())[0] * weights).sum().backward()
    cell = UnrolledCell(ours)
    hidden = cell.forward(inputs)
    found = cell.gradients(list(torch.autograd.grad(hidden, cell.gates, weights)))
    names = dict(theirs.named_parameters())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, names[name].grad_sample, rtol=1e-4, atol=1e-5)


def summed(small: Small, members: np.ndarray, noise: float = 0.0) -> torch.Tensor:
    """The sum of the cut gradients of some records, as one vector."""
    optimizer = private_optimizer(small.network, small.config, noise, expected=1.0)
    kept: list[torch.Tensor] = []

    def keep(_optimizer: object) -> None:
        kept.extend(weight.grad.flatten().clone() for weight in small.network.parameters())

    optimizer.attach_step_hook(keep)
    before = {n: value.clone() for n, value in small.network.state_dict().items()}
    private_step(small.network, optimizer, small.tensors, small.targets, small.records, members)
    small.network.load_state_dict(before)
    return torch.cat(kept)


@pytest.mark.parametrize("bound", [0.05, 0.4])
def test_a_user_moves_the_sum_by_the_bound_at_most(
    small: Callable[..., Small], bound: float
) -> None:
    one = small(f"privacy.max_grad_norm={bound}")
    one.network.train()
    members = np.arange(len(one.records))
    whole = summed(one, members)
    moved = [float((whole - summed(one, np.delete(members, m))).norm()) for m in members]
    assert max(moved) <= bound * (1 + 1e-4)
    assert max(moved) > 0.99 * bound  # the bound is reached: gradients are cut, and not made small


def test_under_a_wide_bound_nothing_is_cut(small: Callable[..., Small]) -> None:
    one = small("privacy.max_grad_norm=1e6")
    members = np.arange(len(one.records))
    expected = sum(
        torch.cat([g.flatten() for g in alone(one, member)[0].values()]) for member in members
    )
    torch.testing.assert_close(summed(one, members), expected, rtol=1e-3, atol=1e-4)


def test_noise_is_added_in_units_of_the_bound_even_to_nobody(small: Callable[..., Small]) -> None:
    one = small("privacy.max_grad_norm=0.5")
    nobody = np.zeros(0, dtype=np.int64)
    assert not summed(one, nobody).any()
    noise = summed(one, nobody, noise=3.0)
    assert float(noise.std()) == pytest.approx(1.5, rel=0.1)


def test_a_step_over_more_users_than_fit_at_once_is_one_step(
    small: Callable[..., Small], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = small()
    members = np.arange(len(one.records))
    whole = summed(one, members)
    monkeypatch.setattr("trainer.private.training._AT_ONCE", 4)
    torch.testing.assert_close(summed(one, members), whole, rtol=1e-4, atol=1e-6)


def test_there_is_one_record_a_user_and_it_is_his_last_events(small: Callable[..., Small]) -> None:
    one = small(scored=6, burn_in=2)
    tensors, records = one.tensors, one.records
    users = np.unique(tensors.first[one.targets.rows])
    assert len(records) == len(users) > 5
    for place, user in enumerate(users):
        own = one.targets.rows[tensors.first[one.targets.rows] == user]
        end = tensors.last[own].max()
        expected = set(own[tensors.last[own] > end - 6])
        got = records.order[records.bounds[place] : records.bounds[place + 1]]
        assert set(got) == expected
        assert records.stops[place] == end + 1
        assert records.starts[place] == max(user, end - 7)
