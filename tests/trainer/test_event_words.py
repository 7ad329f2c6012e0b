"""Items and locations of events as inputs: what they tell, and what nobody has seen."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import synthetic_log as synthetic
import torch
import yaml
from toy_fits import fitted, same_weights

from trainer.config import FitConfig, load_config
from trainer.examples import Dataset
from trainer.metrics import row_log_loss
from trainer.models.base import Training
from trainer.models.recurrent import Recurrent
from trainer.models.served import Served
from trainer.sequences import Sequences

TRAIN_END, VALID_END = datetime(2024, 1, 12), datetime(2024, 1, 13)
CERTAIN = 0.9
ENTROPY = -CERTAIN * np.log(CERTAIN) - (1 - CERTAIN) * np.log(1 - CERTAIN)  # .325
KEYS = (
    *("encoder.hidden=12", "encoder.layers=1", "epochs=10", "learning_rate=0.02", "device=cpu"),
    *("tasks.next_item=0", "tasks.next_category=0", "landmark_weight=0", "encoder.unknown=0.1"),
    *("encoder.items=200", "encoder.locations=200", "encoder.calendar=[hour,weekday]"),
)


def told_by(word: str) -> synthetic.Log:
    """A log whose next action is told, with .9, by the item (or the location) of the last event.

    Nothing else tells it: words are drawn evenly, and what they say is even too.
    """
    rng = random.Random(7)
    log = synthetic.Log(("a", "b"))
    for user in range(80):
        at = synthetic.START + timedelta(minutes=rng.randrange(60 * 24 * 18))
        action, events = rng.choice("ab"), []
        for _ in range(50):
            at += timedelta(seconds=rng.randrange(10, 600))
            number = rng.randrange(6)
            events.append(synthetic.Event(at, action, **{word: f"w{number}"}))
            told = "ab"[number % 2]
            action = told if rng.random() < CERTAIN else "ab"[told == "a"]
        log.users[f"u{user:02d}"] = events
    return log


@pytest.fixture(scope="module", params=["item", "location"])
def one(
    request: pytest.FixtureRequest, make_dataset, training_of
) -> tuple[str, Dataset, Training, Recurrent]:
    log = told_by(request.param)
    dataset = make_dataset(log, TRAIN_END, VALID_END)
    config = load_config(None, KEYS)
    training = training_of(log, dataset, config)
    return request.param, dataset, training, fitted(config, training)


def loss_of(model: Recurrent, dataset: Dataset) -> float:
    test = dataset.test
    rows = test.take((test.labels >= 0) & (test.labels < 2))  # who leaves, nothing tells
    return float(row_log_loss(model.predict_proba(rows), rows.labels).mean())


def test_what_a_word_tells_is_learned_and_without_it_nothing_is(
    one: tuple[str, Dataset, Training, Recurrent],
) -> None:
    word, dataset, training, model = one
    assert ENTROPY - 0.02 < loss_of(model, dataset) < 0.45
    blind = fitted(load_config(None, [*KEYS, f"encoder.{word}s=0"]), training)
    assert loss_of(blind, dataset) > 0.66  # ln 2 is .69
    assert getattr(blind.network.encoder, word) is None


def other_words(sequences: Sequences, word: str, texts: list[str | None]) -> Sequences:
    """The same events with the given words, repeated."""
    import pyarrow as pa

    column = pa.array((texts * len(sequences))[: len(sequences)], pa.string())
    return replace(sequences, **{f"{word}s": column})


def test_a_new_word_is_read_as_an_unknown_one(
    one: tuple[str, Dataset, Training, Recurrent],
) -> None:
    word, dataset, _, model = one
    test = dataset.test

    def answers(texts: list[str | None]) -> np.ndarray:
        return model.predict_proba(
            replace(test, sequences=other_words(test.sequences, word, texts))
        )

    unknown = answers([None])
    assert np.array_equal(answers(["never seen", "\x00", "w999"]), unknown)
    assert not np.array_equal(answers(["w1"]), unknown)
    assert np.isfinite(unknown).all()
    # It was hidden in training now and then, so nothing known is an even answer.
    assert 0.2 < unknown[:, 0].mean() < 0.8


def test_the_network_that_serves_reads_the_same_words(
    one: tuple[str, Dataset, Training, Recurrent], tmp_path: Path
) -> None:
    word, dataset, _, model = one
    model.save(tmp_path)
    served = Served.load(tmp_path)
    test = dataset.test.take(np.arange(0, len(dataset.test), 7))
    mixed = other_words(test.sequences, word, ["w1", None, "new", "w4"])
    for rows in (test, replace(test, sequences=mixed)):
        assert served.predict_proba(rows) == pytest.approx(model.predict_proba(rows), abs=1e-5)


def test_words_after_train_end_move_no_weight(
    one: tuple[str, Dataset, Training, Recurrent],
) -> None:
    word, _, training, _ = one
    config = load_config(None, [*KEYS, "epochs=1"])
    examples = training.examples
    assert examples.sequences.instants is not None
    late = examples.sequences.instants > np.datetime64(TRAIN_END, "us")
    texts = np.array(getattr(examples.sequences, f"{word}s").to_pylist(), dtype=object)
    texts[late] = "from the future"
    assert late.sum() > 500
    changed = replace(examples, sequences=other_words(examples.sequences, word, texts.tolist()))
    whole, other = fitted(config, training), fitted(config, training, examples=changed)
    assert same_weights(whole, other)
    assert whole.event_encoder.to_json() == other.event_encoder.to_json()
    assert whole.event_encoder.sizes[f"{word}s"] == 6


def test_a_run_of_before_items_answers_as_it_did(
    one: tuple[str, Dataset, Training, Recurrent], tmp_path: Path
) -> None:
    """Such a folder has no word of items, of locations or of the calendar."""
    _, dataset, training, _ = one
    old = ("encoder.items=0", "encoder.locations=0", "encoder.calendar=[hour]", "epochs=1")
    model = fitted(load_config(None, [*KEYS, *old]), training)
    model.save(tmp_path)
    expected = model.predict_proba(dataset.test)
    path = tmp_path / "vocabularies.json"
    content = json.loads(path.read_text())
    for key in ("items", "locations", "calendar"):
        del content["events"][key]
    path.write_text(json.dumps(content))
    path = tmp_path / "config.yml"
    config = yaml.safe_load(path.read_text())
    for key in ("items", "item_size", "locations", "location_size", "calendar"):
        del config["encoder"][key]
    path.write_text(yaml.safe_dump(config))
    assert np.array_equal(Recurrent.load(tmp_path).predict_proba(dataset.test), expected)
    served = Served.load(tmp_path).predict_proba(dataset.test)
    assert served == pytest.approx(expected, abs=1e-5)


def test_words_are_hidden_in_training_alone() -> None:
    from trainer.models.network import SequenceEncoder

    config = FitConfig().encoder.model_copy(update={"unknown": 0.25})
    encoder = SequenceEncoder(config, 2, 9, 9, 0, 4)
    words = torch.ones(200, 100, dtype=torch.long)
    torch.manual_seed(0)
    items, categories, locations = encoder.train().hide(words, words, words)
    # 20,000 draws of .25: a deviation is .003. Each column draws for itself.
    for hidden in (items, categories):
        assert float((hidden == 0).float().mean()) == pytest.approx(0.25, abs=0.015)
    both = float(((items == 0) & (categories == 0)).float().mean())
    assert both == pytest.approx(0.0625, abs=0.01)
    assert torch.equal(locations, words)  # no embedding reads them
    for kept in encoder.eval().hide(words, words, words):
        assert torch.equal(kept, words)
