"""Rows that are read from row groups: the same steps, the same weights, never whole in memory."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import synthetic_log as synthetic
import torch
from toy_fits import fitted, same_weights

from trainer import labels, stored_features, training_set
from trainer.checkpoints import Checkpoint
from trainer.config import FitConfig, load_config
from trainer.examples import Dataset
from trainer.labels import read_labels
from trainer.models.base import Training, silent
from trainer.models.recurrent import Recurrent
from trainer.row_groups import RowGroups, RowGroupWriter
from trainer.scratch import scratch_folder
from trainer.stored_features import StoredFeatures
from trainer.training import reproducible, train_rows
from trainer.training_rows import HeldRows, StoredRows, store_rows
from trainer.training_set import counted, held_tensors, targets_of
from trainer.user_rows import evenly

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 24)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def log() -> synthetic.Log:
    return synthetic.order_two_log(users=45, events=24)


@pytest.fixture(scope="module")
def config() -> FitConfig:
    keys = ("encoder.hidden=6", "batch=4", "chunk=10", "burn_in=4", "epochs=3", "device=cpu")
    return load_config(None, [*keys, "tasks.next_time=0.3", "encoder.coarse=[day]"])


@pytest.fixture(scope="module")
def training(
    log: synthetic.Log,
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
    config: FitConfig,
) -> Training:
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True, waits=True)
    return training_of(log, dataset, config)


@pytest.fixture(scope="module")
def held(config: FitConfig, training: Training) -> Recurrent:
    return fitted(config, training)


@pytest.fixture
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer of 60 rows or so, of the hundreds that there are."""
    monkeypatch.setattr(training_set, "BUFFER_BYTES", 60 * 200)


