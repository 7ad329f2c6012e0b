"""A network learns for as long as held-out rows allow, and then anew from all rows for as long.

Notes
-----
Rows that choose the epoch are the last of the training part, and those nearest to what will be
asked. The second time nothing is held out: epochs and learning rates are those of the first, and
so is how far the logits of the next action may be believed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.calibration import softmax_slope
from trainer.checkpoints import Checkpoint
from trainer.config import FitConfig
from trainer.early_stopping import best_epoch
from trainer.losses import inputs_of
from trainer.models.base import Report, unwatched
from trainer.models.network import Network
from trainer.progress import Track
from trainer.team import ALONE, Team
from trainer.training import Epoch, train_rows
from trainer.training_rows import Rows


def train_twice(
    network: Network,
    fit: Rows,
    stop: Rows | None,
    every: Rows | None,
    config: FitConfig,
    seed: int,
    report: Report,
    track: Track,
    checkpoint: Checkpoint | None,
    watch: Callable[[Epoch], None] = unwatched,
    team: Team = ALONE,
) -> list[Epoch]:
    """Train in place, see :func:`trainer.training.train_rows`.

    Parameters
    ----------
    network
        Fresh weights.
    fit, stop
        Rows to learn from, and rows that choose the epoch.
    every
        Rows to learn from the second time; ``None`` leaves the weights of the first.
    seed
        Of this process' dropout.
    config, report, track, checkpoint, watch, team
        See there; only the first time is watched.

    Returns
    -------
    epochs
        The learning curve of the first time.
    """
    fresh = {name: value.clone() for name, value in network.state_dict().items()}
    # One more head must not move what dropout draws for the others.
    torch.manual_seed(seed)
    curve = train_rows(network, fit, stop, config, report, track, checkpoint, watch, team)
    losses = [epoch.stop_loss for epoch in curve if epoch.stop_loss is not None]
    if stop is None or not losses:
        return curve
    slope = _held_slope(network, stop, config.batch, team)
    if every is not None:
        rates = [epoch.rate for epoch in curve[: best_epoch(losses)]]
        report(f"learning anew from all rows, {len(rates)} epochs")
        network.load_state_dict(fresh)
        torch.manual_seed(seed)
        again = None if checkpoint is None else checkpoint.again
        train_rows(network, every, None, config, report, track, again, team=team, rates=rates)
    if network.head is not None:
        network.head.scale(slope)
    return curve


@torch.no_grad()
def _held_slope(network: Network, stop: Rows, size: int, team: Team) -> float:
    """How far held-out rows of all processes believe the logits of the next action."""
    if network.head is None:
        return 1.0
    found: list[tuple[NDArray, ...]] = []
    for part, batch in stop.epoch(size)[1]:
        if not len(batch.examples):
            continue
        encoded, context, chosen = inputs_of(network, part.tensors, batch, part.rows)
        answers = network.head(encoded, context, part.tensors.closed[chosen])
        own = (answers, part.tensors.labels[chosen], part.targets.next_action[chosen])
        found.append(tuple(each.cpu().numpy() for each in own))
    every = [each for of_process in team.gathered(found) for each in of_process]
    logits, labels, weights = (np.concatenate(each) for each in zip(*every, strict=True))
    return softmax_slope(logits, np.maximum(labels, 0), weights)
