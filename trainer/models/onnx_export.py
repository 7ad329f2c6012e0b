"""Export of a fitted network to ONNX: one graph for the encoder, and one for each head."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.models.heads import ConversionHead, NextActionHead
from trainer.models.network import Network, RollupEncoder, SequenceEncoder
from trainer.models.onnx_network import (
    CONVERSION,
    CONVERSION_INPUTS,
    ENCODER,
    ENCODER_INPUTS,
    HEAD,
    HEAD_INPUTS,
    LOGITS,
    NEXT_TIME,
    PARTS,
    QUANTILES,
    ROLLUPS,
    STATES,
    coarse_graph,
)
from trainer.rollups import EXTRA

_OPSET = 17
# Shapes of the tracing example. They are no sizes of the graph: both axes are dynamic.
_BATCH, _TIME = 2, 3


class _StatefulEncoder(nn.Module):
    """The encoder with each part of its state as an input and an output of its own."""

    def __init__(self, encoder: SequenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        events, state = given[: len(ENCODER_INPUTS)], given[len(ENCODER_INPUTS) :]
        encoded, after = self.encoder(*events, state if len(state) > 1 else state[0])
        return (encoded, *(after if isinstance(after, tuple) else (after,)))


class _HeadWithParts(nn.Module):
    """A head of additive fusion, with the parts of its logits as a second output."""

    def __init__(self, head: NextActionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, encoded: Tensor, context: Tensor, closed: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(encoded, context, closed), self.head.parts(encoded, context)


class _Calibrated(nn.Module):
    """A conversion head that answers calibrated."""

    def __init__(self, head: ConversionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, encoded: Tensor, context: Tensor) -> Tensor:
        return self.head.calibrated(encoded, context)


def export_onnx(network: Network, numbers: int, context: int, folder: Path) -> None:
    """Write ``encoder.onnx``, a graph for each coarser period, and ``<task>.onnx`` for each head.

    Parameters
    ----------
    network
        The fitted network; it is left in the mode it was in.
    numbers, context
        Numbers of an event, and columns of the context.
    folder
        Where the graphs go.

    Notes
    -----
    The exporter that traces is used and not the one of ``torch.export``, which needs one more
    package and says more. The same weights give the same bytes.
    """
    training = network.training
    network.eval()
    try:
        cell = network.encoder.cell
        states = STATES[: 2 if isinstance(cell, nn.LSTM) else 1]
        words = [torch.zeros(_BATCH, _TIME, dtype=torch.long) for _ in ENCODER_INPUTS[:-1]]
        zero = torch.zeros(cell.num_layers, _BATCH, cell.hidden_size)
        sequence = {0: "batch", 1: "time"}
        after = [f"{name}_after" for name in states]
        _export(
            _StatefulEncoder(network.encoder),
            (*words, torch.zeros(_BATCH, _TIME, numbers), *(zero for _ in states)),
            folder / ENCODER,
            [*ENCODER_INPUTS, *states],
            ["encoded", *after],
            dict.fromkeys((*ENCODER_INPUTS, "encoded"), sequence)
            | dict.fromkeys((*states, *after), {1: "batch"}),
        )
        width = context
        for period, encoder in network.coarse.items():
            assert isinstance(encoder, RollupEncoder)
            own = encoder.cell
            width += own.hidden_size + EXTRA
            _export(
                encoder,
                (torch.zeros(_BATCH, _TIME, own.input_size),),
                folder / coarse_graph(period),
                [ROLLUPS],
                ["encoded"],
                dict.fromkeys((ROLLUPS, "encoded"), sequence),
            )
        rows = (
            torch.zeros(_BATCH, cell.hidden_size),
            torch.zeros(_BATCH, width),
            torch.zeros(_BATCH, dtype=torch.bool),
        )
        if network.head is not None:
            additive = bool(network.head.sources)
            outputs = [LOGITS, PARTS] if additive else [LOGITS]
            _export(
                _HeadWithParts(network.head) if additive else network.head,
                rows,
                folder / HEAD,
                list(HEAD_INPUTS),
                outputs,
                dict.fromkeys((*HEAD_INPUTS, *outputs), {0: "rows"}),
            )
        if network.conversion is not None:
            _export(
                _Calibrated(network.conversion),
                rows[:2],
                folder / CONVERSION,
                list(CONVERSION_INPUTS),
                [LOGITS],
                dict.fromkeys((*CONVERSION_INPUTS, LOGITS), {0: "rows"}),
            )
        if network.next_time is not None:
            _export(
                network.next_time,
                rows[:2],
                folder / NEXT_TIME,
                list(CONVERSION_INPUTS),
                [QUANTILES],
                dict.fromkeys((*CONVERSION_INPUTS, QUANTILES), {0: "rows"}),
            )
    finally:
        network.train(training)


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    with warnings.catch_warnings():
        # It warns of its own age, and of fixed sizes in checks of shapes that leave no node behind.
        # What it gives is held equal to torch at other sizes by the tests.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
