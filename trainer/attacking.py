"""``attack``: how much a model of this configuration tells of who it learned from.

Several models are fitted, each on a random half of the users; whether a user is in a half is the
truth that the attacks are held against. Each model is the target once, with the others as the
attacker's own. What is attacked are models like the one that ``fit`` makes, and not a run: of a run
nobody is out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from feature_repo.manifest import dataset_vars
from trainer.config import FitConfig, PrivacyConfig
from trainer.dataset import Taxonomy
from trainer.examples import Dataset
from trainer.fitting import TrainingSet, make_training, population_counts, read_training_set
from trainer.metrics import row_log_loss
from trainer.models.base import Model, Report, Training, silent, write_json
from trainer.models.registry import RANKS, make_model
from trainer.private.fitting import make_private
from trainer.private.membership import auc_bound, loss_threshold_auc, shadow_auc
from trainer.private.rules import private_config
from trainer.training import reproducible

REPORT = "attack.json"  # in reports/
_FEWEST_USERS = 20


@dataclass(frozen=True)
class Attacked:
    """What the attacks found.

    Attributes
    ----------
    privacy
        The epsilon of the models; ``None`` without privacy.
    loss_auc, shadow_auc
        Means over the models, each the target once; .5 is a coin.
    loss_auc_std, shadow_auc_std
        Deviations between them.
    bound
        What no attack on so private a model can exceed; ``None`` without privacy.
    """

    privacy: float | None
    loss_auc: float
    loss_auc_std: float
    shadow_auc: float
    shadow_auc_std: float
    bound: float | None


def attack(
    home: Path, config: FitConfig, models: int, report: Report
) -> tuple[list[Attacked], int]:
    """Attack models without privacy and, where the configuration has an epsilon, with it.

    Parameters
    ----------
    home
        Home of a build whose features were applied.
    config
        Of every model.
    models
        How many of each kind, at least three: a target, and shadows with and without each user.
    report
        Takes lines of progress.

    Returns
    -------
    found
        Without privacy first.
    users
        How many are told apart.
    """
    if config.model in RANKS:
        raise BadInput(f"model={config.model}: attacks are on the next action; take another model")
    public = config.model_copy(update={"privacy": PrivacyConfig()}).without_rankings
    data = read_training_set(home, public, (public.model,), report)
    configs = [public]
    if config.privacy.epsilon is not None:
        configs.append(private_config(config, Taxonomy.from_vars(dataset_vars(home))))
    found, users = [], 0
    for each in configs:
        losses, members = member_losses(data, each, models, report)
        users = losses.shape[1]
        found.append(judge(losses, members, each.privacy))
        report(f"{_kind(each)}: {models} models attacked")
    with replacing(home / "reports" / REPORT) as fresh:
        write_json(
            fresh, {"users": users, "models": models, "attacked": [vars(each) for each in found]}
        )
    return found, users


def judge(
    losses: NDArray[np.float64], members: NDArray[np.bool_], privacy: PrivacyConfig
) -> Attacked:
    """Attack each model in turn; # [models, users] both."""
    by_loss, by_shadows = [], []
    for target in range(len(losses)):
        others = np.arange(len(losses)) != target
        by_loss.append(loss_threshold_auc(losses[target], members[target]))
        by_shadows.append(
            shadow_auc(losses[target], members[target], losses[others], members[others])
        )
    epsilon = privacy.epsilon
    return Attacked(
        privacy=epsilon,
        loss_auc=float(np.mean(by_loss)),
        loss_auc_std=float(np.std(by_loss)),
        shadow_auc=float(np.mean(by_shadows)),
        shadow_auc_std=float(np.std(by_shadows)),
        bound=None if epsilon is None else auc_bound(epsilon, privacy.delta),
    )


def member_losses(
    data: TrainingSet, config: FitConfig, models: int, report: Report
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fit models on random halves of the users, and ask each about everybody.

    Returns
    -------
    losses
        # [models, users], mean loss over a user's labelled event instants of the training part
    members
        # [models, users]
    """
    asked = data.training.examples.take(
        (data.training.examples.labels >= 0) & ~data.training.examples.landmarks
    )
    owners, place = np.unique(asked.owners, return_inverse=True)
    if len(owners) < _FEWEST_USERS:
        raise BadInput(
            f"the training part has {len(owners)} users with a label, too few to tell apart; "
            f"an attack needs {_FEWEST_USERS}"
        )
    random = np.random.default_rng(config.seed)
    # Coins, and not half of the models for each user: of those, a user whom more of the others have
    # is one whom the target does not have, and an attack would win or lose by counting.
    members = random.random((models, len(owners))) < 0.5
    losses = np.zeros((models, len(owners)))
    base = make_training(data.dataset, data.training.transition_counts, config, silent)
    for number in range(models):
        model = fit_on(data, base, config, owners[members[number]])
        rows = row_log_loss(model.predict_proba(asked), asked.labels)
        losses[number] = np.bincount(place, rows) / np.bincount(place)
        report(f"{_kind(config)}: model {number + 1} of {models} fitted")
    return losses, members


def fit_on(
    data: TrainingSet, base: Training, config: FitConfig, owners: NDArray[np.int64]
) -> Model:
    """A model that learned from some users and knows nothing of the others.

    Parameters
    ----------
    data
        Everybody's.
    base
        The training part of everybody, made for ``config``.
    config
        Of the model.
    owners
        # [users learned from], indices into the users of the sequences
    """
    assert data.counted is not None
    dataset = data.dataset
    sequences = dataset.examples.sequences
    rows = np.flatnonzero(np.isin(base.examples.owners, owners))
    users, transitions = data.counted
    own = transitions.filter(pa.array(np.isin(users, sequences.users[owners])))
    training = replace(
        base,
        examples=base.examples.take(rows),
        fit=base.fit[rows],
        stop=base.stop[rows],
        known_events=base.known_events & np.isin(sequences.owners, owners),
        transition_counts=population_counts(own, base.states),
        conversion_fit=base.conversion_fit[rows],
        conversion_stop=base.conversion_stop[rows],
        wait_fit=base.wait_fit[rows],
        wait_stop=base.wait_stop[rows],
        rankings=(),
    )
    if config.privacy.epsilon is not None:
        known_at = _label_known_at(dataset)[rows]
        training = make_private(training, known_at, dataset.cuts, own, config)
    model = make_model(config.model, config, data.features)
    with reproducible(config.seed, config.threads):
        model.fit(training)
    return model


def _label_known_at(dataset: Dataset) -> NDArray[Any]:
    return dataset.next_state_at[dataset.train_rows]


def _kind(config: FitConfig) -> str:
    epsilon = config.privacy.epsilon
    return "without privacy" if epsilon is None else f"epsilon {epsilon:g}"


def lines(found: Sequence[Attacked], users: int) -> list[str]:
    """What the attacks found, for people."""
    said = [f"AUC of telling {users:,} users apart, half of them learned from; .5 is a coin"]
    for each in found:
        kind = "without privacy" if each.privacy is None else f"epsilon {each.privacy:g}"
        bound = "" if each.bound is None else f"; no attack can exceed {each.bound:.3f}"
        said.append(
            f"{kind}: loss threshold {each.loss_auc:.3f} (deviation {each.loss_auc_std:.3f}), "
            f"shadow models {each.shadow_auc:.3f} ({each.shadow_auc_std:.3f}){bound}"
        )
    return said
