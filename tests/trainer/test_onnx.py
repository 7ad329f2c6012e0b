"""The exported network gives what torch gives, at any size, and needs no torch."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import synthetic_log as synthetic
import torch

from trainer.config import FitConfig, load_config
from trainer.examples import Dataset
from trainer.models.base import Training
from trainer.models.heads import NextActionHead
from trainer.models.network import Network
from trainer.models.onnx_export import export_onnx
from trainer.models.onnx_network import OnnxNetwork
from trainer.models.recurrent import Recurrent
from trainer.models.served import Served

# The columns of a context: two scales, what has none, and the user's own row of 4 states.
GROUPS = (*("7d",) * 3, *("all",) * 2, "now", "calendar", *("user_row",) * 5)
NUMBERS, CONTEXT, STATES, HORIZONS = 6, len(GROUPS), 4, 2
SIZES = [(1, 1), (3, 7), (256, 1)]
KINDS = ("concat", "weighted", "gated", "additive")


def network_of(cell: str, layers: int, words: int = 5, *keys: str) -> Network:
    """A network with both heads, and as many words of each kind."""
    given = [f"encoder.cell={cell}", f"encoder.layers={layers}", "tasks.conversion=0.3", *keys]
    torch.manual_seed(3)
    network = Network(
        load_config(None, given),
        actions=3,
        items=words,
        categories=words,
        locations=words,
        numbers=NUMBERS,
        groups=GROUPS,
        states=STATES,
        horizons=HORIZONS,
    )
    # Weights of a fitted network are larger than fresh ones, and so are its errors.
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2.0)
        if network.conversion is not None:
            network.conversion.calibration.copy_(torch.tensor([[0.7, -0.3], [0.4, 0.2]]))
    return network.eval()


def head_of(network: Network) -> NextActionHead:
    assert network.head is not None
    return network.head


def events_of(batch: int, time: int, words: int = 5) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(batch * 100 + time)
    return (
        random.integers(0, 4, (batch, time)),
        *(random.integers(0, words + 1, (batch, time)) for _ in range(3)),
        random.normal(size=(batch, time, NUMBERS)).astype(np.float32),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("cell", "layers"), [("lstm", 2), ("gru", 2), ("rnn", 1), ("lstm", 1)])
def test_encoder_equals_torch(
    cell: str, layers: int, size: tuple[int, int], tmp_path: Path
) -> None:
    """Case P14: (1, 1), (3, 7) and (256, 1), from a state that is not zero, within 1e-5."""
    network = network_of(cell, layers)
    export_onnx(network, NUMBERS, CONTEXT, tmp_path)
    exported = OnnxNetwork(tmp_path)
    events = events_of(*size)
    random = np.random.default_rng(1)
    state = tuple(
        random.normal(size=part.shape).astype(np.float32) for part in exported.start(size[0])
    )
    with torch.no_grad():
        given = tuple(map(torch.from_numpy, state))
        hidden, after = network.encoder(
            *map(torch.from_numpy, events), given if len(given) > 1 else given[0]
        )
    encoded, state_after = exported.encode(*events, state)
    assert encoded == pytest.approx(hidden.numpy(), abs=1e-5)
    expected = after if isinstance(after, tuple) else (after,)
    assert len(state_after) == len(expected) == (2 if cell == "lstm" else 1)
    for found, part in zip(state_after, expected, strict=True):
        assert found == pytest.approx(part.numpy(), abs=1e-5)


@pytest.mark.parametrize("more", [(), ("fusion.row_skip=0", "head.hidden=12")])
@pytest.mark.parametrize("kind", KINDS)
def test_heads_equal_torch(kind: str, more: tuple[str, ...], tmp_path: Path) -> None:
    """Case P14 for what follows the encoder, at 1, 3 and 256 rows."""
    network = network_of("gru", 1, 5, f"fusion.kind={kind}", *more)
    export_onnx(network, NUMBERS, CONTEXT, tmp_path)
    exported = OnnxNetwork(tmp_path, conversion=True)
    head, conversion = head_of(network), network.conversion
    assert conversion is not None
    for rows in (1, 3, 256):
        random = np.random.default_rng(rows)
        encoded = random.uniform(-1, 1, (rows, 50)).astype(np.float32)
        context = random.normal(size=(rows, CONTEXT)).astype(np.float32)
        closed = random.random(rows) < 0.5
        given = tuple(map(torch.from_numpy, (encoded, context, closed)))
        with torch.no_grad():
            logits = head(*given).numpy()
            converted = conversion.calibrated(*given[:2]).numpy()
        found = exported.logits(encoded, context, closed)
        assert np.isneginf(found[:, -1]).tolist() == closed.tolist()
        assert np.array_equal(np.isneginf(found), np.isneginf(logits))
        finite = np.isfinite(logits)
        assert found[finite] == pytest.approx(logits[finite], abs=1e-5)
        assert exported.conversion_logits(encoded, context) == pytest.approx(converted, abs=1e-5)
        if kind != "additive":
            assert head.sources == ()
            continue
        parts = exported.parts(encoded, context, closed)
        row = () if more else ("user_row:counted",)
        names = ("prior", "sequence", "7d", "all", "now", "calendar", "user_row", *row)
        assert head.sources == names
        assert parts.shape == (rows, len(names), STATES)
        assert parts.sum(axis=1)[finite] == pytest.approx(logits[finite], abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_encoder_and_head_together_equal_torch(cell: str, kind: str, tmp_path: Path) -> None:
    network = network_of(cell, 2, 5, f"fusion.kind={kind}")
    export_onnx(network, NUMBERS, CONTEXT, tmp_path)
    exported = OnnxNetwork(tmp_path)
    events = events_of(3, 7)
    context = np.random.default_rng(2).normal(size=(3, CONTEXT)).astype(np.float32)
    closed = np.zeros(3, dtype=bool)
    with torch.no_grad():
        hidden, _ = network.encoder(*map(torch.from_numpy, events))
        logits = head_of(network)(
            hidden[:, -1], torch.from_numpy(context), torch.from_numpy(closed)
        )
    encoded, _ = exported.encode(*events)
    found = exported.logits(encoded[:, -1], context, closed)
    assert found == pytest.approx(logits.numpy(), abs=1e-5)


def test_a_head_that_is_not_there_is_not_exported(tmp_path: Path) -> None:
    for key, there in (("tasks.conversion=0", "head.onnx"), ("tasks.next_action=0", "conversion")):
        folder = tmp_path / there
        folder.mkdir()
        export_onnx(network_of("rnn", 1, 5, key), NUMBERS, CONTEXT, folder)
        assert len(list(folder.iterdir())) == 2
        assert list(folder.glob(f"{there}*"))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_events_one_by_one_equal_the_whole(cell: str, tmp_path: Path) -> None:
    export_onnx(network_of(cell, 2), NUMBERS, CONTEXT, tmp_path)
    exported = OnnxNetwork(tmp_path)
    events = events_of(3, 50)
    whole, end = exported.encode(*events)
    state = None
    for step in range(50):
        now = slice(step, step + 1)
        encoded, state = exported.encode(*(each[:, now] for each in events), state)
        assert encoded[:, 0] == pytest.approx(whole[:, step], abs=1e-5)
    assert state is not None
    for part, expected in zip(state, end, strict=True):
        assert part == pytest.approx(expected, abs=1e-5)
    # Another order is another history.
    other, _ = exported.encode(*(each[:, ::-1] for each in events))
    assert np.abs(other[:, -1] - whole[:, -1]).max() > 1e-3


def test_a_network_that_reads_no_words_exports(tmp_path: Path) -> None:
    network = network_of("lstm", 1, words=0)
    export_onnx(network, NUMBERS, CONTEXT, tmp_path)
    events = events_of(3, 7, words=0)
    with torch.no_grad():
        hidden, _ = network.encoder(*map(torch.from_numpy, events))
    encoded, _ = OnnxNetwork(tmp_path).encode(*events)
    assert encoded == pytest.approx(hidden.numpy(), abs=1e-5)


def test_the_export_is_quiet_and_the_same_twice(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = network_of("lstm", 2).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            export_onnx(network, NUMBERS, CONTEXT, tmp_path / name)
    assert network.training  # as it was
    assert capfd.readouterr() == ("", "")
    for graph in ("encoder.onnx", "head.onnx", "conversion.onnx"):
        assert (tmp_path / "one" / graph).read_bytes() == (tmp_path / "two" / graph).read_bytes()


@pytest.fixture(scope="module")
def fitted(
    make_dataset: Callable[..., Dataset],
    training_of: Callable[..., Training],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Recurrent, Served, Dataset, Path]:
    law = [[0.6, 0.2, 0.1, 0.1], [0.3, 0.5, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]]
    log = synthetic.markov_log(law, users=40, events=70, seed=8)
    dataset = make_dataset(log, datetime(2024, 1, 20), datetime(2024, 1, 24), landmarks=True)
    config: FitConfig = load_config(
        None, ["encoder.hidden=16", "encoder.layers=2", "epochs=3", "learning_rate=0.01"]
    )
    model = Recurrent(config, synthetic.INPUTS)
    model.fit(training_of(log, dataset, config))
    folder = tmp_path_factory.mktemp("run")
    model.save(folder)
    return model, Served.load(folder), dataset, folder


def test_the_served_model_equals_the_fitted_one(
    fitted: tuple[Recurrent, Served, Dataset, Path],
) -> None:
    model, served, dataset, _ = fitted
    examples = dataset.examples
    assert len(examples) > 1024  # more than one pass of either
    assert examples.lengths.max() > 50  # more than the window
    expected, found = model.predict_proba(examples), served.predict_proba(examples)
    assert found == pytest.approx(expected, abs=1e-5)
    closed = examples.states == 3
    assert closed.any()
    assert (found[closed, 3] == 0).all()
    assert (served.name, served.states, served.features) == (
        model.name,
        model.states,
        model.features,
    )


def test_means_are_those_of_the_training_part(
    fitted: tuple[Recurrent, Served, Dataset, Path],
) -> None:
    _, served, dataset, _ = fitted
    train = dataset.train
    columns = served.context.columns
    opened = columns.index("session_is_open")
    share = np.mean(train.features["session_is_open"].to_numpy(zero_copy_only=False))
    assert 0.2 < share < 1
    assert served.means[opened] == pytest.approx(share, abs=1e-5)
    on_monday = (train.instants.astype("datetime64[D]").astype(int) + 3) % 7 == 0
    assert served.means[columns.index("weekday=mon")] == pytest.approx(on_monday.mean(), abs=1e-5)


def test_a_loaded_model_saves_the_same_again(
    fitted: tuple[Recurrent, Served, Dataset, Path], tmp_path: Path
) -> None:
    _, _, _, folder = fitted
    Recurrent.load(folder).save(tmp_path)
    for path in folder.iterdir():
        if path.suffix != ".pt":  # a zip file that names its folder
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_serving_needs_no_torch(fitted: tuple[Recurrent, Served, Dataset, Path]) -> None:
    """Feast loads torch where it is installed; where it is not, everything still works."""
    _, _, _, folder = fitted
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom pathlib import Path\n"
        "import feast, trainer.prediction, trainer.serving.app, trainer.serving.server\n"
        "from trainer.models.served import Served\n"
        "print(Served.load(Path(sys.argv[1])).states)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "('browse', 'search', 'purchase', 'leave')", done.stderr
