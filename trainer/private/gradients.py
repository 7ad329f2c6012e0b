"""The gradient of each record by itself, of every weight of a network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional

from trainer.losses import LEAST_WEIGHT
from trainer.models.network import Network, SequenceEncoder
from trainer.private.cells import UnrolledCell
from trainer.private.records import RecordBatch
from trainer.tensors import Targets, Tensors


def record_gradients(
    network: Network, tensors: Tensors, targets: Targets, batch: RecordBatch
) -> tuple[dict[str, Tensor], Tensor]:
    """Gradients of each record's mean loss.

    Parameters
    ----------
    network
        With a head of the next action and no other.
    tensors, targets
        The data, and how much each label counts.
    batch
        The records.

    Returns
    -------
    gradients
        By name of the weight, # [records, *shape of the weight]
    losses
        # [records]
    """
    device = tensors.actions.device
    positions = torch.from_numpy(batch.positions).to(device)
    examples = torch.from_numpy(batch.examples).to(device)
    encoder, head = network.encoder, network.head
    assert head is not None
    actions, *words, numbers = tensors.events(positions)
    items, categories, locations = encoder.hide(*words)
    inputs = encoder.vectors(actions, items, categories, locations, numbers)
    inputs = inputs.detach().requires_grad_()
    cell = UnrolledCell(encoder.cell)
    hidden = cell.forward(inputs)
    weights = targets.next_action[examples] * torch.from_numpy(batch.real).to(device)
    given = (
        *(tensors.context[examples], tensors.closed[examples]),
        *(tensors.labels[examples].clamp(min=0), weights),
    )

    def loss_of(
        parameters: dict[str, Tensor], states: Tensor, steps: Tensor, *row: Tensor
    ) -> Tensor:
        context, closed, labels, weight = row
        logits = functional_call(head, parameters, (states[steps], context, closed))
        losses = functional.cross_entropy(logits, labels, reduction="none")
        # A padding's label may be impossible for who has left: infinity times 0 is no number.
        losses = torch.where(weight > 0, losses, 0.0)
        return (losses * weight).sum() / weight.sum().clamp(min=LEAST_WEIGHT)

    own = {name: value.detach() for name, value in head.named_parameters()}
    by_record = vmap(
        grad_and_value(loss_of, argnums=(0, 1)), in_dims=(None, *[0] * 6), randomness="different"
    )
    steps = torch.from_numpy(batch.steps).to(device)
    (of_head, at_hidden), losses = by_record(own, hidden.detach(), steps, *given)
    at_inputs, *at_gates = torch.autograd.grad(hidden, [inputs, *cell.gates], at_hidden)
    found = {f"head.{name}": gradient for name, gradient in of_head.items()}
    found |= {f"encoder.cell.{name}": each for name, each in cell.gradients(at_gates).items()}
    found |= _of_embeddings(encoder, actions, categories, at_inputs)
    return found, losses.detach()


def _of_embeddings(
    encoder: SequenceEncoder, actions: Tensor, categories: Tensor, at_inputs: Tensor
) -> dict[str, Tensor]:
    # Private training has no vocabulary of items and of locations, see trainer.private.rules.
    assert encoder.item is None and encoder.location is None
    width = encoder.action.embedding_dim
    found = {"encoder.action.weight": _scattered(actions, at_inputs[..., :width], encoder.action)}
    if encoder.category is not None:
        own = at_inputs[..., -encoder.category.embedding_dim :]
        found["encoder.category.weight"] = _scattered(categories, own, encoder.category)
    return found


def _scattered(places: Tensor, gradients: Tensor, embedding: torch.nn.Embedding) -> Tensor:
    """Gradients at embedded values, summed by value; # [records, values, width]."""
    records, values = len(places), embedding.num_embeddings
    total = gradients.new_zeros(records * values, embedding.embedding_dim)
    index = torch.arange(records, device=places.device)[:, None] * values + places
    total.index_add_(0, index.flatten(), gradients.flatten(0, 1))
    return total.view(records, values, -1)
