"""A private fit: from the population's counts, with noise, to the weights of the network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from trainer.columns import Columns as C
from trainer.config import FitConfig
from trainer.devices import choose_device
from trainer.instants import Instants
from trainer.models.base import Training, smoothed
from trainer.private.guarantee import Guarantee
from trainer.private.inputs import fixed_context, fixed_events
from trainer.private.training import train_privately
from trainer.splits import Cuts
from trainer.tensors import Targets
from trainer.training import reproducible

if TYPE_CHECKING:
    from trainer.models.recurrent import Recurrent


def make_private(
    training: Training,
    label_known_at: Instants,
    cuts: Cuts,
    transitions: pa.Table,
    config: FitConfig,
) -> Training:
    """The training part with noised counts, and without what others' events decided.

    Parameters
    ----------
    training
        The training part; its transition counts are replaced.
    label_known_at
        # [rows] of the training part, when each label became known
    cuts
        Of the split that it is a part of.
    transitions
        # [users] rows of ``transition_counts_all`` at ``train_end``
    config
        A private one, see :func:`trainer.private.rules.private_config`.

    Notes
    -----
    A label counts where its state lies a purge before the cut. Otherwise the last event before the
    cut, whosever it is, would say which labels of everybody are known.
    """
    early = label_known_at <= cuts.train_end - cuts.train_purge
    fit = training.fit & early & (training.examples.lengths > 0)
    users = len(np.unique(training.examples.owners[fit]))
    guarantee = Guarantee(config.privacy, users, counts_only=config.model != "recurrent")
    size = len(training.states)
    counts = transitions[C.TRANSITION_COUNTS].combine_chunks().drop_null().flatten().to_numpy()
    contributions = counts.reshape(-1, size * size).astype(np.float64)
    total = guarantee.release_sum(contributions, config.privacy.transitions)
    return replace(
        training,
        fit=fit,
        transition_counts=np.maximum(total, 0.0).reshape(size, size),
        horizons=(),
        guarantee=guarantee,
    )


def fit_privately(model: Recurrent, training: Training) -> None:
    """Give a sequence model encoders that were fitted on nobody, and weights trained with noise."""
    config, guarantee = model.config, training.guarantee
    assert guarantee is not None
    model.states, model.horizons = training.states, ()
    model.event_encoder = fixed_events(training, config)
    model.context = fixed_context(training, model.features, config)
    tensors = model.tensors(training.examples)
    # Reasons set a scale to its mean; here that is the centre of the fixed transform.
    model.means = np.zeros(tensors.context.shape[1], dtype=np.float32)
    device = choose_device(config.device)
    with reproducible(config.seed, config.threads):
        model.network = model.fresh_network()
        prior = torch.from_numpy(smoothed(training.label_counts)).float()
        model.network.start_from(prior, torch.zeros(0), torch.zeros(0))
        model.network.to(device)
        marks = torch.from_numpy(training.examples.landmarks)
        weights = torch.where(marks, config.landmark_weight, 1.0)
        weights = weights * torch.from_numpy(training.fit)
        nothing = torch.zeros_like(weights)
        targets = Targets(weights, nothing[:, None], nothing).to(device)
        train_privately(
            model.network,
            tensors.to(device),
            targets,
            config,
            guarantee,
            training.report,
            training.track,
        )
        model.network.to("cpu")