def test_arrays_come_back_from_their_row_groups(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def group(rows: int) -> dict[str, np.ndarray]:
        return {
            "wide": random.random((rows, 3)).astype(np.float32),
            "none": np.zeros((rows, 0), dtype=np.float32),
            "flags": random.random(rows) < 0.5,
            "places": random.integers(100, size=rows),
        }

    groups = [group(rows) for rows in (4, 0, 7, 1)]
    with RowGroupWriter(tmp_path / "arrays.parquet") as writer:
        for each in groups:
            writer.write(each)
    read = RowGroups(tmp_path / "arrays.parquet")
    assert read.rows == [4, 0, 7, 1]
    for chosen in ([0, 1, 2, 3], [2], [3, 0], [], [1]):
        found = read.read(chosen)
        for name, values in groups[0].items():
            expected = np.concatenate([values[:0], *(groups[place][name] for place in chosen)])
            assert found[name].dtype == expected.dtype
            assert np.array_equal(found[name], expected)
    assert list(read.read([0], ["places"])) == ["places"]


def stored(model: Recurrent, training: Training, folder: Path, buffer_rows: int) -> StoredRows:
    """The rows to learn from, encoded by a fitted model, in groups."""
    chosen = counted(model, training, "fit", conversions=True)

    def encoded(places: slice) -> tuple[Any, Any]:
        own = chosen[places]
        tensors = model.tensors(training.examples.take(own).narrowed())
        return tensors, targets_of(model, training, "fit", own)

    store_rows(folder, training.examples.owners[chosen], buffer_rows, encoded, model.config)
    return StoredRows(folder, model.config, CPU)


def test_rows_of_one_buffer_train_as_those_in_memory(
    held: Recurrent, training: Training, config: FitConfig, tmp_path: Path
) -> None:
    """Bit for bit, dropout and all: where rows lie changes no batch."""
    chosen = counted(held, training, "fit", conversions=True)
    rows = stored(held, training, tmp_path / "fit", len(chosen))
    assert 8 < len(rows._groups) <= 16
    assert len(rows._buffers(list(range(len(rows._groups))))) == 1
    tensors, fit, _ = held_tensors(held, training, CPU)
    networks = []
    for each in (HeldRows(tensors, fit, config), rows):
        with reproducible(config.seed, 1):
            network = held.fresh_network()
            train_rows(network, each, None, config, silent)
        networks.append(network.state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


def test_an_epoch_of_many_buffers_scores_each_row_once(
    held: Recurrent, training: Training, tmp_path: Path
) -> None:
    """By its label and its features: the rows of a part are numbered anew in each buffer."""
    rows = stored(held, training, tmp_path / "fit", 90)
    assert len(rows._buffers(list(range(len(rows._groups))))) > 4
    tensors, fit, _ = held_tensors(held, training, CPU)
    wanted = tensors.context[torch.from_numpy(fit.rows)].numpy()
    for random in (None, np.random.default_rng(1), np.random.default_rng(2)):
        steps, laid_out = rows.epoch(4, random)
        batches = list(laid_out)
        assert len(batches) == steps
        scored = [part.tensors.context[torch.from_numpy(b.examples)] for part, b in batches]
        found = torch.cat(scored).numpy()
        assert np.array_equal(np.unique(found, axis=0), np.unique(wanted, axis=0))
        assert len(found) == len(wanted)
        for part, batch in batches:
            assert len(part.rows) <= 90
            last = part.tensors.last[batch.examples]
            assert np.array_equal(batch.positions[batch.rows, batch.steps], last)
    orders = [
        [b.examples.tolist() for _, b in rows.epoch(4, np.random.default_rng(seed))[1]]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    # Not only within a buffer: another seed fills the first one with other users.
    firsts = [next(rows.epoch(4, np.random.default_rng(seed))[1])[0] for seed in (1, 2)]
    contents = [part.tensors.context.numpy() for part in firsts]
    assert not np.array_equal(*(np.unique(each, axis=0) for each in contents))


def test_stored_rows_go_on_after_a_kill_to_the_same_weights(
    small_buffer: None, config: FitConfig, training: Training, held: Recurrent, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def killing(items: Iterable[Any], _total: int, what: str) -> Iterator[Any]:
        for place, item in enumerate(items):
            if what.startswith("epoch 2") and place == 3:
                raise Killed
            yield item

    scratch = tmp_path / "scratch"
    whole = fitted(config, training, scratch=scratch)
    assert not list(scratch.iterdir())
    path = tmp_path / "fit.pt"
    with pytest.raises(Killed):
        fitted(config, training, checkpoint=Checkpoint(path), track=killing, scratch=scratch)
    resumed = fitted(config, training, checkpoint=Checkpoint(path, resume=True), scratch=scratch)
    assert same_weights(resumed, whole)
    other = fitted(config.model_copy(update={"seed": 1}), training, scratch=scratch)
    assert not same_weights(other, whole)
    # Other batches than in memory, but as good: the loss after three epochs is about the same.
    assert whole.curve[-1].loss == pytest.approx(held.curve[-1].loss, rel=0.1)
    assert whole.means == pytest.approx(held.means, abs=1e-4)


def test_what_a_killed_fit_left_is_removed_and_what_another_holds_is_not(tmp_path: Path) -> None:
    left, busy = tmp_path / "rows-left", tmp_path / "rows-busy"
    for folder in (left, busy):
        folder.mkdir()
        (folder / "lock").touch()
        (folder / "events.parquet").touch()
    with (busy / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with scratch_folder(tmp_path) as own:
            assert {each.name for each in tmp_path.iterdir()} == {"rows-busy", own.name}
    assert [each.name for each in tmp_path.iterdir()] == ["rows-busy"]


# ---- features and labels -------------------------------------------------------------------------


def test_features_in_a_file_are_those_in_memory(
    log: synthetic.Log,
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
    training: Training,
    held: Recurrent,
    config: FitConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_features, "FETCHED_ROWS", 100)
    monkeypatch.setattr(stored_features, "_GROUP_ROWS", 30)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True, waits=True)
    features = dataset.examples.features
    assert isinstance(features, StoredFeatures)
    assert isinstance(training.examples.features, pa.Table)
    own = training_of(log, dataset, config)
    assert isinstance(own.examples.features, StoredFeatures)
    names = training.examples.features.column_names
    assert features.column_names == names
    assert own.examples.loaded().features.equals(training.examples.features)
    scattered = np.array([5, 3, 200, 3, 7])
    expected = training.examples.features.take(pa.array(scattered))
    assert own.examples.take(scattered).loaded().features.equals(expected)
    again = fitted(config, own)
    assert same_weights(again, held)
    monkeypatch.setattr("trainer.models.recurrent._BLOCK", 17)
    test = dataset.test
    assert again.predict_proba(test) == pytest.approx(held.predict_proba(test.loaded()), abs=1e-6)


def test_labels_that_are_read_in_parts_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three parts of users, of unlike length; one without anything to predict."""
    events = synthetic.order_two_log(users=9, events=12)
    events.users["u0000"] = [synthetic.Event(datetime(2024, 1, 2), "a")]
    folder = synthetic.publish(events, tmp_path) / "labels"
    whole = read_labels(folder, landmarks=True)
    monkeypatch.setattr(labels, "_READ_EVENTS", 35)
    assert len(labels._ranges_of_users(folder)[0]) == 3
    parts = read_labels(folder, landmarks=True)
    for name, value in vars(whole).items():
        if name != "sequences":
            found = getattr(parts, name)
            assert (
                value.equals(found)
                if isinstance(value, pa.Array)
                else np.array_equal(found, value, equal_nan=value.dtype.kind in "fM")
            )
    assert parts.sequences.digest() == whole.sequences.digest()


def test_a_digest_is_of_the_texts_as_one_list(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = training.examples.sequences
    expected = hashlib.sha256()
    texts = ("actions", "items", "categories", "locations")
    columns = (getattr(sequences, name).to_pylist() for name in texts)
    for values in (sequences.users.tolist(), *columns):
        expected.update(json.dumps(values).encode())
    for name in ("offsets", "gaps_ms", "durations_ms", "hours", "weekdays", "instants"):
        expected.update(np.ascontiguousarray(getattr(sequences, name)).tobytes())
    assert sequences.digest() == expected.hexdigest()
    monkeypatch.setattr("trainer.sequences._DIGESTED", 7)
    assert sequences.digest() == expected.hexdigest()


def test_a_sample_is_even() -> None:
    assert evenly(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
