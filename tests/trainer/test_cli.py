"""The command line: what it teaches, what it refuses, and the whole path on a small home."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import synthetic_log as synthetic
import yaml
from typer.testing import CliRunner, Result

from trainer.cli import app
from warm_python import WarmPython

COMMANDS = (
    *("build", "apply", "sync", "verify", "fit", "evaluate", "compare"),
    *("tune", "report", "backtest", "shuffle-test", "monitor"),
    *("predict", "explain", "recommend", "similar", "export"),
    *("serve", "stream", "journal", "forget", "attack", "demo"),
)
ABOUT_A_USER = ("predict", "explain", "recommend", "similar", "forget")
SMALL = ("encoder.hidden=8", "encoder.layers=1", "epochs=2", "learning_rate=0.01")
SPLIT = {"train_end": "2024-01-20", "valid_end": "2024-01-24"}


def trainer(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def refusal(*arguments: str) -> str:
    """The one line of a refused command."""
    result = trainer(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset file beside an empty home."""
    path = tmp_path / "toy.yml"
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "toy", "events_path": str(tmp_path / "toy.csv"), "columns": columns}
    path.write_text(yaml.safe_dump(content | {"actions": ["a", "b"]}))
    monkeypatch.setenv("SCALESPACE_HOME", str(tmp_path / "home"))
    return path


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, synthetic.Log]:
    """A home on which apply, sync and fit have run; the dataset file, the home and its log."""
    folder = tmp_path_factory.mktemp("with a space")
    log = synthetic.order_two_log(users=25, events=30)
    home = synthetic.publish(log, folder / "home", split=SPLIT)
    path = folder / "toy.yml"
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "toy", "events_path": "toy.csv", "columns": columns}
    path.write_text(yaml.safe_dump(content | {"actions": ["a", "b"]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(home))
        assert "has no run" not in refusal("fit", "--dataset", str(path), *SMALL)  # not applied
        for arguments in (("apply",), ("sync", "--at", "end"), ("fit", *SMALL)):
            result = trainer(*arguments, "--dataset", str(path))
            assert result.exit_code == 0, result.output + result.stderr
    return path, home, log


@pytest.fixture
def ready(
    walked: tuple[Path, Path, synthetic.Log], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path, synthetic.Log]:
    monkeypatch.setenv("SCALESPACE_HOME", str(walked[1]))
    return walked


@pytest.fixture
def own(
    walked: tuple[Path, Path, synthetic.Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path, synthetic.Log]:
    """The same with a copy of the home, which a test may change."""
    path, home, log = walked
    shutil.copytree(home, tmp_path / "home", symlinks=True)
    monkeypatch.setenv("SCALESPACE_HOME", str(tmp_path / "home"))
    return path, tmp_path / "home", log


def probabilities(*arguments: str) -> dict:
    result = trainer("predict", "--json", *arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return json.loads(result.stdout)


# ---- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str) -> None:
    result = trainer(command, "--help")
    assert result.exit_code == 0
    assert f"trainer {command}" in result.stdout  # an example to copy


def test_help_loads_neither_torch_nor_feast() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom trainer.cli import app\n"
        "assert CliRunner().invoke(app, ['fit', '--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'feast', 'pandas', 'pyarrow', 'dbt') if m in sys.modules])"
    )
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - begun < 10


# ---- refusals before anything runs ---------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_dataset_file_is_refused(command: str) -> None:
    more = ["--user", "u"] if command in ABOUT_A_USER else []
    more += ["--to", "folder"] if command == "export" else []
    line = refusal(command, "--dataset", "data/absent.yml", *more)
    assert "data/absent.yml: there is no such dataset file" in line


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("build", "demo")])
def test_nothing_works_before_a_build(toy: Path, command: str) -> None:
    more = ["--user", "u"] if command in ABOUT_A_USER else []
    more += ["--to", "folder"] if command == "export" else []
    assert "no dbt build found" in refusal(command, "--dataset", str(toy), *more)


def test_a_missing_key_is_named(toy: Path) -> None:
    toy.write_text("dataset: toy\n")
    assert "the key 'events_path' is missing" in refusal("build", "--dataset", str(toy))


@pytest.mark.parametrize("command", ["build", "demo"])
def test_a_missing_log_is_named(toy: Path, command: str) -> None:
    assert "events_path: no file matches" in refusal(command, "--dataset", str(toy))


def test_a_bad_override_is_refused_first(toy: Path) -> None:
    line = refusal("fit", "--dataset", str(toy), "encoder.cel=gru")
    assert "unknown key 'encoder.cel'; the nearest known key is 'encoder.cell'" in line


@pytest.mark.parametrize(
    "arguments", [("sync", "--at", "noon"), ("predict", "--user", "u", "--at", "2024-99-01")]
)
def test_a_bad_instant_is_refused(toy: Path, arguments: tuple[str, ...]) -> None:
    assert "--at: " in refusal(*arguments, "--dataset", str(toy))


def test_the_home_of_another_dataset_is_refused(toy: Path, tmp_path: Path) -> None:
    log = synthetic.order_two_log(users=2, events=3)
    synthetic.publish(log, tmp_path / "home", dataset="other")
    assert "was built from dataset 'other'" in refusal("apply", "--dataset", str(toy))


def test_before_apply_before_sync_before_fit(toy: Path, tmp_path: Path) -> None:
    log = synthetic.order_two_log(users=4, events=5)
    home = synthetic.publish(log, tmp_path / "home")
    given = ("--dataset", str(toy))
    assert "apply" in refusal("fit", *given)
    assert "apply" in refusal("sync", "--at", "end", *given)
    for command in (("predict", "--user", "u000"), ("evaluate",), ("serve",)):
        assert "run trainer fit" in refusal(*command, *given)
    assert not (home / "models").exists()


def test_a_split_without_training_rows_is_refused(toy: Path, tmp_path: Path) -> None:
    log = synthetic.order_two_log(users=4, events=5)
    split = {"train_end": "2020-01-01", "valid_end": "2020-02-01"}
    home = synthetic.publish(log, tmp_path / "home", split=split)
    assert trainer("apply", "--dataset", str(toy)).exit_code == 0
    assert "no training row lies before 2020-01-01" in refusal("fit", "--dataset", str(toy))
    assert not (home / "models").exists()  # never half a run


# ---- the path ------------------------------------------------------------------------------------


def test_a_run_folder_is_whole(ready: tuple[Path, Path, synthetic.Log]) -> None:
    _, home, _ = ready
    (run,) = (path for path in (home / "models").iterdir() if path.name != "latest")
    assert (home / "models" / "latest").resolve() == run
    assert {path.name for path in run.iterdir()} == {
        "weights.pt",
        "encoder.onnx",
        "head.onnx",
        "config.yml",
        "vocabularies.json",
        "features.json",
        "rankings.json",
        "split.json",
        "run.json",
        "metrics.json",
        "reference.json",
        "marginal.json",
        "markov_1.json",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics) == ["marginal", "markov_1", "lstm"]
    for model in metrics.values():
        assert {"accuracy", "macro_recall", "log_loss", "top_3", "ece"} <= set(model["next_action"])
    split = json.loads((run / "split.json").read_text())
    assert split["cuts"]["train_end"].startswith("2024-01-20")
    assert (split["seed"], split["threads"], len(split["data"])) == (0, 1, 64)
    assert yaml.safe_load((run / "config.yml").read_text())["encoder"]["hidden"] == 8


def test_evaluate_repeats_the_fit_s_figures(ready: tuple[Path, Path, synthetic.Log]) -> None:
    path, home, _ = ready
    result = trainer("evaluate", "--json", "--dataset", str(path))
    assert result.exit_code == 0, result.output
    written = json.loads((home / "models" / "latest" / "metrics.json").read_text())
    assert json.loads(result.stdout) == written
    shown = trainer("evaluate", "--dataset", str(path), "--sample", "4").stdout
    for word in ("marginal", "markov_1", "lstm", "cold users", "predicted", "actual"):
        assert word in shown


def test_the_same_seed_and_threads_give_the_same_metrics_file(
    own: tuple[Path, Path, synthetic.Log],
) -> None:
    path, home, _ = own
    first = (home / "models" / "latest" / "metrics.json").read_bytes()
    for seed, same in ((0, True), (1, False)):
        assert trainer("fit", *SMALL, f"seed={seed}", "--dataset", str(path)).exit_code == 0
        latest = home / "models" / "latest"
        assert ((latest / "metrics.json").read_bytes() == first) == same
        assert json.loads((latest / "split.json").read_text())["seed"] == seed


def test_evaluate_gives_a_metric_by_name_or_fails(ready: tuple[Path, Path, synthetic.Log]) -> None:
    path, home, _ = ready
    written = json.loads((home / "models" / "latest" / "metrics.json").read_text())["lstm"]
    given = ("evaluate", "--dataset", str(path))
    asked = trainer(*given, "--metric", "log_loss", "--metric", "next_action.valid:accuracy")
    assert asked.stdout.splitlines() == [
        f"log_loss={written['next_action']['log_loss']!r}",
        f"next_action.valid:accuracy={written['next_action.valid']['accuracy']!r}",
    ]
    assert "'mrr' has no value for lstm" in refusal(*given, "--metric", "mrr")


def test_a_baseline_is_fitted_and_asked_like_the_network(
    own: tuple[Path, Path, synthetic.Log],
) -> None:
    path, home, _ = own
    given = ("--dataset", str(path))
    for model, beside in (("markov_2", ["marginal", "markov_1"]), ("markov_1", ["marginal"])):
        assert trainer("fit", f"model={model}", *given).exit_code == 0
        run = home / "models" / "latest"
        written = json.loads((run / "metrics.json").read_text())
        assert list(written) == [*beside, model]
        assert yaml.safe_load((run / "config.yml").read_text())["model"] == model
        assert not list(run.glob("*.pt"))
        assert json.loads(trainer("evaluate", "--json", *given).stdout) == written
        online = probabilities(*given, "--user", "u007")
        assert online == probabilities(*given, "--user", "u007", "--at", "end")
        assert sum(online["next_action"].values()) == pytest.approx(1.0)
    assert "model='markov_3': input should be 'recurrent'" in refusal(
        "fit", "model=markov_3", *given
    )


def test_users_are_held_out_of_a_fit_and_judged_again(
    own: tuple[Path, Path, synthetic.Log],
) -> None:
    path, home, _ = own
    given = ("--dataset", str(path))
    whole = json.loads((home / "models" / "latest" / "split.json").read_text())
    held = ("split.by=users", "split.share=0.4")
    assert trainer("fit", "model=markov_2", *held, *given).exit_code == 0
    split = json.loads((home / "models" / "latest" / "split.json").read_text())
    assert whole["held_out"] == {"by": "time", "users": 0}
    assert split["held_out"]["by"] == "users"
    assert 3 < split["held_out"]["users"] < 20
    assert 0 < split["rows"]["train"] < whole["rows"]["train"]
    assert 0 < split["rows"]["test"] < whole["rows"]["test"]
    written = json.loads((home / "models" / "latest" / "metrics.json").read_text())
    assert "next_action.seen_users" not in written["markov_2"]
    assert json.loads(trainer("evaluate", "--json", *given).stdout) == written
    line = refusal("fit", "split.by=location", *given)  # this log is nowhere
    assert "split.by=location: a share of 0.2 holds out 0 of 25 users" in line


def test_compare_fits_every_model_on_the_same_rows(own: tuple[Path, Path, synthetic.Log]) -> None:
    path, home, _ = own
    small = (*SMALL, "boosting.iterations=5")
    result = trainer("compare", "--dataset", str(path), "--seeds", "2", *small)
    assert result.exit_code == 0, result.output
    written = json.loads((home / "reports" / "compare.json").read_text())
    names = ["marginal", "recent_popularity", "repeat_last", "markov_1", "markov_2", "user_row"]
    items = ["item_popularity", "user_frequency", "item_transition", "v_sknn", "item_mixture"]
    assert list(written) == [*names, "column", "logistic", "boosting", *items, "lstm"]
    for name in (*items, "lstm"):  # the toy's events have a category and no item
        assert "next_item" not in written[name]
        assert written[name]["next_category"]["rows"] == written["lstm"]["next_category"]["rows"]
        seeds = 2 if name in ("item_mixture", "lstm") else None
        assert written[name]["next_category"].get("seeds") == seeds
    for name, tasks in written.items():
        assert name in result.stdout
        if name in items:
            assert "next_action" not in tasks
            continue
        assert tasks["next_action"]["rows"] == written["lstm"]["next_action"]["rows"]
        assert tasks["next_action"]["log_loss_low"] <= tasks["next_action"]["log_loss_high"]
        assert tasks["next_action"].get("seeds") == (2 if name in ("boosting", "lstm") else None)
    # What `fit` says of one model, `compare` says too.
    fitted = json.loads((home / "models" / "latest" / "metrics.json").read_text())
    for name in ("marginal", "markov_1"):
        assert fitted[name] == written[name]


def test_predicting_at_an_instant_equals_evaluating_there(
    ready: tuple[Path, Path, synthetic.Log],
) -> None:
    from trainer.fitting import read_dataset
    from trainer.runs import load_run

    path, home, _ = ready
    run = load_run(home)
    test = read_dataset(home, run).test
    expected = run.recurrent.predict_proba(test)
    for row in (0, len(test) // 2, len(test) - 1):
        at = str(test.instants[row])
        answer = probabilities("--dataset", str(path), "--user", test.users[row], "--at", at)
        assert answer["cold"] is False
        assert list(answer["next_action"]) == ["a", "b", "leave"]
        assert list(answer["next_action"].values()) == pytest.approx(expected[row], abs=1e-6)


def test_a_date_after_training_is_a_date(ready: tuple[Path, Path, synthetic.Log]) -> None:
    """Case P15, in process: years later, everyone has left, and comes back somehow."""
    from trainer.prediction import Predictor
    from trainer.runs import load_run

    _, home, _ = ready
    predictor = Predictor(home, load_run(home))
    answers = predictor.at(["u007", "nobody"], np.datetime64("2031-01-01T00:00:00", "us"))
    later, nobody = answers
    assert (later.state, later.cold) == ("leave", False)
    assert later.next_action["leave"] == 0
    assert (nobody.state, nobody.cold) == (None, True)
    for answer in answers:
        assert sum(answer.next_action.values()) == pytest.approx(1.0)
        assert np.isfinite(list(answer.next_action.values())).all()


def test_explain_recomputes_what_predict_says(ready: tuple[Path, Path, synthetic.Log]) -> None:
    path, _, log = ready
    given = ("--dataset", str(path), "--user", "u007")
    asked = trainer("explain", "--json", "--state", "b", *given)
    assert asked.exit_code == 0, asked.output + asked.stderr
    reasons = json.loads(asked.stdout)
    online = probabilities(*given)
    assert reasons["probability"] == pytest.approx(online["next_action"]["b"], abs=1e-6)
    assert abs(reasons["gap"]) < 1e-3
    middle = ("--at", log.users["u007"][20].at.isoformat())
    own = json.loads(trainer("explain", "--json", *middle, *given).stdout)["transitions"]
    assert own
    shown = trainer("explain", *middle, "--events", "3", *given).stdout
    assert "u007" in shown
    # Each event, each transition with its name, and everyone's transitions in place of his own.
    assert shown.count("→") == 3 + 2 * len(own) + 1
    for transition in own:
        assert f"{transition['before']} → {transition['after']}" in shown
    assert "'c' is no state; states: a, b, leave" in refusal("explain", "--state", "c", *given)
    nobody = refusal("explain", "--dataset", str(path), "--user", "nobody")
    assert "knows no event of 'nobody'" in nobody


def test_online_equals_offline_and_serving(ready: tuple[Path, Path, synthetic.Log]) -> None:
    from fastapi.testclient import TestClient

    from trainer.serving.app import make_app

    path, home, _ = ready
    given = ("--dataset", str(path), "--user", "u007")
    online, offline = probabilities(*given), probabilities(*given, "--at", "end")
    assert online == offline
    client = TestClient(make_app(home))
    (served,) = client.post("/predict", json={"user_id": "u007"}).json()["predictions"]
    assert served["next_action"] == pytest.approx(online["next_action"], abs=1e-6)


def test_a_fit_that_was_killed_is_resumed(
    own: tuple[Path, Path, synthetic.Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends with the weights of one that was not killed, and leaves no checkpoint."""
    import torch

    from trainer.runs import load_run

    path, home, _ = own
    keys = (*SMALL, "epochs=3", "tasks.next_time=0.3", "--dataset", str(path))

    def weights() -> dict:
        result = trainer("fit", *keys, "--resume")
        assert result.exit_code == 0, result.output + result.stderr
        name = (home / "models" / "latest").resolve().name
        return load_run(home, name).recurrent.network.state_dict() | {"said": result.stdout}

    whole = weights()
    assert "there is no checkpoint of this configuration on this data" in whole.pop("said")

    def killed(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trainer.terminal.detail", killed)
        assert trainer("fit", *keys).exit_code != 0
    assert len(list((home / "checkpoints").iterdir())) == 1
    resumed = weights()
    assert "going on after epoch 2 of 3" in resumed.pop("said")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not list((home / "checkpoints").iterdir())
    waits = probabilities("--user", "u003", "--dataset", str(path))["next_time"]
    assert list(waits) == ["p10", "p25", "p50", "p75", "p90"]
    assert list(waits.values()) == sorted(waits.values())
    shown = trainer("predict", "--user", "u003", "--dataset", str(path)).stdout
    assert "next event in" in shown
    evaluated = trainer("evaluate", "--dataset", str(path), "--json")
    assert json.loads(evaluated.stdout)["lstm"]["next_time"]["rows"] > 0


def test_a_run_is_exported(ready: tuple[Path, Path, synthetic.Log], tmp_path: Path) -> None:
    path, _, _ = ready
    result = trainer("export", "--dataset", str(path), "--to", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output + result.stderr
    assert (tmp_path / "out" / "README.md").is_file()
    line = refusal("export", "--dataset", str(path), "--to", str(tmp_path / "out"))
    assert "there is something already" in line


def test_an_unknown_user_gets_the_prior(ready: tuple[Path, Path, synthetic.Log]) -> None:
    path, _, _ = ready
    given = ("--dataset", str(path), "--user")
    for more in (("nobody",), ("nobody", "--at", "2024-01-20"), ("u001", "--at", "2000-01-01")):
        answer = probabilities(*given, *more)
        assert (answer["cold"], answer["state"]) == (True, None)
        assert sum(answer["next_action"].values()) == pytest.approx(1.0)
    assert "the prior" in trainer("predict", *given, "nobody").stdout


def test_an_unknown_run_is_named(ready: tuple[Path, Path, synthetic.Log]) -> None:
    path, _, _ = ready
    line = refusal("evaluate", "--dataset", str(path), "--run", "../../etc")
    assert "there is no run" in line
    assert "known: 2" in line


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("weights.pt", ("evaluate",)),
        ("encoder.onnx", ("predict", "--user", "u001")),
        ("head.onnx", ("serve",)),
        ("vocabularies.json", ("predict", "--user", "u001")),
    ],
)
def test_a_damaged_run_is_named(
    own: tuple[Path, Path, synthetic.Log],
    file: str,
    command: tuple[str, ...],
) -> None:
    path, home, _ = own
    damaged = home / "models" / "latest" / file
    damaged.write_bytes(damaged.read_bytes()[:100])
    line = refusal(*command, "--dataset", str(path))
    assert "this run is damaged" in line


def test_a_run_whose_features_changed_is_refused(own: tuple[Path, Path, synthetic.Log]) -> None:
    path, home, _ = own
    manifest_path = home / "target" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    columns = manifest["nodes"]["model.scalespace.user_activity_7d"]["columns"]
    columns["events_7d"] = {**columns.pop("event_count_7d"), "name": "events_7d"}
    manifest_path.write_text(json.dumps(manifest))
    view = home / "features" / "user_activity_7d.parquet"
    table = pq.read_table(view)
    pq.write_table(table.rename_columns(["user_id", "event_timestamp", "events_7d"]), view)
    assert trainer("apply", "--dataset", str(path)).exit_code == 0
    for command in (("predict", "--user", "u001"), ("evaluate",), ("serve",)):
        line = refusal(*command, "--dataset", str(path))
        assert "was fitted on features that the store no longer has" in line
        assert "user_activity_7d:event_count_7d" in line
        assert "run trainer fit again" in line


def test_online_is_verified_against_offline(own: tuple[Path, Path, synthetic.Log]) -> None:
    path, _, _ = own
    given = ("--dataset", str(path))
    found = trainer("verify", "--all", *given)
    assert found.exit_code == 0 and ": 0 mismatches" in found.output
    sampled = trainer("verify", "--sample", "3", *given)
    assert sampled.exit_code == 0 and ": 0 mismatches" in sampled.output
    # At another instant the same rows are other values.
    other = trainer("verify", "--all", "--at", "2000-01-01", *given)
    assert other.exit_code == 1
    assert "the first: view " in other.output and "offline None" in other.output
    again = trainer("sync", "--at", "end", *given)
    assert again.output.startswith("0 rows (0 values) of ")


def test_a_sync_is_repeated_until_it_is_told_to_end(
    walked: tuple[Path, Path, synthetic.Log], tmp_path: Path
) -> None:
    path, home, _ = walked
    shutil.copytree(home, tmp_path / "home", symlinks=True)
    process = WarmPython(
        *("-m", "trainer", "sync", "--every", "1s", "--dataset", str(path)),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"SCALESPACE_HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert all(" written, " in line and "now = 20" in line for line in lines)
    # The second had nothing to do but to move on.
    assert lines[1].startswith("0 rows (0 values) of ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--every", "soon"), "--every: 'soon' is not a duration"),
        (("--every", "0s"), "--every: '0s' is less than a second"),
        (("--every", "1m", "--at", "end"), "give --at or --every"),
    ],
)
def test_how_often_to_sync_is_said_rightly(
    toy: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refusal("sync", *arguments, "--dataset", str(toy))


def test_an_empty_online_store_is_named(own: tuple[Path, Path, synthetic.Log]) -> None:
    path, home, _ = own
    for file in (home / "feast").glob("online*"):
        file.unlink()
    for command in (("predict", "--user", "u001"), ("serve",)):
        assert "`trainer sync` first" in refusal(*command, "--dataset", str(path))


def test_a_fitted_weight_file_holds_no_code(ready: tuple[Path, Path, synthetic.Log]) -> None:
    import torch

    _, home, _ = ready
    weights = torch.load(home / "models" / "latest" / "weights.pt", weights_only=True)
    assert all(np.isfinite(value.numpy()).all() for value in weights.values())
    assert datetime.fromisoformat(SPLIT["train_end"]) < datetime(2024, 2, 1)
