"""User frequency: what the user did most, and recent popularity behind it."""

from __future__ import annotations

from trainer.models.ranking_baseline import BackedOffBaseline


class UserFrequency(BackedOffBaseline):
    """The user's own counts of each item until the instant."""

    name = "user_frequency"
    part = "own_all"
