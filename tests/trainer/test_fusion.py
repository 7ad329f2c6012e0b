"""Fusion: sums that are exact, groups that are whole, gates that are shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.config import FusionConfig, HeadConfig
from trainer.context import USER_ROW
from trainer.models.fusion import KINDS, AdditiveFusion, GatedFusion, GroupLayers, ScaleDropout
from trainer.models.heads import NextActionHead

GROUPS = ["7d", "7d", "now", "1h", "7d", "calendar", *[USER_ROW] * 4]
HIDDEN, STATES, ROWS = 6, 3, 50


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(ROWS, HIDDEN), torch.randn(ROWS, len(GROUPS))


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_gives_logits_that_learn(
    kind: str, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    torch.manual_seed(1)
    fusion = KINDS[kind](HeadConfig(), HIDDEN, GROUPS, STATES)
    encoded, context = (value.requires_grad_() for value in inputs)
    logits = fusion(encoded, context)
    assert logits.shape == (ROWS, STATES)
    logits.square().sum().backward()
    # The sequence and every column reach the logits.
    assert (encoded.grad.abs().sum(dim=0) > 0).all()
    assert (context.grad.abs().sum(dim=0) > 0).all()


@pytest.mark.parametrize("kind", list(KINDS))
def test_no_start_makes_the_sequence_silent_for_good(
    kind: str, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    torch.manual_seed(1)
    fusion = KINDS[kind](HeadConfig(), HIDDEN, GROUPS, STATES).eval()
    if kind in ("weighted", "gated"):
        # Where a training that went wrong may leave it: below 0 for every row.
        torch.nn.init.constant_(fusion.sequence.bias, -100.0)
    encoded = inputs[0].requires_grad_()
    fusion(encoded, inputs[1]).square().sum().backward()
    assert (encoded.grad.abs().sum(dim=1) > 0).all()


def test_a_group_s_layer_reads_its_own_columns_alone(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    layers = GroupLayers(GROUPS, width=4, dropout=0.0)
    assert layers.names == ("7d", "now", "1h", "calendar", USER_ROW)
    _, context = inputs
    before = layers(context)
    for column, group in enumerate(GROUPS):
        changed = context.clone()
        changed[:, column] += 1.0
        moved = (layers(changed) - before).abs().amax(dim=(0, 2)) > 1e-6
        assert [n for n, m in zip(layers.names, moved, strict=True) if m] == [group]


def test_additive_parts_sum_to_the_prediction(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    fusion = AdditiveFusion(HeadConfig(), HIDDEN, GROUPS, STATES).double().eval()
    encoded, context = (value.double() for value in inputs)
    parts = fusion.parts(encoded, context)
    assert parts.shape == (ROWS, 2 + 5, STATES)
    assert torch.equal(parts.sum(dim=1), fusion(encoded, context))
    # A part depends on its own source alone: another sequence moves only the sequence's.
    moved = fusion.parts(encoded + 1, context) - parts
    assert (moved.abs().amax(dim=(0, 2)) > 1e-9).tolist() == [False, True] + [False] * 5


def test_gates_are_shares_that_depend_on_the_row(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    torch.manual_seed(2)
    encoded, _ = inputs
    fusion = GatedFusion(HeadConfig(), HIDDEN, GROUPS, STATES).eval()
    weights = fusion.weights(encoded, torch.randn(ROWS, 6, HeadConfig().context))
    assert weights.sum(dim=1).detach().numpy() == pytest.approx(np.ones(ROWS), abs=1e-6)
    assert weights.std(dim=0).min() > 0


def test_scale_dropout_silences_whole_groups_while_training() -> None:
    torch.manual_seed(3)
    dropout = ScaleDropout(GROUPS, 0.25)
    context = torch.ones(4000, len(GROUPS))
    silenced = dropout.train()(context) == 0
    for group in set(GROUPS):
        columns = [place for place, own in enumerate(GROUPS) if own == group]
        assert (silenced[:, columns] == silenced[:, columns[:1]]).all()
        assert silenced[:, columns[0]].float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(dropout.eval()(context), context)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_untrained_head_says_the_user_s_own_row(kind: str) -> None:
    """What counting knows is where training starts, and who has left cannot leave."""
    torch.manual_seed(4)
    head = NextActionHead(
        HeadConfig(), FusionConfig(kind=kind, row_skip=1.0), HIDDEN, GROUPS, STATES
    ).eval()
    head.start_from(torch.tensor([0.2, 0.3, 0.5]))
    rows = torch.distributions.Dirichlet(torch.ones(STATES)).sample((ROWS,))
    context = torch.zeros(ROWS, len(GROUPS))
    context[:, 6:9] = rows.log()
    closed = torch.zeros(ROWS, dtype=torch.bool)
    closed[0] = True
    chances = torch.softmax(head(torch.zeros(ROWS, HIDDEN), context, closed), dim=-1)
    # The layers begin near nothing, not at it.
    assert (chances[1:] - rows[1:]).abs().mean() < 0.08
    assert chances[0, -1] == 0
    assert torch.isfinite(chances).all()


def test_without_the_row_the_untrained_head_says_the_prior() -> None:
    torch.manual_seed(5)
    groups = [group for group in GROUPS if group != USER_ROW]
    head = NextActionHead(HeadConfig(), FusionConfig(row_skip=1.0), HIDDEN, groups, STATES).eval()
    prior = torch.tensor([0.2, 0.3, 0.5])
    head.start_from(prior)
    context = torch.zeros(1, len(groups))
    chances = torch.softmax(head(torch.zeros(1, HIDDEN), context, torch.tensor([False])), dim=-1)
    assert chances[0].tolist() == pytest.approx(prior.tolist(), abs=0.05)
