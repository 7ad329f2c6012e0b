"""Chunks cover every position once and encode what a step-by-step pass encodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.chunks import batches, make_chunks, make_windows
from trainer.config import EncoderConfig
from trainer.models.network import SequenceEncoder

LENGTHS = np.array([1, 3, 250, 100, 101, 99, 320, 7])
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
FIRST = np.repeat(OFFSETS[:-1], LENGTHS)
LAST = np.arange(OFFSETS[-1])


@pytest.mark.parametrize(("chunk", "burn_in"), [(100, 50), (1, 0), (7, 3), (5000, 50)])
@pytest.mark.parametrize("seed", [None, 0])
def test_every_position_is_scored_once_with_enough_history(
    chunk: int, burn_in: int, seed: int | None
) -> None:
    chunks = make_chunks(FIRST, LAST, chunk, burn_in)
    random = None if seed is None else np.random.default_rng(seed)
    scored = []
    for batch in batches(chunks, LAST, 4, random):
        own = batch.positions[batch.rows, batch.steps]
        assert (own == LAST[batch.examples]).all()
        starts = batch.positions[batch.rows, 0]
        assert (starts >= FIRST[batch.examples]).all()  # never another user's events
        history = LAST[batch.examples] - starts
        available = LAST[batch.examples] - FIRST[batch.examples]
        assert (history >= np.minimum(available, burn_in)).all()
        scored.append(batch.examples)
    assert sorted(np.concatenate(scored)) == LAST.tolist()


def test_several_instants_may_share_their_last_event() -> None:
    first, last = np.zeros(4, dtype=int), np.array([5, 5, 2, 5])
    (batch,) = batches(make_chunks(first, last, 4, 2), last, 8)
    assert sorted(batch.examples) == [0, 1, 2, 3]
    assert (batch.positions[batch.rows, batch.steps] == last[batch.examples]).all()


def test_windows_are_the_last_events_of_the_user() -> None:
    positions, lengths = make_windows(FIRST, LAST, 50)
    assert (lengths == np.minimum(LAST - FIRST + 1, 50)).all()
    rows = np.arange(len(LAST))
    assert (positions[rows, lengths - 1] == LAST).all()
    assert (positions[:, 0] >= FIRST).all()


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_chunks_equal_a_step_by_step_pass(cell: str) -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(EncoderConfig(cell=cell, hidden=12), 4, 9, 6, 3, 2).eval()
    count = int(OFFSETS[-1])
    words = [torch.randint(0, size + 1, (count,)) for size in (4, 9, 6, 3)]
    events = (*words, torch.randn(count, 2))

    def encode(positions: torch.Tensor, state: object = None) -> tuple[torch.Tensor, object]:
        return encoder(*(each[positions] for each in events), state)

    chunks = make_chunks(FIRST, LAST, 100, 50)
    with torch.no_grad():
        for batch in batches(chunks, LAST, 3, np.random.default_rng(1)):
            hidden, _ = encode(torch.from_numpy(batch.positions))
            for row in np.unique(batch.rows):
                state, steps = None, []
                for position in batch.positions[row]:
                    one, state = encode(torch.tensor([[position]]), state)
                    steps.append(one[0, 0])
                chosen = batch.steps[batch.rows == row]
                torch.testing.assert_close(
                    hidden[row, chosen], torch.stack(steps)[chosen], rtol=1e-5, atol=1e-6
                )


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_order_matters_to_the_encoder(cell: str) -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(EncoderConfig(cell=cell), 4, 0, 0, 0, 1).eval()
    forward = torch.tensor([[1, 2, 3, 4]])
    numbers = torch.zeros(1, 4, 1)
    with torch.no_grad():
        one, _ = encoder(forward, forward, forward, forward, numbers)
        other, _ = encoder(forward.flip(1), forward, forward, forward, numbers)
    assert not torch.allclose(one[0, -1], other[0, -1], atol=1e-4)
