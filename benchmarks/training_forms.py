"""One process that trains the same network in two forms, epoch by epoch in turn.

``ours`` is :func:`trainer.training.train`: chunks laid out, batches gathered from flat arrays, the
losses of all tasks, early stopping and a checkpoint an epoch. ``bare`` is a loop in plain torch
over tensors of the same batches, all made before. They end with the same weights, bit for bit.
``stored`` is the loop over rows that lie in Parquet and are read a few row groups at a time.

``python -m benchmarks.training_forms FOLDER ...`` prints one object in JSON.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.settings import ACTIONS
from trainer.checkpoints import Checkpoint
from trainer.chunks import batches
from trainer.config import FitConfig, load_config
from trainer.dataset import Taxonomy
from trainer.examples import Dataset, build_examples
from trainer.features import Feature
from trainer.fitting import make_training
from trainer.instants import Instants
from trainer.labels import read_labels
from trainer.models.base import Training, silent, smoothed
from trainer.models.network import Network
from trainer.models.recurrent import Recurrent
from trainer.tensors import Targets, Tensors
from trainer.training import chunks_of, reproducible, train, train_rows
from trainer.training_rows import StoredRows, store_rows

STATES = (*ACTIONS, "leave")
MINUTE_US = 60_000_000
START_US = 1_704_067_200_000_000  # 2024-01-01
LATE = "2100-01-01"  # no cut: all rows but the last of each user are learned from
SCALES = ("1h", "7d", "all")
ITEMS = 3000
WRITTEN_EVENTS = 1_000_000  # at a time
STORED_BUFFERS = 4  # into which the form `stored` cuts the rows


def write_labels(folder: Path, events: int, users: int, seed: int) -> None:
    """Write events, spine and labels as a build publishes them: so many users of one length."""
    folder.mkdir(parents=True, exist_ok=True)
    length = events // users
    at_once = max(1, WRITTEN_EVENTS // length)
    writers: dict[str, pq.ParquetWriter] = {}
    for begin in range(0, users, at_once):
        part = min(at_once, users - begin)
        for name, table in _label_tables(begin, part, length, seed + begin).items():
            if name not in writers:
                writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", table.schema)
            writers[name].write_table(table)
    for writer in writers.values():
        writer.close()


def _label_tables(first_user: int, users: int, length: int, seed: int) -> dict[str, pa.Table]:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(users), length)
    position = np.tile(np.arange(1, length + 1), users)
    gaps = rng.integers(1, 20, len(owner)) * MINUTE_US
    instant = START_US + np.cumsum(gaps.reshape(users, length), axis=1).reshape(-1)
    action = pa.array(ACTIONS).take(pa.array((rng.random(len(owner)) ** 2 * 4).astype(np.int64)))
    names = pa.array([f"u{first_user + number:07d}" for number in range(users)])
    names = names.take(pa.array(owner))
    first, last = position == 1, position == length
    following = action.take(pa.array(np.roll(np.arange(len(owner)), -1)))
    when = pa.array(instant, pa.timestamp("us"))
    keys = {"user_id": names, "event_timestamp": when}
    tables = {
        "events": {
            **keys,
            "event_position": pa.array(position),
            "action_type": action,
            "item_id": pa.array([f"i{n}" for n in range(ITEMS)]).take(
                pa.array((rng.random(len(owner)) ** 2 * ITEMS).astype(np.int64))
            ),
            "category_id": pa.array([f"c{n}" for n in range(40)]).take(
                pa.array(rng.integers(40, size=len(owner)))
            ),
            "location": pa.array([f"l{n}" for n in range(20)]).take(
                pa.array(rng.integers(20, size=len(owner)))
            ),
            "duration_ms": pa.array(rng.integers(100_000, size=len(owner))),
            "gap_ms": pa.array(gaps // 1000, mask=first),
            "hour": pa.array(instant // (60 * MINUTE_US) % 24),
        },
        "spine": {
            **keys,
            "is_landmark": pa.array(np.zeros(len(owner), dtype=bool)),
            "event_position": pa.array(position),
        },
        "label_next": {
            **keys,
            "next_action": pc.if_else(pa.array(last), pa.scalar(None, pa.string()), following),
            "next_state_at": pa.array(np.roll(instant, -1), pa.timestamp("us"), mask=last),
            "next_gap_ms": pa.array(np.roll(gaps, -1) // 1000, mask=last),
        },
    }
    return {name: pa.table(columns) for name, columns in tables.items()}


def read_training(
    folder: Path, features: int, config: FitConfig, seed: int, cut: str | None = LATE
) -> tuple:
    """Read the labels, give them features at random, and make the training set.

    Parameters
    ----------
    folder, features, config, seed
        The labels, and what goes with them.
    cut
        The end of the training and of the validation part; without it, they follow from the events.

    Returns
    -------
    dataset, training, wanted
    """
    taxonomy = Taxonomy(
        dataset="benchmark",
        actions=ACTIONS,
        session_gap=np.timedelta64(30 * MINUTE_US, "us"),
        longest_horizon=np.timedelta64(0, "us"),
        train_end=None if cut is None else np.datetime64(cut, "us"),
        valid_end=None if cut is None else np.datetime64(cut, "us"),
    )
    wanted = tuple(
        Feature(f"view_{place % 3}", f"count_{place}_{SCALES[place % 3]}", "BIGINT", "activity", s)
        for place in range(features)
        for s in (SCALES[place % 3],)
    )

    rng = np.random.default_rng(seed)

    def fetch(users: NDArray, instants: Instants) -> pa.Table:
        rows = len(users)
        counts = pa.array(np.zeros(rows * 25, dtype=np.int64))
        return pa.table(
            {
                "last_action_type": pa.array(ACTIONS).take(pa.array(rng.integers(4, size=rows))),
                "last_action_at": pa.array(instants),
                "session_is_open": pa.array(np.ones(rows, dtype=bool)),
                "transition_counts_all": pa.ListArray.from_arrays(
                    pa.array(np.arange(rows + 1, dtype=np.int32) * 25), counts
                ),
                **{f.name: pa.array(rng.integers(1000, size=rows)) for f in wanted},
            }
        )

    dataset: Dataset = build_examples(read_labels(folder), taxonomy, fetch, scratch=folder)
    counts = np.ones((len(STATES), len(STATES)), dtype=np.int64)
    return dataset, make_training(dataset, counts, config, silent), wanted


class Forms:
    """The network and its data, to be trained from the same start in either form."""

    def __init__(self, training: Training, features: Sequence[Feature], config: FitConfig) -> None:
        self.config = config
        model = Recurrent(config, tuple(features))
        model.states = training.states
        model.event_encoder, model.context = fitted_encoders(training, features, config)
        self.model = model
        self.training = training
        examples = training.examples
        self.tensors: Tensors = model.tensors(examples)
        args = (examples.landmarks, training.fit, training.conversion_fit, training.wait_fit)
        self.fit: Targets = model.targets(*args)
        args = (examples.landmarks, training.stop, training.conversion_stop, training.wait_stop)
        self.stop: Targets = model.targets(*args)
        self.rows = self.fit.rows
        chunks = chunks_of(self.tensors, self.rows, config)
        self.batches = list(
            batches(
                chunks,
                self.tensors.last[self.rows],
                config.batch,
                np.random.default_rng(config.seed),
            )
        )

    @property
    def positions(self) -> int:
        """Positions that the encoder reads in an epoch, those that only warm it included."""
        return sum(batch.positions.size for batch in self.batches)

    def network(self) -> Network:
        """The network before its first step."""
        torch.manual_seed(self.config.seed)  # for the weights; below, for what dropout draws
        network = self.model.fresh_network()
        prior = torch.from_numpy(smoothed(self.training.label_counts)).float()
        network.start_from(prior, torch.zeros(0), torch.zeros(0))
        torch.manual_seed(self.config.seed)
        return network

    def ours(self, checkpoint: Checkpoint) -> tuple[float, Network]:
        """CPU seconds of an epoch through the whole data path, and the weights."""
        network = self.network()
        begun = time.process_time()
        train(
            network,
            self.tensors,
            self.fit,
            self.stop,
            self.config,
            silent,
            checkpoint=checkpoint,
        )
        return time.process_time() - begun, network

    def stored(self, folder: Path) -> float:
        """CPU seconds of an epoch over rows that are read from row groups, several buffers."""
        network = self.network()
        examples = self.training.examples

        def encoded(places: slice) -> tuple[Tensors, Targets]:
            own = self.rows[places]
            return self.model.tensors(examples.take(own).narrowed()), self.fit.take(own)

        shutil.rmtree(folder, ignore_errors=True)
        owners, most = examples.owners[self.rows], len(self.rows) // STORED_BUFFERS
        store_rows(folder, owners, most, encoded, self.config)
        rows = StoredRows(folder, self.config, self.tensors.context.device)
        begun = time.process_time()
        train_rows(network, rows, None, self.config, silent)
        return time.process_time() - begun

    def bare(self) -> tuple[float, Network]:
        """CPU seconds of an epoch of a plain loop, its tensors being made before, and weights."""
        network = self.network()
        made = [self._made(batch) for batch in self.batches]
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        assert network.head is not None
        begun = time.process_time()
        network.train()
        for events, flat, context, closed, labels, weights in made:
            hidden, _ = network.encoder(*events)
            encoded = hidden.flatten(0, 1).index_select(0, flat)
            logits = network.head(encoded, context, closed)
            losses = functional.cross_entropy(logits, labels, reduction="none")
            loss = (losses * weights).sum() / weights.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), self.config.clip_norm)
            optimizer.step()
        return time.process_time() - begun, network

    def _made(self, batch) -> tuple:  # type: ignore[no-untyped-def,type-arg]
        tensors, chosen = self.tensors, torch.from_numpy(self.rows[batch.examples])
        positions = torch.from_numpy(batch.positions)
        flat = torch.from_numpy(batch.rows * batch.positions.shape[1] + batch.steps)
        return (
            tensors.events(positions),
            flat,
            tensors.context[chosen],
            tensors.closed[chosen],
            tensors.labels[chosen],
            self.fit.next_action[chosen],
        )


def fitted_encoders(training: Training, features: Sequence[Feature], config: FitConfig) -> tuple:
    """What :meth:`Recurrent.fit` fits before the weights."""
    from trainer.context import ContextEncoder
    from trainer.event_inputs import EventEncoder

    events = EventEncoder.fit(
        training.examples.sequences,
        training.known_events,
        actions=training.states[:-1],
        config=config.encoder,
    )
    entering = config.features
    context = ContextEncoder.fit(
        training, tuple(features), entering.vocabulary, entering.clip, entering.user_row
    )
    return events, context


def main() -> None:
    """Print what an epoch costs in both forms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for name in ("events", "users", "features", "epochs", "batch", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    keys = ("epochs=1", "device=cpu", "stopping.share=0", f"batch={arguments.batch}")
    config = load_config(None, keys)
    labels = arguments.folder / "labels"
    write_labels(labels, arguments.events, arguments.users, arguments.seed)
    begun = time.process_time()
    _, training, features = read_training(labels, arguments.features, config, arguments.seed)
    with reproducible(config.seed, config.threads):
        forms = Forms(training, features, config)
        prepared = time.process_time() - begun
        checkpoint = Checkpoint(arguments.folder / "checkpoint.pt")
        ours, stored, bare = [], [], []
        for _ in range(arguments.epochs):
            seconds, one = forms.ours(checkpoint)
            ours.append(seconds)
            stored.append(forms.stored(arguments.folder / "rows"))
            seconds, other = forms.bare()
            bare.append(seconds)
            pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
            if not all(torch.equal(left, right) for left, right in pairs):
                raise SystemExit("the two forms end with other weights")
    print(
        json.dumps(
            {
                "events": len(forms.rows),
                "positions": forms.positions,
                "columns": forms.tensors.context.shape[1],
                "prepared_s": prepared,
                "ours_s": ours,
                "stored_s": stored,
                "bare_s": bare,
            }
        )
    )


if __name__ == "__main__":
    main()
