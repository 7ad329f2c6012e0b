"""``trainer monitor`` on a home: exit codes, JSON, the page, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import synthetic_log as synthetic
import yaml
from steady_log import ACTIONS, BREAK, TRAIN_END, VALID_END, WEEK, steady_log
from typer.testing import CliRunner, Result

from trainer.cli import app

SMALL = ("encoder.hidden=8", "encoder.layers=1", "epochs=3", "learning_rate=0.01")
SPLIT = {"train_end": TRAIN_END.isoformat(), "valid_end": VALID_END.isoformat()}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset file, and a home with a run; the log breaks in the second week after validation."""
    folder = tmp_path_factory.mktemp("monitor")
    home = synthetic.publish(steady_log(0, broken=True, users=130), folder / "home", split=SPLIT)
    day = (BREAK + WEEK / 2).date().isoformat()
    quality = {"unknown_action_rows": {"2024-01-03": 1, day: 40}}
    (home / "reports" / "quality.json").write_text(json.dumps(quality))
    path = folder / "toy.yml"
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "toy", "events_path": "toy.csv", "columns": columns}
    path.write_text(yaml.safe_dump(content | {"actions": list(ACTIONS)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(home))
        for arguments in (("apply",), ("fit", "monitor.users=15", *SMALL)):
            result = command(path, *arguments)
            assert result.exit_code == 0, result.output + result.stderr
    return path, home


@pytest.fixture
def own(
    fitted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """The same with a copy of the home."""
    shutil.copytree(fitted[1], tmp_path / "home", symlinks=True)
    monkeypatch.setenv("SCALESPACE_HOME", str(tmp_path / "home"))
    return fitted[0], tmp_path / "home"


def command(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--dataset", str(path)], env={"COLUMNS": "200"})


def refusal(path: Path, *arguments: str) -> str:
    result = command(path, *arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_an_alarm_is_exit_code_3_and_none_is_0(own: tuple[Path, Path]) -> None:
    path, home = own
    before = command(path, "monitor", "--to", BREAK.isoformat())
    assert before.exit_code == 0, before.output
    assert json.loads((home / "reports" / "monitor.json").read_text())["alarms"] == 0
    assert "No figure crossed" in (home / "reports" / "monitor.html").read_text()

    after = command(path, "monitor")
    assert after.exit_code == 3, after.output
    found = json.loads((home / "reports" / "monitor.json").read_text())
    assert [bool(period["alarms"]) for period in found["periods"]][:2] == [False, True]
    broken = found["periods"][1]
    figures = {alarm["figure"] for alarm in broken["alarms"]}
    assert {"log_loss", "calibration", "unknown"} <= figures
    assert broken["unknown"] == pytest.approx(40 / (40 + events_of_the_week(home)))
    assert broken["unknown"] > 0.02 and found["reference"]["unknown"] < 0.01
    assert f"alarm until {broken['end'][:16]}" in after.output
    # Every scale and the two that are none.
    assert set(broken["groups"]) == {"now", "7d", "all", "predictions", "labels"}
    page = (home / "reports" / "monitor.html").read_text()
    assert page.count("<img") == 2 and "next_action" in page and "u000" not in page
    (home / "reports" / "quality.json").unlink()  # of which the report wants more
    assert command(path, "report").exit_code == 0
    report = (home / "reports" / "report.html").read_text()
    assert 'href="monitor.html"' in report and 'id="drift"' in report


def events_of_the_week(home: Path) -> int:
    import pyarrow.parquet as pq

    instants = pq.read_table(home / "labels" / "events.parquet")["event_timestamp"].to_pylist()
    return sum(BREAK < at <= BREAK + WEEK for at in instants)


def test_the_last_period_alone_with_other_thresholds(own: tuple[Path, Path]) -> None:
    path, _ = own
    lax = ("psi=9", "js=0.99", "log_loss=9", "calibration=0.9", "unknown=0.9", "cold=0.99")
    result = command(path, "monitor", "--last", "1", "--json", *(f"monitor.{each}" for each in lax))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert len(found["periods"]) == 1 and found["thresholds"]["psi"] == 9
    assert found["periods"][0]["moved"]
    few = command(path, "monitor", "monitor.users=1000")
    assert few.exit_code == 0 and "few users" in few.output


def test_only_the_last_periods_of_training(own: tuple[Path, Path]) -> None:
    path, _ = own
    result = command(path, "monitor", "--json", "monitor.reference=14d")
    found = json.loads(result.stdout)
    assert found["reference"]["periods"] == 2
    assert found["reference"]["end"].startswith("2024-02-11")  # the last row before the cut


def test_what_is_refused(own: tuple[Path, Path]) -> None:
    path, home = own
    assert "only keys monitor.* can change here" in refusal(path, "monitor", "epochs=3")
    assert "run trainer fit monitor.bins=5" in refusal(path, "monitor", "monitor.bins=5")
    assert "monitor.psi=-1" in refusal(path, "monitor", "monitor.psi=-1")
    assert "no whole period of 7d lies between" in refusal(path, "monitor", "--from", "2024-03-08")
    assert "--to: 'never' is not an instant" in refusal(path, "monitor", "--to", "never")
    assert "--from: 'never' is not" in refusal(path, "monitor", "--from", "never")
    (run,) = (folder for folder in (home / "models").iterdir() if not folder.is_symlink())
    (run / "reference.json").unlink()
    assert "kept no reference" in refusal(path, "monitor")
