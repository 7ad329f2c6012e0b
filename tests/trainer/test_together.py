"""Several processes that train together make the steps that one process makes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import synthetic_log as synthetic
import torch
import yaml
from team_member import toy_log, toy_training
from toy_fits import fitted

from feature_repo.errors import BadInput
from trainer import training_set
from trainer.config import load_config
from trainer.fitting import fit
from trainer.models.base import silent

MEMBER = Path(__file__).with_name("team_member.py")
# What draws random numbers by row would draw others in each process.
EXACT = (
    *("encoder.hidden=8", "batch=6", "chunk=12", "burn_in=5", "epochs=3", "learning_rate=0.01"),
    *("tasks.next_time=0.3", "device=cpu", "encoder.dropout=0", "encoder.unknown=0"),
    *("head.dropout=0", "fusion.scale_dropout=0"),
)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    log = toy_log()
    spine, label_next = synthetic.label_tables(log, True)
    pq.write_table(spine, folder / "spine.parquet")
    pq.write_table(label_next, folder / "label_next.parquet")
    pq.write_table(synthetic.events_table(log), folder / "events.parquet")
    return folder


def together(size: int, given: dict[str, Any]) -> list[tuple[int, str]]:
    """Run so many processes; exit code and standard error of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": "1",
    }
    members = [
        subprocess.Popen(
            [sys.executable, str(MEMBER), json.dumps(given)],
            env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    return [(m.wait(timeout=120), (m.communicate()[1])) for m in members]


def trained(size: int, given: dict[str, Any]) -> dict[str, Any]:
    out = Path(given["out"])
    out.mkdir(parents=True, exist_ok=True)
    ended = together(size, given)
    assert [code for code, _ in ended] == [0] * size, ended
    assert not list((out / "scratch").iterdir())
    return torch.load(out / "weights.pt")


@pytest.mark.parametrize(
    "buffer",
    [
        pytest.param(10**9, marks=pytest.mark.slow, id="one buffer"),
        pytest.param(16_000, id="several"),
    ],
)
def test_two_processes_end_where_one_does(
    buffer: int, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users of unlike length, labels of unlike number: a mean of the two means would be another."""
    keys = [*EXACT, "encoder.coarse=[day]"]
    given = {"labels": str(labels), "keys": keys, "out": str(tmp_path / "two"), "buffer": buffer}
    two = trained(2, given)
    monkeypatch.setattr(training_set, "BUFFER_BYTES", buffer)
    config = load_config(None, keys)
    one = fitted(config, toy_training(labels, config))
    assert two["loss"] == pytest.approx([epoch.loss for epoch in one.curve], abs=1e-6)
    for name, weights in one.network.state_dict().items():
        # Sums of float32 in another order, over all steps of two fits; wrong means are 1e-3 off.
        assert two["weights"][name].numpy() == pytest.approx(weights.numpy(), abs=1e-5), name


# Dropout too: the random numbers of each process are part of what goes on.
DRAWING = [*EXACT[:8], "head.dropout=0.3"]


def killed(dies: int, labels: Path, out: Path) -> dict[str, Any]:
    """Let one of two processes die in the second epoch; what they were given."""
    out.mkdir()
    given = {"labels": str(labels), "keys": DRAWING, "out": str(out)}
    ended = together(2, {**given, "dies": dies})
    assert ended[dies][0] == 9
    code, said = ended[1 - dies]
    assert code == 2
    assert f"error: process {1 - dies} of 2: another process of this training ended" in said
    assert "Traceback" not in said
    assert not (out / "weights.pt").exists()
    return given


def test_a_dead_process_ends_the_other(labels: Path, tmp_path: Path) -> None:
    killed(1, labels, tmp_path / "out")


@pytest.mark.slow
def test_without_the_first_process_the_others_end_and_a_new_fit_goes_on(
    labels: Path, tmp_path: Path
) -> None:
    given = killed(0, labels, tmp_path / "killed")
    whole = trained(2, {**given, "out": str(tmp_path / "whole")})
    resumed = trained(2, {**given, "resume": True})
    assert resumed["loss"] == whole["loss"]
    for name, weights in whole["weights"].items():
        assert torch.equal(resumed["weights"][name], weights)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("model=logistic", "model=logistic is fitted by one process"),
        ("privacy.epsilon=8", "privacy.epsilon is fitted by one process"),
        ("federated.by=users", "federated.by is fitted by one process"),
    ],
)
def test_what_one_process_fits_is_refused_in_each_of_several(
    key: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before they wait for each other: there is no second process here.
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match=said):
        fit(tmp_path, load_config(None, [key]), silent)


@pytest.mark.slow
def test_torchrun_fits_one_run_as_one_process_does(tmp_path: Path) -> None:
    log = synthetic.order_two_log(users=25, events=30)
    split = {"train_end": "2024-01-20", "valid_end": "2024-01-24"}
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "toy", "events_path": "toy.csv", "columns": columns}
    path = tmp_path / "toy.yml"
    path.write_text(yaml.safe_dump(content | {"actions": ["a", "b"]}))
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    found = []
    for size, begin in ((1, []), (2, torchrun)):
        home = synthetic.publish(log, tmp_path / str(size), split=split)
        env = {**os.environ, "SCALESPACE_HOME": str(home), "OMP_NUM_THREADS": "1"}

        def run(*command: str, env: dict[str, str] = env) -> str:
            done = subprocess.run(
                [sys.executable, *command], env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        run("-m", "trainer", "apply", "--dataset", str(path))
        said = run(*begin, "-m", "trainer", "fit", "--dataset", str(path), *EXACT)
        assert said.count("next action, test part") == 1
        (folder,) = (home / "models").glob("2*")
        assert json.loads((folder / "run.json").read_text())["processes"] == size
        assert not list((home / "checkpoints").iterdir())
        found.append(json.loads((folder / "metrics.json").read_text())["lstm"]["next_action"])
    assert found[1]["log_loss"] == pytest.approx(found[0]["log_loss"], abs=1e-5)
