"""A recurrent cell unrolled over its own weights, with the gradient of each record apart.

Notes
-----
The weights of a cell act on every step of every record, so autograd gives their gradient summed
over all records. What it also gives, when asked, is the gradient at the gates, [records, time,
gates], and a record's gradient of a weight is the product of these with what the weight was
multiplied by: one matrix product a layer, instead of a gradient of each record by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class UnrolledCell:
    """One forward pass of ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, and its gradients by record.

    Parameters
    ----------
    cell
        The cell, batch first and in one direction, as :class:`trainer.models.network` makes it.
    """

    def __init__(self, cell: nn.RNNBase) -> None:
        self.cell = cell
        self.gates: list[Tensor] = []  # of each layer, # [records, time, gates]
        self._inputs: list[Tensor] = []  # # [records, time, width]
        self._states: list[Tensor] = []  # before each step, # [records, time, hidden]
        self._resets: list[Tensor] = []  # of a GRU, # [records, time, hidden]

    def forward(self, inputs: Tensor) -> Tensor:
        """Encode records from a zero state.

        Parameters
        ----------
        inputs
            # [records, time, width]

        Returns
        -------
        hidden
            # [records, time, hidden], as the cell itself gives it
        """
        cell = self.cell
        for layer in range(cell.num_layers):
            weights = [getattr(cell, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh")]
            biases = [getattr(cell, f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")]
            self._inputs.append(inputs.detach())
            gates = functional.linear(inputs, weights[0], biases[0])
            self.gates.append(gates)
            inputs = self._run(gates, weights[1], biases[1])
            if layer + 1 < cell.num_layers:
                inputs = functional.dropout(inputs, cell.dropout, cell.training)
        return inputs

    def gradients(self, at_gates: list[Tensor]) -> dict[str, Tensor]:
        """Gradients of every weight by record; # [records, *shape of the weight].

        Parameters
        ----------
        at_gates
            Gradients at :attr:`gates`.
        """
        found = {}
        for layer, at_inputs in enumerate(at_gates):
            at_states = at_inputs
            if isinstance(self.cell, nn.GRU):
                size = self.cell.hidden_size
                reset, update, new = at_inputs.split(size, dim=-1)
                at_states = torch.cat([reset, update, new * self._resets[layer]], dim=-1)
            found[f"weight_ih_l{layer}"] = at_inputs.transpose(1, 2) @ self._inputs[layer]
            found[f"weight_hh_l{layer}"] = at_states.transpose(1, 2) @ self._states[layer]
            found[f"bias_ih_l{layer}"] = at_inputs.sum(dim=1)
            found[f"bias_hh_l{layer}"] = at_states.sum(dim=1)
        return found

    def _run(self, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        hidden = gates.new_zeros(len(gates), self.cell.hidden_size)
        memory = hidden
        states, before, resets = [], [], []
        for step in gates.unbind(dim=1):
            before.append(hidden)
            own = functional.linear(hidden, weight, bias)
            if isinstance(self.cell, nn.LSTM):
                let_in, forget, new, out = (step + own).chunk(4, dim=-1)
                memory = torch.sigmoid(forget) * memory + torch.sigmoid(let_in) * torch.tanh(new)
                hidden = torch.sigmoid(out) * torch.tanh(memory)
            elif isinstance(self.cell, nn.GRU):
                reset, update, new = step.chunk(3, dim=-1)
                own_reset, own_update, own_new = own.chunk(3, dim=-1)
                reset, update = torch.sigmoid(reset + own_reset), torch.sigmoid(update + own_update)
                new = torch.tanh(new + reset * own_new)
                hidden = (1 - update) * new + update * hidden
                resets.append(reset.detach())
            else:
                hidden = torch.tanh(step + own)
            states.append(hidden)
        self._states.append(torch.stack(before, dim=1).detach())
        if resets:
            self._resets.append(torch.stack(resets, dim=1))
        return torch.stack(states, dim=1)
