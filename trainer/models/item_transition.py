"""Item transition: what followed the user's last item, and recent popularity behind it."""

from __future__ import annotations

from trainer.models.ranking_baseline import BackedOffBaseline


class ItemTransition(BackedOffBaseline):
    """A Markov chain of order 1 over items, counted until the instant."""

    name = "item_transition"
    part = "step"
