"""Reasons of one prediction: by scale, by event, and what would be without an event.

Notes
-----
A contribution is of the logit of one state, and reads as evidence for it. With ``fusion.kind:
additive`` the scales' contributions are the network's own parts and sum exactly to its logit. With
another fusion there is no such sum, and none is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.chunks import make_windows
from trainer.examples import Examples
from trainer.models.recurrent import Recurrent
from trainer.sequences import MISSING, Sequences

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
    tensors = model.tensors(example)
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
        embedded = network.encoder.embed(
            tensors.actions[positions], tensors.categories[positions], tensors.numbers[positions]
        )
        encoded = network.encoder.cell(embedded)[0][:, -1]
        found = float(logit(embedded))
        baseline = float(logit(torch.zeros_like(embedded)))
        scales = scale_contributions(model, encoded, context, target)
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
    import pyarrow as pa

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
    return Sequences(
        users=np.arange(len(kept)).astype(str).astype(object),
        offsets=offsets,
        actions=sequences.actions.take(pa.array(places)),
        categories=sequences.categories.take(pa.array(places)),
        gaps_ms=gaps,
        durations_ms=sequences.durations_ms[places],
        hours=sequences.hours[places],
    )
