"""Reasons of one prediction: by scale, event and own transition, and what would be without each.

Notes
-----
A contribution is of the logit of one state, and reads as evidence for it. With ``fusion.kind:
additive`` the scales' contributions are the network's own parts and sum exactly to its logit. With
another fusion there is no such sum, and none is made up.

What the user did after his current state until now, ``transition_counts_all``, enters as his own
row of the transition matrix, backed off to everyone's. Its counts are taken out one by one. The
features of the scales stay as they are, also those that count transitions within a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.chunks import make_windows
from trainer.columns import Columns as C
from trainer.examples import Examples
from trainer.feature_rows import as_table
from trainer.models.recurrent import Recurrent
from trainer.rollups import dated
from trainer.sequences import MISSING, Sequences
from trainer.training import settled
from trainer.user_rows import own_counts

_STEPS = 128  # of the path that integrated gradients sum over


@dataclass(frozen=True)
class EventReason:
    """What one event does to one prediction.

    Attributes
    ----------
    place
        0 is the last event, 1 the one before it.
    action
        What it was.
    contribution
        To the logit, by integrated gradients.
    without
        Probability of the state, recomputed with a sequence that lacks the event.
    """

    place: int
    action: str
    contribution: float
    without: float


@dataclass(frozen=True)
class TransitionReason:
    """What the user's own transitions to one state do to one prediction.

    Attributes
    ----------
    before, after
        The current state, and the one that followed it.
    count
        How often it did, until the instant.
    contribution
        To the logit: what it is less what it is without them.
    without
        Probability of the state, recomputed as if these transitions had not been counted.
    """

    before: str
    after: str
    count: int
    contribution: float
    without: float


@dataclass(frozen=True)
class Reasons:
    """Why a state has its probability.

    Attributes
    ----------
    state, probability, logit
        What is explained.
    scales
        Contribution to the logit by source: ``prior``, ``sequence``, each scale, and
        ``user_row:counted`` where the user's own row is added as it is; empty where the fusion is
        not additive.
    events
        The last events, the latest first.
    transitions
        The user's own ones out of the current state, what moves most first; none where he has
        none, or where his own row does not enter (``features.user_row=false``).
    without_own_row
        Probability of the state, recomputed with everyone's row in place of his own; ``None`` where
        there are no `transitions`.
    baseline_logit
        Logit of the same context after events that say nothing.
    gap
        What the events' contributions miss of ``logit - baseline_logit``.
    """

    state: str
    probability: float
    logit: float
    scales: dict[str, float]
    events: tuple[EventReason, ...]
    transitions: tuple[TransitionReason, ...]
    without_own_row: float | None
    baseline_logit: float
    gap: float


def explain(model: Recurrent, example: Examples, state: str | None = None) -> Reasons:
    """Explain one row's prediction.

    Parameters
    ----------
    model
        A fitted sequence model with a head of the next action; it is asked in evaluation mode.
    example
        One row with history.
    state
        Which state's probability; the most probable one without it.
    """
    chances = model.predict_proba(example)[0]
    target = int(chances.argmax()) if state is None else model.states.index(state)
    network = model.network.eval()
    head = network.head
    assert head is not None
    example = dated(example) if model.config.encoder.coarse else example
    tensors = settled(network, model.tensors(example))
    context, closed = tensors.context, tensors.closed
    places, lengths = make_windows(tensors.first, tensors.last, model.config.encoder.window)
    positions = torch.from_numpy(places[:, : int(lengths[0])])

    def logit(embedded: Tensor) -> Tensor:
        hidden, _ = network.encoder.cell(embedded)
        rows = len(embedded)
        encoded = hidden[:, -1]
        logits = head(encoded, context.expand(rows, -1), closed.expand(rows))
        return logits[:, target]

    with torch.no_grad():
        embedded = network.encoder.embed(*tensors.events(positions))
        encoded = network.encoder.cell(embedded)[0][:, -1]
        found = float(logit(embedded))
        baseline = float(logit(torch.zeros_like(embedded)))
        scales = scale_contributions(model, encoded, context, target)
        transitions, without_own_row = transition_reasons(model, example, encoded, target)
    contributions = integrated_gradients(logit, embedded)
    actions = np.array(example.sequences.actions.to_pylist(), dtype=object)[positions[0].numpy()]
    without = without_each(model, example, positions[0].numpy())[:, target]
    events = [
        EventReason(back, str(actions[-1 - back]), float(by_event), float(without[-1 - back]))
        for back, by_event in enumerate(contributions[::-1])
    ]
    return Reasons(
        state=model.states[target],
        probability=float(chances[target]),
        logit=found,
        scales=scales,
        events=tuple(events),
        transitions=transitions,
        without_own_row=without_own_row,
        baseline_logit=baseline,
        gap=float(found - baseline - contributions.sum()),
    )


def scale_contributions(
    model: Recurrent, encoded: Tensor, context: Tensor, target: int
) -> dict[str, float]:
    """Parts of one logit by source, which sum to it; empty without additive fusion."""
    head = model.network.head
    if head is None or not head.sources:
        return {}
    parts = head.parts(encoded, context)[0, :, target].tolist()
    return dict(zip(head.sources, parts, strict=True))


def transition_reasons(
    model: Recurrent, example: Examples, encoded: Tensor, target: int
) -> tuple[tuple[TransitionReason, ...], float | None]:
    """What each of the user's own transitions out of the current state does, and all of them.

    Parameters
    ----------
    model, example
        See :func:`explain`.
    encoded
        # [1, hidden], the encoded sequence, which no count changes
    target
        The state that is explained.

    Returns
    -------
    transitions
        See :class:`Reasons`.
    without_own_row
        See :class:`Reasons`.
    """
    size, head = len(model.states), model.network.head
    assert head is not None
    if model.context.rows is None:
        return (), None
    counts = own_counts(example, size)[0]
    followed = np.flatnonzero(counts)
    if not len(followed):
        return (), None
    state = int(example.states[0])
    # As counted, then without the transitions to each state, then without any.
    left = np.tile(counts, (len(followed) + 2, 1))
    left[np.arange(len(followed)) + 1, followed] = 0
    left[-1] = 0
    several = with_own_counts(example, left, state)
    context = model.whole_context(several)
    closed = torch.from_numpy(several.states == size - 1)
    logits = head(encoded.expand(len(left), -1), context, closed)
    chances = torch.softmax(logits.double(), dim=-1)[:, target].tolist()
    shifts = (logits[0, target] - logits[:, target]).tolist()
    found = [
        TransitionReason(
            before=model.states[state],
            after=model.states[after],
            count=int(counts[after]),
            contribution=shifts[place],
            without=chances[place],
        )
        for place, after in enumerate(followed, start=1)
    ]
    found.sort(key=lambda reason: (-abs(reason.contribution), reason.after))
    return tuple(found), chances[-1]


def with_own_counts(example: Examples, counts: NDArray[np.int64], state: int) -> Examples:
    """One row several times, each with another count of the user's transitions out of a state.

    Parameters
    ----------
    example
        One row.
    counts
        # [rows, states]
    state
        Out of which the counts are.
    """
    rows, size = counts.shape
    several = example.take(np.zeros(rows, dtype=np.int64)).loaded()
    features = as_table(several.features)
    column = features[C.TRANSITION_COUNTS].combine_chunks()
    matrices = column.flatten().to_numpy().reshape(rows, size, size).copy()
    matrices[:, state] = counts
    place = features.column_names.index(C.TRANSITION_COUNTS)
    changed = pa.array(matrices.reshape(rows, -1).tolist(), column.type)
    features = features.set_column(place, C.TRANSITION_COUNTS, changed)
    return replace(several, features=features)


def integrated_gradients(
    logit: Callable[[Tensor], Tensor], embedded: Tensor
) -> NDArray[np.float64]:
    """Contribution of each event to the logit, from a path out of zeros; # [events].

    Source: Sundararajan et al. 2017, "Axiomatic attribution for deep networks", by captum.
    """
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(logit)
    found = method.attribute(
        embedded, torch.zeros_like(embedded), n_steps=_STEPS, internal_batch_size=_STEPS
    )
    return found.detach().double().sum(dim=-1)[0].numpy()


def without_each(
    model: Recurrent, example: Examples, positions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Probabilities with one event of the sequence left out; # [events, states].

    The features of the scales stay as they are: they are counted elsewhere, and what is asked is
    what the order of events says. The gap after the missing event reaches over it.
    """
    kept = [np.delete(positions, place) for place in range(len(positions))]
    sequences = _subsequences(example.sequences, kept, int(positions[0]))
    rows = len(kept)
    one = np.zeros(rows, dtype=np.int64)
    several = replace(
        example.take(one), sequences=sequences, owners=np.arange(rows), ends=sequences.offsets[1:]
    )
    return model.predict_proba(several)


def _subsequences(sequences: Sequences, kept: Sequence[NDArray[np.int64]], begin: int) -> Sequences:
    """One user a list of flat positions, out of a window that begins at one of them."""
    places = np.concatenate(kept).astype(np.int64)
    lengths = np.array([len(each) for each in kept])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    gaps = sequences.gaps_ms[places].copy()
    for row, each in enumerate(kept):
        skipped = np.flatnonzero(np.diff(each) > 1)
        for place in skipped:
            over = slice(each[place] + 1, each[place + 1] + 1)
            gaps[offsets[row] + place + 1] = sequences.gaps_ms[over].sum()
        if len(each) and each[0] > begin and sequences.gaps_ms[begin] == MISSING:
            gaps[offsets[row]] = MISSING  # without the first event, the second is the first
    users = np.arange(len(kept)).astype(str).astype(object)
    return replace(sequences.picked(users, offsets, places), gaps_ms=gaps)
