"""The privacy of one fit: its budget, what was released under it, and what that promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.config import PrivacyConfig
from trainer.private.accounting import Mechanism, epsilon, gaussian_noise, noise_within
from trainer.private.noise import gaussian

COVERS = (
    "the weights of the model and the counts of the baselines beside it, of every user with an "
    "event in the training part: whoever has them learns at most this much about whether any one "
    "user, with his whole history, was among those learned from"
)
NOT_COVERED = (
    "metrics.json, split.json and the predictions for a user, which are exact",
    "the number of training users, and what the dataset file declares (actions, cuts), which are "
    "taken as public",
    "one person behind several user ids: he is as many users",
    "earlier and later runs on the same users: their losses add up",
    "the choice of this configuration, if other fits on the same users led to it",
)


@dataclass
class Guarantee:
    """A budget, and what is released under it.

    Attributes
    ----------
    config
        The budget.
    users
        Users with a record.
    counts_only
        Whether counting is all that the run does, so that it has the whole budget.
    released
        The mechanisms applied so far.
    """

    config: PrivacyConfig
    users: int
    counts_only: bool = False
    released: list[Mechanism] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.users and self.config.delta >= 1 / self.users:
            raise BadInput(
                f"privacy.delta={self.config.delta:g}: publishing one of the {self.users:,} users "
                "whole would keep to it; take less than one over the number of users"
            )

    @property
    def budget(self) -> float:
        """The epsilon that the run may cost."""
        assert self.config.epsilon is not None
        return self.config.epsilon

    @property
    def rate(self) -> float:
        """Chance of a user to be in a step."""
        return min(1.0, self.config.users / max(self.users, 1))

    @property
    def spent(self) -> float:
        """What was spent so far."""
        return epsilon(self.released, self.config.delta, self.config.accountant)

    def release_sum(self, contributions: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
        """Sum what users contribute, each cut to a length, with noise.

        Parameters
        ----------
        contributions
            # [users, cells]
        bound
            Euclidean length that a user's row is shortened to.

        Returns
        -------
        total
            # [cells]

        Notes
        -----
        A Gaussian mechanism of deviation s takes 1 / s^2 of a budget that noise of s0 alone would
        use up as 1 / s0^2; ``privacy.counts`` is that share.
        """
        noise = self._noise_of_sum()
        self.released.append(Mechanism(noise))
        lengths = np.linalg.norm(contributions, axis=1, keepdims=True)
        cut = contributions * np.minimum(1.0, bound / np.maximum(lengths, 1e-12))
        return cut.sum(axis=0) + gaussian(contributions.shape[1], noise * bound)

    def _noise_of_sum(self) -> float:
        config = self.config
        if self.counts_only:
            return noise_within(self.budget, config.delta, 1.0, 1, config.accountant)
        return gaussian_noise(self.budget, config.delta) / config.counts**0.5

    def noise_of_steps(self, steps: int) -> float:
        """The noise of DP-SGD with which the rest of the budget lasts for some steps."""
        config = self.config
        return noise_within(
            self.budget, config.delta, self.rate, steps, config.accountant, self.released
        )

    def to_json(self) -> dict[str, Any]:
        """What the run says of its privacy."""
        return {
            "epsilon": round(self.spent, 4),
            "budget": self.budget,
            "delta": self.config.delta,
            "unit": "user",
            "accountant": self.config.accountant,
            "max_grad_norm": self.config.max_grad_norm,
            "users": self.users,
            "mechanisms": [
                {"noise_multiplier": each.noise, "sample_rate": each.rate, "steps": each.times}
                for each in self.released
            ],
            "covers": COVERS,
            "not_covered": list(NOT_COVERED),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        steps = [each for each in self.released if each.times > 1]
        how = "".join(
            f"; {each.times:,} steps over {each.rate:.1%} of the users at noise {each.noise:.2f}, "
            f"gradients cut to {self.config.max_grad_norm:g}"
            for each in steps
        )
        return [
            f"private: epsilon {self.spent:.2f} of {self.budget:g} at delta {self.config.delta:g} "
            f"for each of {self.users:,} users ({self.config.accountant} accountant{how})",
            f"it covers {COVERS}",
            *(f"it does not cover {each}" for each in NOT_COVERED),
        ]
