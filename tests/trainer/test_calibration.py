"""How far held-out rows believe the logits of classes, and heads that take it in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.calibration import softmax_slope
from trainer.config import FusionConfig, HeadConfig
from trainer.context import USER_ROW
from trainer.models.fusion import KINDS, AdditiveFusion
from trainer.models.heads import NextActionHead


def expected_rows(logits: NDArray, slope: float) -> tuple[NDArray, NDArray, NDArray]:
    """Each row once a class, as often as the slope says: its loss is least at that slope."""
    chances = np.exp(slope * logits)
    chances /= chances.sum(axis=1, keepdims=True)
    classes = logits.shape[1]
    every = np.repeat(logits, classes, axis=0), np.tile(np.arange(classes), len(logits))
    return *every, chances.ravel()


@pytest.fixture
def logits() -> NDArray:
    """Some of them of a class that is impossible."""
    found = np.random.default_rng(0).normal(scale=2.0, size=(60, 4))
    found[:20, 3] = -np.inf
    return found


@pytest.mark.parametrize("slope", [0.1, 0.6, 0.95])
def test_the_slope_that_made_the_labels_is_found(slope: float, logits: NDArray) -> None:
    assert softmax_slope(*expected_rows(logits, slope)) == pytest.approx(slope, abs=1e-9)
    # What is added to all logits of a row says nothing.
    moved = expected_rows(logits, slope)[1:]
    raised = np.repeat(logits + np.arange(60.0)[:, None], 4, axis=0)
    assert softmax_slope(raised, *moved) == pytest.approx(slope, abs=1e-9)


def test_weights_are_how_often_a_row_counts(logits: NDArray) -> None:
    sure, unsure = expected_rows(logits, 0.9), expected_rows(logits, 0.3)
    both = [np.concatenate(pair) for pair in zip(sure, unsure, strict=True)]
    rows = len(sure[1])
    weights = both[2] * np.repeat([1.0, 0.0], rows)
    assert softmax_slope(both[0], both[1], weights) == pytest.approx(0.9, abs=1e-9)
    weights = both[2] * np.repeat([0.0, 7.0], rows)
    assert softmax_slope(both[0], both[1], weights) == pytest.approx(0.3, abs=1e-9)


def test_logits_are_never_believed_more_than_they_say(logits: NDArray) -> None:
    assert softmax_slope(*expected_rows(logits, 1.5)) == 1.0
    assert softmax_slope(*expected_rows(logits[20:], -0.5)) == 1.0  # nor turned round
    few = (each[:19] for each in expected_rows(logits, 0.5))
    assert softmax_slope(*few) == 1.0
    assert softmax_slope(np.zeros((50, 3)), np.zeros(50, dtype=np.int64), np.ones(50)) == 1.0


@pytest.mark.parametrize("width", [0, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_head_takes_the_slope_into_its_weights(kind: str, width: int) -> None:
    groups = ["7d", "7d", "all", *([USER_ROW] * 4)]
    torch.manual_seed(0)
    head = NextActionHead(
        HeadConfig(hidden=width), FusionConfig(kind=kind, row_skip=0.7), 6, groups, 3
    ).eval()
    encoded, context = torch.randn(5, 6), torch.randn(5, len(groups))
    closed = torch.tensor([True, False, False, True, False])
    before = head(encoded, context, closed)
    left_out = head.without(encoded, context, closed, "7d")
    head.scale(0.8)
    torch.testing.assert_close(head(encoded, context, closed), before * 0.8)
    torch.testing.assert_close(head.without(encoded, context, closed, "7d"), left_out * 0.8)
    if isinstance(head.fusion, AdditiveFusion):
        parts = head.parts(encoded, context).sum(dim=1)
        torch.testing.assert_close(parts[~closed], before[~closed] * 0.8)
