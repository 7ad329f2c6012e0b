"""Flower's FedAvg over clients that run in this process, one after the other.

Server, strategy, messages and client application are Flower's, so that the same client runs on its
nodes; what stands in for the network is a grid that hands each message to the client at once.
Flower's own simulation needs Ray, which this does without.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput

if TYPE_CHECKING:
    from flwr.app import Message

Weights = dict[str, NDArray[np.float32]]
# From the weights of the server and the number of the round: new weights, their weight, and a loss.
LocalFit = Callable[[Weights, int], tuple[Weights, float, float]]
_ARRAYS, _METRICS, _CONFIG = "arrays", "metrics", "config"
_WEIGHT, _LOSS = "weight", "loss"


def run_rounds(
    clients: Sequence[LocalFit],
    weights: Weights,
    rounds: int,
    after: Callable[[int, Weights, float], None],
) -> Weights:
    """Average what the clients make of the weights, round after round.

    Parameters
    ----------
    clients
        What each does with the server's weights.
    weights
        The first ones.
    rounds
        How many.
    after
        Takes each round's number, its averaged weights and the clients' mean loss.

    Returns
    -------
    weights
        Of the last round.

    Raises
    ------
    BadInput
        Where Flower is not installed.
    """
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its command line
            from flwr.app import Array, ArrayRecord, ConfigRecord, Context, MetricRecord, RecordDict
            from flwr.app import Message as FlowerMessage
            from flwr.clientapp import ClientApp
            from flwr.serverapp import Grid
            from flwr.serverapp.strategy import FedAvg
    except ImportError:
        raise BadInput("federated.by needs Flower: pip install 'scalespace[federated]'") from None
    logging.getLogger("flwr").setLevel(logging.ERROR)
    application = ClientApp()

    @application.train()
    def train(message: Message, context: Context) -> Message:
        number = int(context.node_config["client"])
        given = _arrays(message.content[_ARRAYS])
        server_round: Any = message.content[_CONFIG]["server-round"]
        fitted, weight, loss = clients[number](given, int(server_round))
        metrics = MetricRecord({_WEIGHT: weight, _LOSS: loss})
        content = RecordDict({_ARRAYS: _record(fitted), _METRICS: metrics})
        return FlowerMessage(content=content, reply_to=message)

    class InProcess(Grid):
        """Hands messages to the clients in the order of their numbers."""

        def set_run(self, run: Any) -> None:
            pass

        @property
        def run(self) -> Any:
            raise NotImplementedError

        def create_message(self, *args: Any, **kwargs: Any) -> Message:
            raise NotImplementedError

        def get_node_ids(self) -> Iterable[int]:
            return range(1, len(clients) + 1)

        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            raise NotImplementedError

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            raise NotImplementedError

        def send_and_receive(self, messages: Iterable[Message], **_: Any) -> Iterable[Message]:
            # The strategy draws an order. Sums depend on it in their last bits, so it is put back.
            found = sorted(messages, key=lambda each: each.metadata.dst_node_id)
            replies = []
            for message in found:
                node = message.metadata.dst_node_id
                context = Context(
                    run_id=1,
                    node_id=node,
                    node_config={"client": node - 1},
                    state=RecordDict(),
                    run_config={},
                )
                replies.append(application(message, context))
            return replies

    class Averaging(FedAvg):
        """FedAvg that says what each round came to."""

        def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
            arrays, metrics = super().aggregate_train(server_round, replies)
            assert arrays is not None and metrics is not None
            loss: Any = metrics[_LOSS]
            after(server_round, _arrays(arrays), float(loss))
            return arrays, metrics

    def _record(values: Weights) -> ArrayRecord:
        return ArrayRecord(OrderedDict((name, Array(value)) for name, value in values.items()))

    strategy = Averaging(
        fraction_evaluate=0.0,
        min_train_nodes=len(clients),
        min_available_nodes=len(clients),
        weighted_by_key=_WEIGHT,
    )
    result = strategy.start(InProcess(), _record(weights), rounds, train_config=ConfigRecord())
    return _arrays(result.arrays)


def _arrays(record: Any) -> Weights:
    return {name: array.numpy() for name, array in record.items()}
