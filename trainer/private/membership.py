"""Membership inference: how well losses tell who was learned from.

Notes
-----
Two attackers, who both know a user's events and ask the model about them. One calls a user a member
where the loss is small (Yeom et al., 2018). The other also has models of his own, fitted on halves
of the users that he chose: they tell how large the user's loss is with him and without him, so that
who is merely easy to predict is no member for that (Carlini et al., 2022).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trainer.metrics import roc_auc

_LEAST_DEVIATION = 1e-6


def loss_threshold_auc(losses: NDArray[np.float64], members: NDArray[np.bool_]) -> float:
    """AUC of calling those with small losses members.

    Parameters
    ----------
    losses
        # [users], mean loss of the model under attack
    members
        # [users], who was learned from

    Examples
    --------
    >>> loss_threshold_auc(np.array([0.1, 0.2, 0.9]), np.array([True, True, False]))
    1.0
    """
    return roc_auc(-losses, members)


def shadow_scores(
    losses: NDArray[np.float64],
    shadow_losses: NDArray[np.float64],
    shadow_members: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """How much likelier a user's loss is with him than without him, in nats.

    Parameters
    ----------
    losses
        # [users], of the model under attack
    shadow_losses, shadow_members
        # [shadow models, users], their losses, and who was learned from by each

    Returns
    -------
    scores
        # [users]; 0 where the shadow models never saw him, or always

    Notes
    -----
    Losses are taken as normal, with means of the user's own and one deviation for all: with a few
    shadow models a deviation of one user is mostly noise.
    """
    with_him = _means(shadow_losses, shadow_members)
    without = _means(shadow_losses, ~shadow_members)
    expected = np.where(shadow_members, with_him, without)
    residuals = (shadow_losses - expected)[np.isfinite(expected)]
    variance = max(float(np.var(residuals)) if len(residuals) else 0.0, _LEAST_DEVIATION**2)
    scores = ((losses - without) ** 2 - (losses - with_him) ** 2) / (2 * variance)
    return np.where(np.isfinite(scores), scores, 0.0)


def shadow_auc(
    losses: NDArray[np.float64],
    members: NDArray[np.bool_],
    shadow_losses: NDArray[np.float64],
    shadow_members: NDArray[np.bool_],
) -> float:
    """AUC of :func:`shadow_scores`; parameters as there and in :func:`loss_threshold_auc`."""
    return roc_auc(shadow_scores(losses, shadow_losses, shadow_members), members)


def auc_bound(epsilon: float, delta: float = 0.0) -> float:
    """The largest AUC that any attack on a private model can have.

    Parameters
    ----------
    epsilon, delta
        Of the guarantee.

    Returns
    -------
    auc
        Area under ``min(1, delta + e^epsilon * x, 1 - e^-epsilon * (1 - delta - x))``, where x is
        the share of others that are called members (Kairouz, Oh and Viswanath, 2015).

    Examples
    --------
    >>> auc_bound(0.0)
    0.5
    """
    odds = math.exp(min(epsilon, 700.0))
    corner = (1 - delta) / (1 + odds)  # where the two lines meet
    height = delta + odds * corner
    top = 1 - delta  # from here on everybody can be called
    return (
        (delta + height) / 2 * corner + (height + 1) / 2 * (top - corner) + delta
        if odds < math.inf
        else 1.0
    )


def _means(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Means over the chosen models, by user; NaN where none is chosen."""
    counts = chosen.sum(axis=0)
    sums = np.where(chosen, values, 0.0).sum(axis=0)
    return np.divide(sums, counts, out=np.full(values.shape[1], np.nan), where=counts > 0)
