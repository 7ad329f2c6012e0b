"""Models on logs whose laws are known, and where each case of ours about models has its test.

P1 to P20 are public bug reports of tools like this one, each turned into what this project must do.

======  ============================================================  ==============================
case    must                                                          test
======  ============================================================  ==============================
P1      an unseen user with 3 events: finite; with 0: the prior       here, test_baselines.py,
        and `cold`; both calibrated                                   test_unknowable.py,
                                                                      test_cli.py
P3      encoding another part leaves the vocabularies as they are     here
P4      all events after train_end deleted: the same bytes            here, test_baselines.py,
                                                                      test_unknowable.py,
                                                                      scenarios/test_leakage.py
P5      a feature equal to its own event's label: AUC .5              test_shuffling.py
P6      no metric depends on the batch's order or size                here, test_evaluation.py
P7      events one by one = the whole history; another order differs  test_onnx.py, test_chunks.py
P8      constant scores get k/V; permuted candidates change nothing   test_metrics.py,
                                                                      test_evaluation.py
P9      evaluated twice: identical                                    here
P10     100 columns of padding: loss and metrics unchanged            here
P11     a requested metric that is missing: non-zero exit             test_evaluation.py,
                                                                      test_cli.py
P14     the export at (1, 1), (3, 7), (256, 1): within 1e-5           test_onnx.py
P15     predict for a date after training, in process                 test_cli.py
P16     explained in evaluation mode; complete within 1e-3            test_reasons.py
P17     same seed and threads: same metrics file; the run says seed,  test_cli.py
        threads, data hash and cuts
P18     shuffled input rows: same hash; the share of ties is said     test_examples.py,
                                                                      dbt_project/test_quality.py
P19     every artefact loads with weights_only; the rest is text      here, test_baselines.py
P20     targets in = hits + misses, seen + cold, as SQL counts them   test_report.py
======  ============================================================  ==============================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import synthetic_log as synthetic
import torch

from trainer import metrics
from trainer.chunks import Batch, Chunks, batches, make_windows
from trainer.config import FitConfig, load_config
from trainer.evaluation import evaluate, score
from trainer.examples import Dataset, unlabelled
from trainer.models.base import Training
from trainer.models.marginal import Marginal
from trainer.models.markov import Markov
from trainer.models.recurrent import Recurrent
from trainer.sequences import Sequences
from trainer.tensors import Targets
from trainer.training import _mean_loss
from trainer.training_rows import HeldRows

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 24)
MATRIX = [[0.6, 0.2, 0.1, 0.1], [0.3, 0.5, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]]

MakeDataset = Callable[..., Dataset]
TrainingOf = Callable[..., Training]


@pytest.fixture(scope="module")
def planted(make_dataset: MakeDataset) -> tuple[synthetic.Log, Dataset]:
    log = synthetic.order_two_log(users=150, events=60)
    return log, make_dataset(log, TRAIN_END, VALID_END)


@pytest.fixture(scope="module")
def fitted(
    planted: tuple[synthetic.Log, Dataset], training_of: TrainingOf
) -> tuple[Recurrent, Dataset]:
    log, dataset = planted
    config = load_config(
        None, ["encoder.hidden=16", "encoder.layers=1", "epochs=16", "learning_rate=0.01"]
    )
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training_of(log, dataset, config))
    return model, dataset


def test_the_recurrent_network_finds_what_order_one_cannot(
    fitted: tuple[Recurrent, Dataset],
    planted: tuple[synthetic.Log, Dataset],
    training_of: TrainingOf,
) -> None:
    model, dataset = fitted
    log, _ = planted
    markov = Markov()
    markov.fit(training_of(log, dataset, model.config))
    test = dataset.test
    order_one = metrics.log_loss(markov.predict_proba(test), test.labels)
    order_two = metrics.log_loss(model.predict_proba(test), test.labels)
    assert order_one > 0.67  # ln 2 = .693, less what `leave` gives away
    assert order_two < 0.45  # the law's own entropy is .325
    assert metrics.accuracy(model.predict_proba(test), test.labels) > 0.8


def test_the_markov_chain_gives_its_matrix_back(
    make_dataset: MakeDataset, training_of: TrainingOf, small_config: FitConfig
) -> None:
    log = synthetic.markov_log(MATRIX, users=60, events=80)
    dataset = make_dataset(log, TRAIN_END, VALID_END)
    markov = Markov()
    markov.fit(training_of(log, dataset, small_config))
    assert markov.matrix[:3] == pytest.approx(np.array(MATRIX), abs=0.03)
    browsing = dataset.test.take(dataset.test.states == 0)
    assert len(browsing) > 10
    assert markov.predict_proba(browsing) == pytest.approx(
        np.tile(MATRIX[0], (len(browsing), 1)), abs=0.03
    )


def test_markov_by_hand() -> None:
    markov = Markov(np.array([[6, 2, 2], [0, 0, 0], [1, 1, 0]]), prior=1.0)
    assert markov.matrix[0] == pytest.approx(np.array([6 + 1 / 3, 2 + 1 / 3, 2 + 1 / 3]) / 11)
    assert markov.matrix[1] == pytest.approx([1 / 3] * 3)  # never seen: nothing known
    assert markov.matrix.sum(axis=1) == pytest.approx(1.0)


def test_the_marginal_counts_the_training_part_at_events(
    make_dataset: MakeDataset, training_of: TrainingOf, small_config: FitConfig
) -> None:
    log = synthetic.order_two_log(users=20, events=30, seed=3)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
    training = training_of(log, dataset, small_config)
    marginal = Marginal()
    marginal.fit(training)
    train = dataset.train.take(~dataset.train.landmarks)
    counts = np.bincount(train.labels, minlength=3)
    expected = (counts + 1 / 3) / (counts.sum() + 1)
    assert marginal.predict_proba(dataset.test)[0] == pytest.approx(expected)


def test_no_batch_size_changes_a_prediction(
    fitted: tuple[Recurrent, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = fitted
    test = dataset.test.take(np.arange(300))
    whole = model.predict_proba(test)
    for rows in (1, 7, 512):
        monkeypatch.setattr("trainer.models.recurrent._ROWS", rows)
        assert model.predict_proba(test) == pytest.approx(whole, abs=1e-6)
    order = np.random.default_rng(0).permutation(300)
    assert model.predict_proba(test.take(order)) == pytest.approx(whole[order], abs=1e-6)


def test_a_hundred_columns_of_padding_change_nothing(fitted: tuple[Recurrent, Dataset]) -> None:
    model, dataset = fitted
    test = dataset.test.take(np.arange(100))
    tensors = model.tensors(test)
    places, lengths = make_windows(tensors.first, tensors.last, model.config.encoder.window)
    padded = np.concatenate([places, np.repeat(places[:, -1:], 100, axis=1)], axis=1)
    positions = torch.from_numpy(padded)
    with torch.no_grad():
        hidden, _ = model.network.encoder(*tensors.events(positions))
        encoded = hidden[torch.arange(100), torch.from_numpy(lengths - 1)]
        logits = model.network.head(encoded, tensors.context, tensors.closed)
    probabilities = torch.softmax(logits.double(), dim=-1).numpy()
    whole = model.predict_proba(test)
    assert probabilities == pytest.approx(whole, abs=1e-6)
    scored, expected = (score([each], test.labels, test.owners) for each in (probabilities, whole))
    assert scored == pytest.approx(expected, abs=1e-6)


def test_a_hundred_columns_of_padding_change_no_loss(
    fitted: tuple[Recurrent, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses that training sums up, of batches that are padded further."""
    model, dataset = fitted
    test = dataset.test.take(np.arange(200))
    tensors = model.tensors(test)
    targets = Targets(torch.ones(200), torch.zeros(200, 0), torch.zeros(200))
    model.network.eval()

    def padded(chunks: Chunks, last: np.ndarray, size: int, *more: None) -> Iterator[Batch]:
        for batch in batches(chunks, last, size, *more):
            padding = np.repeat(batch.positions[:, -1:], 100, axis=1)
            yield replace(batch, positions=np.concatenate([batch.positions, padding], axis=1))

    def loss() -> float:
        rows = HeldRows(tensors, targets, model.config)
        return _mean_loss(model.network, rows, torch.ones(3), 16)

    before = loss()
    monkeypatch.setattr("trainer.training_rows.batches", padded)
    assert loss() == pytest.approx(before, abs=1e-6)
    # And it is the loss that the metrics say.
    assert before == pytest.approx(
        metrics.log_loss(model.predict_proba(test), test.labels), abs=1e-5
    )


