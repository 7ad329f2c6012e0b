"""What each source of a sequence model is worth: its weight, and the log-loss without it.

Notes
-----
A weight of a fusion is no importance: the layers before and after it scale what they like. What a
source is worth is measured beside it, on rows that the model has not learned from, by leaving it
out as scale-dropout does while training: its columns are 0, which is their mean in the training
part. A network without scale-dropout has never seen that, and its figures are the larger for it.
The encoded sequence is set to its mean over the rows: training never leaves it out, and neither
network has seen that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.bootstrap import user_intervals
from trainer.context import COUNTED_ROW, PRIOR, SEQUENCE
from trainer.examples import Examples
from trainer.metrics import row_log_loss
from trainer.models.fusion import AdditiveFusion, WeightedFusion
from trainer.models.heads import NextActionHead
from trainer.models.recurrent import Recurrent
from trainer.training import settled


@dataclass(frozen=True)
class SourceWorth:
    """One source of the next action's logits.

    Attributes
    ----------
    source
        ``sequence``, a group of columns, or ``user_row:counted``.
    weight
        Mean weight over the rows with ``weighted`` and ``gated`` fusion. With ``additive``, the
        mean over the rows of the deviation, over the states, of what the source adds to the logits.
        ``None`` where the fusion has no such thing.
    change
        Log-loss without the source, less that with it, in nats.
    low, high
        95 % interval of the change, from the bootstrap over users.
    """

    source: str
    weight: float | None
    change: float
    low: float
    high: float


@torch.no_grad()
def source_worth(model: Recurrent, examples: Examples) -> list[SourceWorth]:
    """Weight and ablation of each source, the sequence first.

    Parameters
    ----------
    model
        A fitted sequence model with a head of the next action.
    examples
        Labelled rows with history, as a rule the test part at event instants.
    """
    head = model.network.head
    assert head is not None
    tensors = settled(model.network, model.tensors(examples))
    encoded = model.encode(tensors)
    context, closed = tensors.context, tensors.closed
    weights = _weights(head, encoded, context)
    whole = _losses(head(encoded, context, closed), examples)
    silent = encoded.mean(dim=0).expand_as(encoded)
    without = {SEQUENCE: head(silent, context, closed)}
    for source in (*head.scale_dropout.names, *((COUNTED_ROW,) if head.has_row else ())):
        without[source] = head.without(encoded, context, closed, source)
    found = []
    for source, logits in without.items():
        lost = _losses(logits, examples) - whole
        low, high = user_intervals({"change": lost}, examples.owners)["change"]
        found.append(SourceWorth(source, weights.get(source), float(lost.mean()), low, high))
    return found


def _losses(logits: Tensor, examples: Examples) -> NDArray[np.float64]:
    return row_log_loss(torch.softmax(logits.double(), dim=-1).numpy(), examples.labels)


def _weights(head: NextActionHead, encoded: Tensor, context: Tensor) -> dict[str, float]:
    fusion = head.fusion
    if isinstance(fusion, WeightedFusion):
        weights = fusion.weights(encoded, fusion.sources(encoded, context)).double().mean(dim=0)
        return dict(zip((SEQUENCE, *fusion.groups.names), weights.tolist(), strict=True))
    if isinstance(fusion, AdditiveFusion):
        sizes = head.parts(encoded, context).double().std(dim=-1, correction=0).mean(dim=0)
        found = dict(zip(head.sources, sizes.tolist(), strict=True))
        return {source: size for source, size in found.items() if source != PRIOR}
    return {}
