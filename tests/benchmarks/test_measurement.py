"""Processes are measured, their failures named, and tables made from what was found."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import feature_layer
from benchmarks.measurement import ROOT, Aim, Failed, Result, run
from benchmarks.report import fill

MEGABYTE = 2**20


def _python(code: str, **options):
    return run([sys.executable, "-c", code], **options)


def test_peak_is_that_of_the_process() -> None:
    # From a small process, as a benchmark is, and this one is not.
    outer = _python(f"""
import json, sys
from benchmarks.measurement import run
large = run([sys.executable, "-c", "found = b'x' * (300 * {MEGABYTE})"])
small = run([sys.executable, "-c", "pass"])
print(json.dumps({{"large": large.peak_mb, "small": small.peak_mb}}))
""")
    peaks = outer.report()
    assert 300 < peaks["large"] < 350
    assert peaks["small"] < 50


@pytest.mark.parametrize(
    ("code", "limit_s", "reason"),
    [
        ("import time; time.sleep(600)", 1, "over 1 s"),
        ("raise MemoryError", None, "out of memory"),
        ("print('why'); raise SystemExit(3)", None, "ended with 3"),
    ],
)
def test_failure_has_a_reason(code: str, limit_s: float | None, reason: str) -> None:
    with pytest.raises(Failed) as failure:
        _python(code, limit_s=limit_s)
    assert failure.value.reason == reason
    if reason == "ended with 3":
        assert str(failure.value).endswith("\nwhy")


def _result(trial: bool) -> Result:
    result = Result("demo", "A title", {"rows": (10, 2000)}, trial)
    result.rows = [
        {"form": "a", "seconds": 1234.5},
        {"form": "b", "seconds": None, "more": 1.23456},
    ]
    result.aims = [Aim("fast", 2.0, 1.5), Aim("faster", 100.0, 100, at_most=False)]
    return result


def test_readme_is_made_from_the_results(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = "before\n<!-- begin demo -->\nold\n<!-- end demo -->\nafter\n"
    text += "<!-- begin none -->\n<!-- end none -->\n"
    # What is printed is what the page gets; a trial is printed alone.
    assert _result(trial=True).finish(tmp_path).name == "demo-trial.json"
    printed = capsys.readouterr().out
    assert "A trial at other sizes" in printed and "| a    |   1,234 |      |" in printed
    assert "**Not generated yet**: there is no `results/demo.json`." in fill(text, tmp_path)
    assert _result(trial=False).finish(tmp_path).name == "demo.json"
    filled = fill(text, tmp_path)
    assert "A title: rows 10, 2,000." in filled
    assert "A trial at other sizes" not in filled
    assert "| form | seconds | more |" in filled
    assert "| a    |   1,234 |      |" in filled
    assert "| b    |         | 1.23 |" in filled
    assert "* fast: 2 (at most 1.5: **not met**)" in filled
    assert "* faster: 100 (at least 100: met)" in filled
    assert "old" not in filled
    assert filled.startswith("before\n<!-- begin demo -->\n")
    assert filled.endswith("there is no `results/none.json`.\n<!-- end none -->\n")
    assert fill(filled, tmp_path) == filled
    assert json.loads((tmp_path / "demo.json").read_text())["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["shapes", "--events", "99"], "99 is not a number of 100 or more"),
        (["growth", "--events", "1000", "1e6"], "1e6 is not a number of 100 or more"),
        (["increments", "--work", "nowhere"], "nowhere is not a folder; make it first"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", ["feature_layer", *arguments])
    with pytest.raises(SystemExit) as ended:
        feature_layer.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(complaint)


def test_stopped_benchmark_leaves_no_folder_and_no_process(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from benchmarks.measurement import run, working_folder
with working_folder(Path({str(tmp_path)!r})) as work:
    run([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); "
         f"open('{{work}}/../child', 'w').write(str(os.getpid())); time.sleep(600)"])
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    child = tmp_path / "child"
    while not (child.exists() and child.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == [child]
    state = Path(f"/proc/{child.read_text()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_scalars_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    result = Result("figures", "title", {"seed": np.int64(7)}, trial=False)
    result.add(seconds=np.float32(0.5))
    result.aims = [Aim("seconds", np.float64(0.5), 1)]
    content = json.loads(result.finish(tmp_path).read_text())
    assert content["rows"] == [{"seconds": 0.5}]
    assert content["aims"][0]["met"] is True
