"""Time and peak memory of whole processes, and the results as JSON."""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from benchmarks.settings import SEED
from benchmarks.tables import cell, render

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
OUT_OF_MEMORY = ("MemoryError", "Out of Memory", "bad_alloc")  # Python's, DuckDB's, C++'s
PACKAGES = (
    *("duckdb", "dbt-core", "dbt-duckdb", "feast", "pandas", "pyarrow", "numpy"),
    *("polars", "ibis-framework", "dask", "torch", "pyspark"),
)


@dataclass(frozen=True)
class Finished:
    """A process that has ended well.

    Attributes
    ----------
    seconds : float
        From start to end, start-up included.
    cpu_seconds : float
        User and system time: on a busy machine it moves less than `seconds`.
    peak_mb : float
        Largest resident memory, in 2**20 bytes.
    output : str
        Standard output and error.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str

    def report(self) -> dict[str, Any]:
        """Return the object that the process printed as its last line, in JSON."""
        return json.loads(self.output.splitlines()[-1])

    def figures(self) -> dict[str, float]:
        """Return the cells of a table that every process has."""
        return {
            "seconds": self.seconds,
            "CPU seconds": self.cpu_seconds,
            "peak MB": self.peak_mb,
        }


class Failed(SystemExit):
    """A process that did not end well; uncaught, it ends the benchmark with its last lines.

    Attributes
    ----------
    reason : str
        In a few words, for a table.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason

    @classmethod
    def with_end(cls, reason: str, command: Sequence[str], text: str) -> "Failed":
        """Return it with the end of what a command said."""
        tail = "\n".join(text.splitlines()[-25:])
        return cls(reason, f"{' '.join(command)}: {reason}\n{tail}")


def start(
    command: Sequence[str], env: Mapping[str, str] | None, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a command in the repository's root, which writes all that it says to a file."""
    return subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )


def run(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    limit_s: float | None = None,
) -> Finished:
    """Run `command` to its end in the repository's root.

    Raises
    ------
    Failed
        If the command fails, or takes longer than `limit_s`.

    Notes
    -----
    Linux counts the memory of the process that starts another one as the other's own until it has
    become its program. So whoever calls this has to be small: data is generated and compared in
    processes of their own too.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = start(command, env, output)
        too_long = threading.Event()

        def stop() -> None:
            too_long.set()
            process.kill()

        timer = threading.Timer(limit_s, stop) if limit_s else None
        if timer:
            timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            if timer:
                timer.cancel()
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        if too_long.is_set():
            reason = f"over {limit_s:,.0f} s"
        elif process.returncode == -signal.SIGKILL or any(sign in text for sign in OUT_OF_MEMORY):
            reason = "out of memory"
        else:
            reason = f"ended with {process.returncode}"
        raise Failed.with_end(reason, command, text)
    return Finished(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark takes: a seed and a place."""
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--work", type=_folder, help="an existing folder for what is built; default a temporary one"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON")


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add the option of a benchmark that takes hours and goes on where an earlier run ended."""
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep what an earlier run, finished or not, measured with the same parameters",
    )


def size(text: str) -> int:
    """Read a number of rows, events or users from the command line: 100 or more."""
    if not text.isdecimal() or int(text) < 100:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 100 or more")
    return int(text)


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder; make it first")
    return Path(text)


@contextmanager
def working_folder(parent: Path | None) -> Iterator[Path]:
    """Make a folder for what is built, and remove it at the end, also when the run is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(tempfile.mkdtemp(prefix="benchmark-", dir=parent)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_module(module: str, *arguments: object, limit_s: float | None = None) -> Finished:
    """Run ``python -m benchmarks.<module>``, as `run` does."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return run(command, limit_s=limit_s)


@dataclass(frozen=True)
class Aim:
    """What the figure is to be.

    Attributes
    ----------
    aim : str
    figure : float
    limit : float
    at_most : bool
        Whether `limit` is the largest figure allowed; else the smallest.
    """

    aim: str
    figure: float
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Whether it is so."""
        return self.figure <= self.limit if self.at_most else self.figure >= self.limit


@dataclass
class Result:
    """What one benchmark found.

    Attributes
    ----------
    name : str
        Of its file.
    title : str
    parameters : dict
        Sizes and seed.
    trial : bool
        Whether the sizes are other than those of the aims.
    rows : list of dict
        The table: a row is a dict of column to value.
    aims : list of Aim
    """

    name: str
    title: str
    parameters: dict[str, Any]
    trial: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)

    def add(self, **cells: Any) -> None:
        """Add a row, and say so: a run takes long."""
        self.rows.append(cells)
        print("  " + "  ".join(cell(value) for value in cells.values()), flush=True)

    def finish(self, folder: Path = RESULTS) -> Path:
        """Print the table, write the JSON and return its path.

        A trial has a file of its own, so that it never replaces a run at full size.
        """
        content = {
            "benchmark": self.name,
            "title": self.title,
            "trial": self.trial,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "parameters": self.parameters,
            "rows": self.rows,
            "aims": [{**asdict(aim), "met": aim.met} for aim in self.aims],
        }
        print("\n" + render(content))
        folder.mkdir(parents=True, exist_ok=True)
        path = self._path(folder, self.trial)
        # Whole or not at all: a run that is stopped here would lose what it has measured before.
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps(content, indent=1, default=_plain) + "\n")
        return fresh.replace(path)

    def earlier_rows(self, folder: Path) -> list[dict[str, Any]]:
        """Return the rows of an earlier run, unfinished or not, with the same parameters.

        Empty where the versions of what is compared were others.
        """
        for trial in (True, False):
            path = self._path(folder, trial)
            if path.exists():
                content = json.loads(path.read_text())
                if (content["parameters"], content["versions"]) == (self.parameters, versions()):
                    return content["rows"]
        return []

    def _path(self, folder: Path, trial: bool) -> Path:
        return folder / f"{self.name}{'-trial' if trial else ''}.json"


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python's own: a run of an hour does not fail at its last line."""
    return value.item()


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    memory_kb = int(_proc_value("/proc/meminfo", "MemTotal").split()[0])
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_kb / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _cpu() -> str:
    # A name such as "AMD EPYC" is that of processors of which one is twice as fast as another.
    name, family, model = (
        _proc_value("/proc/cpuinfo", value) for value in ("model name", "cpu family", "model")
    )
    return f"{name} (family {family}, model {model})" if family.isdecimal() else name


def _proc_value(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def versions() -> dict[str, str]:
    """Return the versions of what is compared."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