def test_encoding_another_part_changes_no_vocabulary(fitted: tuple[Recurrent, Dataset]) -> None:
    model, dataset = fitted

    def known() -> str:
        return json.dumps([model.event_encoder.to_json(), model.context.to_json()])

    before = known()
    for part in (dataset.valid, dataset.test, dataset.train):
        model.predict_proba(part)
    assert known() == before


def test_evaluating_twice_gives_the_same(fitted: tuple[Recurrent, Dataset]) -> None:
    model, dataset = fitted
    assert evaluate([model], dataset) == evaluate([model], dataset)


def test_every_target_is_counted_once(fitted: tuple[Recurrent, Dataset]) -> None:
    model, dataset = fitted
    tasks = evaluate([model], dataset)["lstm"]
    total = tasks["next_action"]["rows"]
    seen = tasks.get("next_action.seen_users", {"rows": 0.0})["rows"]
    cold = tasks.get("next_action.cold_users", {"rows": 0.0})["rows"]
    assert seen + cold == total == len(dataset.test)


def test_a_run_round_trips_without_pickle(
    fitted: tuple[Recurrent, Dataset], tmp_path: Path
) -> None:
    model, dataset = fitted
    model.save(tmp_path)
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert {path.suffix for path in tmp_path.iterdir()} == {".pt", ".json", ".yml", ".onnx"}
    loaded = Recurrent.load(tmp_path)
    assert np.array_equal(loaded.predict_proba(dataset.test), model.predict_proba(dataset.test))
    assert loaded.config == model.config


