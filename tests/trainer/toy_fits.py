"""Networks fitted on a toy, and whether two are the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import synthetic_log as synthetic
import torch

from trainer.config import FitConfig
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent


def fitted(config: FitConfig, training: Training, **more: Any) -> Recurrent:
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(replace(training, **more))
    return model


def same_weights(one: Recurrent, other: Recurrent) -> bool:
    left, right = one.network.state_dict(), other.network.state_dict()
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)
