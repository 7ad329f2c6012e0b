"""Training of the gate: the weights under which what came next is likeliest."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.early_stopping import EarlyStopping
from trainer.ranking.gate import Gate

_LEAST = 1e-9  # of a target that no part reaches: it teaches nothing, and must not be infinite
_BATCH = 1024


class _Network(nn.Module):
    def __init__(self, inputs: int, width: int, parts: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, width)
        self.out = nn.Linear(width, parts)
        nn.init.zeros_(self.out.weight)  # training starts from equal parts
        nn.init.zeros_(self.out.bias)

    def forward(self, inputs: Tensor, known: Tensor) -> Tensor:
        logits = self.out(torch.tanh(self.hidden(inputs)))
        return torch.log_softmax(logits.masked_fill(~known, -torch.inf), dim=1)


def train_gate(
    inputs: NDArray[np.float64],
    totals: NDArray[np.float64],
    chances: NDArray[np.float64],
    stop: NDArray[np.bool_],
    seed: int,
    width: int = 16,
    epochs: int = 60,
    patience: int = 5,
) -> Gate:
    """Fit a gate; call inside :func:`trainer.training.reproducible`.

    Parameters
    ----------
    inputs
        # [rows, inputs], see :func:`trainer.ranking.gate.gate_inputs`
    totals
        # [rows, parts], 0 where a part says nothing
    chances
        # [rows, parts], probability of what came next under each part
    stop
        # [rows], those that choose the epoch; the others are learned from
    seed
        Of the first weights and of the order of the rows.
    """
    fit = ~stop
    mean, scale = inputs[fit].mean(axis=0), inputs[fit].std(axis=0)
    # What was the same everywhere says nothing, and must not speak when it is another.
    scale = np.where(scale > 1e-9, scale, np.inf)
    torch.manual_seed(seed)
    network = _Network(inputs.shape[1], width, totals.shape[1])
    none = np.zeros((0, 0))
    standardise = Gate(mean, scale, none, none, none, none).standardised
    tensors = (
        torch.from_numpy(standardise(inputs)).float(),
        torch.from_numpy(totals > 0),
        torch.from_numpy(np.log(np.maximum(chances, 1e-30))).float(),
    )
    fit_rows, stop_rows = (torch.from_numpy(np.flatnonzero(rows)) for rows in (fit, stop))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-3)
    stopping = EarlyStopping(network, patience)
    random = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = fit_rows[torch.randperm(len(fit_rows), generator=random)]
        for begin in range(0, len(order), _BATCH):
            loss = _loss(network, tensors, order[begin : begin + _BATCH])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if len(stop_rows):
            with torch.no_grad():
                held_out = float(_loss(network, tensors, stop_rows))
            if stopping.is_enough(held_out):
                break
    stopping.restore()
    values = {name: value.detach().double().numpy() for name, value in network.named_parameters()}
    return Gate(
        mean=mean,
        scale=np.where(np.isfinite(scale), scale, 1e300),
        hidden=values["hidden.weight"].T.copy(),
        hidden_bias=values["hidden.bias"],
        out=values["out.weight"].T.copy(),
        out_bias=values["out.bias"],
    )


def _loss(network: _Network, tensors: tuple[Tensor, ...], rows: Tensor) -> Tensor:
    inputs, known, chances = (tensor[rows] for tensor in tensors)
    likelihood = torch.logsumexp(network(inputs, known) + chances, dim=1)
    return -likelihood.clamp(min=float(np.log(_LEAST))).mean()
