"""Why a prediction is what it is, as far as the model itself can say.

With additive fusion a logit is a sum, and its parts by scale are what is shown. Every other reason
is a counterfactual that is computed: one thing is changed, the rest stays as it is, and the model
answers again. Those differences are no shares of the prediction and add up to nothing: two scales
that say the same can each be left out without a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainer.context import PRIOR, SEQUENCE
from trainer.examples import Examples
from trainer.features import scale_order
from trainer.models.served import Served
from trainer.rollups import dated
from trainer.sequences import MISSING, Sequences

_FIRST = (PRIOR, SEQUENCE)  # of the sources, before the scales


@dataclass(frozen=True)
class Reason:
    """One change, and what the model says then.

    Attributes
    ----------
    place
        Which event, counted from the user's first in the sequence; or ``None``.
    group
        Which scale, or group of columns without one; or ``None``.
    probabilities
        # [states], with the change
    """

    place: int | None
    group: str | None
    probabilities: NDArray[np.float64]


def without_events(model: Served, examples: Examples, most: int) -> list[Reason]:
    """Leave out each of the last events, one at a time, of what the encoder reads.

    The gap after an event that is left out bridges it. Features keep their values, those that
    counted the event included: only dbt could say what they would be.

    Parameters
    ----------
    model
        The model that predicted.
    examples
        One row.
    most
        How many events, from the newest back.

    Returns
    -------
    reasons
        Newest first.
    """
    examples = dated(examples) if model.config.encoder.coarse else examples
    length = int(examples.lengths[0])
    window = model.config.encoder.window
    places = list(range(length - 1, max(0, length - min(window, most)) - 1, -1))
    if not places:
        return []
    kept = np.stack([np.delete(np.arange(length), place) for place in places])
    rows = len(places)
    shortened = _take(examples.sequences, kept, places)
    changed = replace(
        examples.take(np.zeros(rows, dtype=np.int64)),
        sequences=shortened,
        owners=np.arange(rows),
        ends=shortened.offsets[1:],
    )
    answers = model.predict_proba(changed)
    return [Reason(place, None, answers[row]) for row, place in enumerate(places)]


def _take(sequences: Sequences, kept: NDArray[np.int64], left_out: Sequence[int]) -> Sequences:
    """One sequence a row of `kept`, each without one event of the only user of `sequences`."""
    flat = kept.reshape(-1)
    gaps = sequences.gaps_ms[flat].reshape(kept.shape)
    for row, place in enumerate(left_out):
        if place < kept.shape[1]:  # another event came after it
            before, after = sequences.gaps_ms[place], sequences.gaps_ms[place + 1]
            gaps[row, place] = MISSING if MISSING in (before, after) else before + after
    users = np.repeat(sequences.users, len(kept))
    offsets = np.arange(len(kept) + 1) * kept.shape[1]
    return replace(sequences.picked(users, offsets, flat), gaps_ms=gaps.reshape(-1))


def without_groups(model: Served, examples: Examples) -> list[Reason]:
    """Set all columns of a group of the context to their mean over the training part.

    Parameters
    ----------
    model
        The model that predicted.
    examples
        One row.

    Returns
    -------
    reasons
        From the shortest scale up, then the groups without a scale.
    """
    groups = group_columns(model)
    context = model.context.transform(examples)
    changed = np.repeat(context, len(groups), axis=0)
    for row, columns in enumerate(groups.values()):
        changed[row, columns] = model.means[columns]
    repeated = examples.take(np.zeros(len(groups), dtype=np.int64))
    answers = model.predict_encoded(repeated, changed)
    return [Reason(None, group, answers[row]) for row, group in enumerate(groups)]


def group_columns(model: Served) -> dict[str, NDArray[np.int64]]:
    """Columns of the context by group, see :attr:`trainer.context.ContextEncoder.groups`."""
    owners = np.array(model.context.groups)
    return {group: np.flatnonzero(owners == group) for group in _ordered(set(owners.tolist()))}


def parts_by_source(model: Served, examples: Examples) -> dict[str, NDArray[np.float64]]:
    """What each source adds to the logits of one row, which is all that they are made of.

    Returns
    -------
    parts
        # [states] by ``prior``, ``sequence``, each scale from the shortest up, and the rest; none
        without additive fusion
    """
    found = dict(zip(model.sources, model.logit_parts(examples)[0], strict=True))
    begin = [source for source in _FIRST if source in found]
    return {source: found[source] for source in (*begin, *_ordered(found.keys() - set(begin)))}


def _ordered(groups: Iterable[str]) -> list[str]:
    """Scales from the shortest up, then what has none."""
    return sorted(groups, key=scale_order)
