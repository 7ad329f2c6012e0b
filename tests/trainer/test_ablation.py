"""Ablation: a source left out is its columns at 0, and the weights are the fusion's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pytest
import synthetic_log as synthetic
import torch

from trainer.ablation import SourceWorth, source_worth
from trainer.config import load_config
from trainer.context import COUNTED_ROW, SEQUENCE, USER_ROW
from trainer.examples import Dataset
from trainer.metrics import row_log_loss
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent

Fitted = tuple[Recurrent, Dataset, list[SourceWorth]]
KINDS = ("weighted", "gated", "additive", "concat")


@pytest.fixture(scope="module", params=KINDS)
def fitted(
    request: pytest.FixtureRequest,
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
) -> Fitted:
    log = synthetic.order_two_log(users=24, events=20, seed=4)
    dataset = make_dataset(log, datetime(2024, 1, 18), datetime(2024, 1, 20))
    keys = ("encoder.hidden=6", "encoder.layers=1", "epochs=1", "learning_rate=0.01")
    config = load_config(None, [*keys, f"fusion.kind={request.param}"])
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training_of(log, dataset, config))
    return model, dataset, source_worth(model, dataset.test)


def losses_at_zero(model: Recurrent, dataset: Dataset, group: str) -> np.ndarray:
    """The loss with the group's columns at 0, but for the row that is added as it is; or with the
    sequence at its mean.
    """
    test = dataset.test
    tensors = model.tensors(test)
    head = model.network.head
    columns = torch.tensor([own != group for own in model.context.groups])
    with torch.no_grad():
        encoded = model.encode(tensors)
        if group == SEQUENCE:
            encoded = encoded.mean(dim=0, keepdim=True).repeat(len(encoded), 1)
        logits = head.fusion(encoded, tensors.context * columns)
        if group != COUNTED_ROW:
            begin = model.context.groups.index(USER_ROW)
            logits = logits + head.row_factor * tensors.context[:, begin : begin + 3]
        logits[tensors.closed, -1] = -torch.inf
    return row_log_loss(torch.softmax(logits.double(), dim=1).numpy(), test.labels)


def test_a_change_is_recomputed_without_the_source(fitted: Fitted) -> None:
    model, dataset, found = fitted
    test = dataset.test
    whole = row_log_loss(model.predict_proba(test), test.labels).mean()
    names = [each.source for each in found]
    assert names[0] == SEQUENCE
    assert set(names[1:]) == {*model.context.groups, COUNTED_ROW}
    for each in found:
        expected = losses_at_zero(model, dataset, each.source).mean() - whole
        assert each.change == pytest.approx(expected, abs=1e-6)
        assert each.low <= each.change <= each.high
    # On this log the counted row is what knows of `leave`: without it, much is lost.
    assert max(found[1:], key=lambda each: each.change).change > 0.001


def test_weights_are_the_fusion_s_own(fitted: Fitted) -> None:
    model, dataset, worth = fitted
    kind = model.config.fusion.kind
    found = {each.source: each.weight for each in worth}
    counted = found.pop(COUNTED_ROW)
    assert (counted is None) == (kind != "additive")
    if kind == "concat":
        assert set(found.values()) == {None}
    elif kind == "additive":
        assert all(weight >= 0 for weight in found.values())
        # The counted row's logits are its factor times the logarithms of its shares.
        begin = model.context.groups.index(USER_ROW)
        rows = model.tensors(dataset.test).context[:, begin : begin + 3].double().numpy()
        factor = abs(float(model.network.head.row_factor.detach()))
        assert counted == pytest.approx(factor * rows.std(axis=1).mean(), rel=1e-5)
    else:
        assert sum(found.values()) == pytest.approx(1.0, abs=1e-5)
        scores = model.network.head.fusion.scores.detach().double()
        if kind == "weighted":
            assert list(found.values()) == pytest.approx(torch.softmax(scores, 0), abs=1e-6)


def test_encoding_all_rows_is_encoding_their_parts(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset, _ = fitted
    tensors = model.tensors(dataset.test.take(np.arange(40)))
    whole = model.encode(tensors)
    assert whole.shape == (40, 6)
    monkeypatch.setattr("trainer.models.recurrent._ROWS", 7)
    assert model.encode(tensors).numpy() == pytest.approx(whole.numpy(), abs=1e-6)