def test_the_same_seed_gives_the_same_metrics_and_another_does_not(
    planted: tuple[synthetic.Log, Dataset], training_of: TrainingOf, small_config: FitConfig
) -> None:
    log, dataset = planted

    def metrics_of(seed: int) -> dict:
        config = small_config.model_copy(update={"epochs": 2, "seed": seed})
        model = Recurrent(config, synthetic.INPUTS)
        model.fit(training_of(log, dataset, config))
        return evaluate([model], dataset)

    torch.rand(3)  # whatever happened before in the process is nothing
    first = metrics_of(0)
    torch.rand(5)
    assert metrics_of(0) == first
    assert metrics_of(1) != first


def test_deleting_every_event_after_train_end_leaves_the_weights_bit_identical(
    make_dataset: MakeDataset, training_of: TrainingOf, small_config: FitConfig
) -> None:
    log = synthetic.order_two_log(users=60, events=40, seed=5)
    config = small_config.model_copy(update={"epochs": 3})

    def weights(of: synthetic.Log) -> dict[str, torch.Tensor]:
        dataset = make_dataset(of, TRAIN_END, VALID_END, landmarks=True)
        model = Recurrent(config, synthetic.INPUTS)
        model.fit(training_of(of, dataset, config))
        return model.network.state_dict()

    whole, shortened = weights(log), weights(log.until(TRAIN_END))
    assert sum(map(len, log.until(TRAIN_END).users.values())) < 2000  # something was deleted
    assert whole.keys() == shortened.keys()
    for name in whole:
        assert torch.equal(whole[name], shortened[name]), name


def test_a_label_of_pure_noise_is_not_predicted(
    make_dataset: MakeDataset, training_of: TrainingOf, small_config: FitConfig
) -> None:
    log = synthetic.order_two_log(users=150, events=80, seed=11)
    dataset = make_dataset(log, datetime(2024, 1, 12), datetime(2024, 1, 13))
    coins = np.random.default_rng(7).integers(0, 2, len(dataset.examples))
    noisy = replace(dataset, examples=replace(dataset.examples, labels=coins))
    config = small_config.model_copy(update={"epochs": 4})
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training_of(log, noisy, config))
    judged = noisy.test
    assert len(judged) > 6000  # an honest AUC then lies within .02 of .5 but once in 300 draws
    auc = metrics.roc_auc(model.predict_proba(judged)[:, 1], judged.labels)
    assert abs(auc - 0.5) < 0.02


def test_users_of_no_one_and_three_events_get_sane_answers(
    fitted: tuple[Recurrent, Dataset],
) -> None:
    model, _ = fitted
    users, values = synthetic.strangers([None, "a", "b"])
    instants = np.repeat(np.datetime64("2030-01-01", "us"), 3)
    examples = unlabelled(Sequences.from_arrays(users, values), instants, values, model.states)
    probabilities = model.predict_proba(examples)
    assert examples.lengths.tolist() == [0, 1, 3]
    assert examples.states.tolist() == [-1, 0, 1]
    assert np.isfinite(probabilities).all()
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert probabilities[0] == pytest.approx(model.network.prior.numpy(), abs=1e-7)


def test_who_has_left_cannot_leave(
    make_dataset: MakeDataset, training_of: TrainingOf, small_config: FitConfig
) -> None:
    log = synthetic.markov_log(MATRIX, users=40, events=60, seed=2)
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True)
    model = Recurrent(small_config, synthetic.INPUTS)
    model.fit(training_of(log, dataset, small_config))
    closed = dataset.test.take(dataset.test.states == 3)
    assert len(closed) > 20
    assert (closed.labels != 3).all()
    assert (model.predict_proba(closed)[:, 3] == 0).all()
    assert np.isfinite(evaluate([model], dataset)["lstm"]["next_action.landmarks"]["log_loss"])
