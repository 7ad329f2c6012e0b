"""An exported folder is enough: what its README says, done here by hand, gives the run's answers.

Nothing of the trainer is used on the consumer's side, and events and features are read one by one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import synthetic_log as synthetic

from feature_repo.errors import BadInput
from trainer.config import load_config, save_config
from trainer.examples import Dataset
from trainer.exporting import export
from trainer.models.base import Training, write_json
from trainer.models.recurrent import Recurrent

TRAIN_END, VALID_END = datetime(2024, 1, 20), datetime(2024, 1, 24)


@pytest.fixture(scope="module")
def exported(
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path, Recurrent, Dataset, synthetic.Log]:
    words = ("encoder.items=2", "encoder.locations=2", "encoder.calendar=[hour,weekday]")
    keys = (*words, "encoder.hidden=8", "encoder.layers=1", "epochs=2", "tasks.next_time=0.3")
    config = load_config(None, [*keys, "fusion.kind=additive"])
    log = synthetic.order_two_log(users=15, events=30)
    for events in log.users.values():
        for place, event in enumerate(events):
            object.__setattr__(event, "item", f"i{place % 4}" if place % 3 else None)
            object.__setattr__(event, "location", f"l{place % 2}" if place % 9 else "rare")
    dataset = make_dataset(log, TRAIN_END, VALID_END, landmarks=True, waits=True)
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training_of(log, dataset, config))
    home = tmp_path_factory.mktemp("home")
    folder = home / "models" / "one"
    folder.mkdir(parents=True)
    model.save(folder)
    write_json(folder / "run.json", {})
    (home / "models" / "latest").symlink_to("one")
    target = export(home, None, home / "to" / "exported")
    return home, target, model, dataset, log


# ---- a consumer ----------------------------------------------------------------------------------


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def ask(folder: Path, graph: str, **inputs: Any) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(folder / graph), providers=["CPUExecutionProvider"])
    signature = read(folder, "interface.json")["graphs"][graph]
    known = {each["name"] for each in signature["inputs"]}
    given = {name: value for name, value in inputs.items() if name in known}
    for each in signature["inputs"]:
        if each["name"] in ("hidden", "cell"):  # the state, from zeros
            layers, _, width = each["shape"]
            rows = len(inputs["actions"])
            given[each["name"]] = np.zeros((layers, rows, width), np.float32)
    names = [each["name"] for each in signature["outputs"]]
    return dict(zip(names, session.run(names, given), strict=True))


def s(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def events_of(folder: Path, history: list[synthetic.Event]) -> dict[str, np.ndarray]:
    known = read(folder, "vocabularies.json")["events"]
    window = read(folder, "interface.json")["window"]
    rows = []
    for place, event in enumerate(history):
        numbers = []
        gap = (event.at - history[place - 1].at) / timedelta(milliseconds=1) if place else None
        for value, (m, d) in ((gap, known["gap_ms"]), (event.duration_ms, known["duration_ms"])):
            numbers += [0.0, 1.0] if value is None else [(s(value) - m) * d, 0.0]
        assert known["calendar"] == ["hour", "weekday"]
        for turn in (event.at.hour / 24, event.at.weekday() / 7):
            numbers += [math.sin(2 * math.pi * turn), math.cos(2 * math.pi * turn)]
        lists = [known[name] for name in ("actions", "items", "categories", "locations")]
        texts = (event.action, event.item, event.category, event.location)
        places = [
            words.index(text) + 1 if text in words else 0
            for words, text in zip(lists, texts, strict=True)
        ]
        rows.append((*places, numbers))
    *words, numbers = zip(*rows[-window:], strict=True)
    names = ("actions", "items", "categories", "locations")
    found = {name: np.array([each], np.int64) for name, each in zip(names, words, strict=True)}
    return found | {"numbers": np.array([numbers], np.float32)}


def context_of(folder: Path, values: dict[str, Any], now: datetime, closed: bool) -> np.ndarray:
    context = read(folder, "features.json")["context"]
    states = read(folder, "interface.json")["states"]
    clip = context["features"]["clip"]
    row: list[float] = []
    for code in context["features"]["codes"]:
        value, kind = values[code["name"]], code["kind"]
        if kind == "text":
            columns = [float(word == value) for word in code["vocabulary"]]
        elif value is None:
            columns = [0.0] * code["width"]
        else:
            if kind == "elapsed":
                passed = (now - value.replace(microsecond=0)) / timedelta(milliseconds=1)
                raw = [s(max(passed, 0.0))]
            else:
                raw = [float(each) for each in (value if isinstance(value, list) else [value])]
                raw = [s(each) for each in raw] if kind in ("number", "numbers") else raw
            scaled = zip(raw, code["mean"], code["scale"], strict=True)
            columns = [max(-clip, min(clip, (x - m) * d)) for x, m, d in scaled]
        row += columns
        if code["indicator"]:
            row.append(float(value is None))
    row += [float(day == now.weekday()) for day in range(7)]
    angle = 2 * math.pi * (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).seconds
    row += [math.sin(angle / 86_400), math.cos(angle / 86_400)]
    state = len(states) - 1 if closed else states.index(values["last_action_type"])
    own = np.array(values["transition_counts_all"]).reshape(len(states), -1)[state]
    base, k = np.array(context["user_row"]["population"][state]), context["user_row"]["strength"]
    p = (own + k * base) / (own.sum() + k)
    if closed:
        p[-1] = 0.0
        p /= p.sum()
    row += [*np.log(np.maximum(p, 0.0001)), math.log1p(own.sum())]
    assert len(row) == len(read(folder, "interface.json")["columns"])
    return np.array([row], np.float32)


def test_by_the_readme_alone_a_consumer_gets_the_run_s_answers(
    exported: tuple[Path, Path, Recurrent, Dataset, synthetic.Log],
) -> None:
    _, folder, model, dataset, log = exported
    test = dataset.test
    chosen = np.linspace(0, len(test) - 1, 12).astype(int)
    rows = test.take(chosen)
    expected, waits = model.predict_proba(rows), model.predict_next_time(rows)
    closings = set()
    for place in range(len(rows)):
        now = rows.instants[place].item()
        user = str(rows.users[place])
        history = [event for event in log.users[user] if event.at <= now]
        closed = now >= history[-1].at + timedelta(minutes=30)
        closings.add(closed)
        encoded = ask(folder, "encoder.onnx", **events_of(folder, history))["encoded"][:, -1]
        context = context_of(folder, synthetic.values_at(log, user, now), now, closed)
        head = ask(folder, "head.onnx", encoded=encoded, context=context, closed=np.array([closed]))
        powers = np.exp(head["logits"][0] - head["logits"][0].max())
        assert powers / powers.sum() == pytest.approx(expected[place], abs=1e-5)
        sources = read(folder, "features.json")["sources"]
        assert head["parts"].shape[1] == len(sources)
        quantiles = ask(folder, "next_time.onnx", encoded=encoded, context=context)["quantiles"]
        found = np.maximum(quantiles[0], 0)
        assert found == pytest.approx(np.log1p(waits[place]), abs=1e-4)
    assert closings == {True, False}


def test_the_worked_example_is_one(
    exported: tuple[Path, Path, Recurrent, Dataset, synthetic.Log],
) -> None:
    _, folder, *_ = exported
    example = read(folder, "example.json")
    words = ("actions", "items", "categories", "locations")
    types = dict.fromkeys(words, np.int64) | {"closed": np.bool_}
    given = {k: np.array(v, types.get(k, np.float32)) for k, v in example["inputs"].items()}
    encoded = ask(folder, "encoder.onnx", **given)["encoded"][:, -1]
    outputs = example["outputs"]
    assert encoded == pytest.approx(np.array(outputs["encoded"]), abs=1e-5)
    logits = ask(folder, "head.onnx", encoded=encoded, **given)["logits"]
    finite = np.isfinite(logits)
    assert not finite.all()
    assert logits[finite] == pytest.approx(np.array(outputs["next_action"])[finite], abs=1e-5)
    quantiles = ask(folder, "next_time.onnx", encoded=encoded, **given)["quantiles"]
    assert quantiles == pytest.approx(np.array(outputs["next_time"]), abs=1e-5)


def test_the_folder_says_what_is_in_it(
    exported: tuple[Path, Path, Recurrent, Dataset, synthetic.Log],
) -> None:
    _, folder, model, *_ = exported
    names = {path.name for path in folder.iterdir()}
    graphs = {"encoder.onnx", "head.onnx", "next_time.onnx"}
    texts = {"vocabularies.json", "features.json", "interface.json", "example.json", "README.md"}
    assert names == graphs | texts
    interface = read(folder, "interface.json")
    assert set(interface["graphs"]) == graphs
    assert interface["states"] == list(model.states)
    assert interface["columns"] == model.context.columns
    assert interface["levels"] == [0.1, 0.25, 0.5, 0.75, 0.9]


def test_what_cannot_be_exported_is_refused(
    exported: tuple[Path, Path, Recurrent, Dataset, synthetic.Log], tmp_path: Path
) -> None:
    home, folder, *_ = exported
    with pytest.raises(BadInput, match="there is something already"):
        export(home, "one", folder)
    (tmp_path / "empty").mkdir()
    assert export(home, "one", tmp_path / "empty") == tmp_path / "empty"
    baseline = home / "models" / "two"
    baseline.mkdir()
    write_json(baseline / "run.json", {})
    save_config(load_config(None, ["model=markov_1"]), baseline / "config.yml")
    with pytest.raises(BadInput, match="run two is a markov_1, which has no graph"):
        export(home, "two", tmp_path / "other")
    assert not (tmp_path / "other").exists()
