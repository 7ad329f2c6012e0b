"""The exported network in ONNX Runtime: events to hidden states, and those to logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from trainer.rollups import RollupBatch

ENCODER, HEAD, CONVERSION = "encoder.onnx", "head.onnx", "conversion.onnx"
NEXT_TIME = "next_time.onnx"
ENCODER_INPUTS = ("actions", "items", "categories", "locations", "numbers")
STATES = ("hidden", "cell")  # the first alone, where the cell has one state
HEAD_INPUTS = ("encoded", "context", "closed")
CONVERSION_INPUTS = HEAD_INPUTS[:2]
ROLLUPS = "rollups"
LOGITS, PARTS, QUANTILES = "logits", "parts", "quantiles"


def coarse_graph(period: str) -> str:
    """File of the graph of a coarser period."""
    return f"coarse_{period}.onnx"


State = tuple[NDArray[np.float32], ...]


class OnnxNetwork:
    """Encoder and heads of a fitted network; safe to share between threads.

    Parameters
    ----------
    folder
        Where :func:`trainer.models.onnx_export.export_onnx` wrote the graphs.
    head, conversion, next_time
        Whether the network has this head.
    coarse
        The coarser periods that have a network of their own, in order.
    """

    def __init__(
        self,
        folder: Path,
        head: bool = True,
        conversion: bool = False,
        next_time: bool = False,
        coarse: Sequence[str] = (),
    ) -> None:
        self._encoder = _session(folder / ENCODER)
        self._head = _session(folder / HEAD) if head else None
        self._conversion = _session(folder / CONVERSION) if conversion else None
        self._next_time = _session(folder / NEXT_TIME) if next_time else None
        self._coarse = [_session(folder / coarse_graph(period)) for period in coarse]
        inputs = {value.name: value.shape for value in self._encoder.get_inputs()}
        self._inputs = set(inputs)
        # A state is [layers, batch, hidden], and its batch is the dynamic axis.
        self._states = {name: inputs[name] for name in STATES if name in inputs}

    def start(self, batch: int) -> State:
        """The state before the first event; each part is # [layers, batch, hidden]."""
        return tuple(
            np.zeros((layers, batch, hidden), dtype=np.float32)
            for layers, _, hidden in self._states.values()
        )

    def encode(
        self,
        actions: NDArray[np.int64],
        items: NDArray[np.int64],
        categories: NDArray[np.int64],
        locations: NDArray[np.int64],
        numbers: NDArray[np.float32],
        state: State | None = None,
    ) -> tuple[NDArray[np.float32], State]:
        """Encode events.

        Parameters
        ----------
        actions, items, categories, locations
            # [batch, time]
        numbers
            # [batch, time, numbers]
        state
            What the previous call returned, to go on from there; ``None`` starts anew.

        Returns
        -------
        encoded
            # [batch, time, hidden]
        state
            After the last event, padding included.
        """
        events = (actions, items, categories, locations, numbers)
        given = dict(zip(ENCODER_INPUTS, events, strict=True))
        given |= zip(self._states, state or self.start(len(actions)), strict=True)
        # A network that ignores items, or categories, has no such input.
        feed = {name: value for name, value in given.items() if name in self._inputs}
        encoded, *after = self._encoder.run(None, feed)
        return encoded, tuple(after)

    def whole_context(
        self, context: NDArray[np.float32], batches: Sequence[RollupBatch]
    ) -> NDArray[np.float32]:
        """The context with the states of the coarser periods behind it, as the heads read it.

        Parameters
        ----------
        context
            # [rows, columns]
        batches
            The rows' roll-ups, a period each.
        """
        parts = [context]
        for session, batch in zip(self._coarse, batches, strict=True):
            hidden = session.run(None, {ROLLUPS: batch.numbers})[0]
            last = hidden[np.arange(len(hidden)), np.maximum(batch.lengths - 1, 0)]
            last = np.where(batch.lengths[:, None] > 0, last, np.float32(0.0))
            parts += [last[batch.own], batch.ages]
        return np.concatenate(parts, axis=1) if batches else context

    def logits(
        self,
        encoded: NDArray[np.float32],
        context: NDArray[np.float32],
        closed: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Logits of the next state; # [rows, states], see :class:`NextActionHead`."""
        return self._ask_head(LOGITS, encoded, context, closed)

    def parts(
        self,
        encoded: NDArray[np.float32],
        context: NDArray[np.float32],
        closed: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """What each source adds to the logits; # [rows, sources, states]; additive fusion only."""
        return self._ask_head(PARTS, encoded, context, closed)

    def conversion_logits(
        self, encoded: NDArray[np.float32], context: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Calibrated logits of a conversion; # [rows, horizons]."""
        assert self._conversion is not None
        given = dict(zip(CONVERSION_INPUTS, (encoded, context), strict=True))
        return self._conversion.run([LOGITS], given)[0]

    def quantiles(
        self, encoded: NDArray[np.float32], context: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Quantiles of log1p of the seconds to the next event; # [rows, levels]."""
        assert self._next_time is not None
        given = dict(zip(CONVERSION_INPUTS, (encoded, context), strict=True))
        return self._next_time.run([QUANTILES], given)[0]

    def _ask_head(self, output: str, *given: NDArray) -> NDArray[np.float32]:
        assert self._head is not None
        return self._head.run([output], dict(zip(HEAD_INPUTS, given, strict=True)))[0]


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread a request: the graph is small, and requests run beside each other anyway.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
