"""Item popularity: what everybody does lately, the same for everyone."""

from __future__ import annotations

from trainer.models.ranking_baseline import BackedOffBaseline


class ItemPopularity(BackedOffBaseline):
    """Events of each item in the window, of a day to all, that held-out rows choose."""

    name = "item_popularity"
    part = None
