"""How fast ``trainer serve`` answers, with ``feast serve`` beside it for the look-up alone.

``python -m benchmarks.serving`` prints one table and writes it as JSON. It needs ``wrk``.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurement import (
    ROOT,
    Aim,
    Failed,
    Result,
    add_common_arguments,
    run,
    run_module,
    working_folder,
)
from benchmarks.process_tree import TICKS, stat_fields, tree
from benchmarks.settings import SERVING_CONNECTIONS, SERVING_RATE, SERVING_SECONDS

SCRIPT = ROOT / "benchmarks" / "serving.lua"
WARM_UP_S = 3
START_LIMIT_S = 120
CLOSED_LOOP_CONNECTIONS = 4  # twice the cores of the aim: enough to keep a server busy


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes
    ----------
    process : subprocess.Popen
    url : str
    start_s : float
        From its start to its first answer.
    """

    process: subprocess.Popen[bytes]
    url: str
    start_s: float

    def peak_mb(self) -> float:
        """Return the largest resident memory of the server and of the processes that it started."""
        return sum(map(_largest_kb, tree(self.process.pid))) / 1024

    def cpu_seconds(self) -> float:
        """Return the user and system time that they have taken."""
        # With that of processes that have ended.
        times = (stat_fields(pid)[11:15] for pid in tree(self.process.pid))
        return sum(int(each) for four in times for each in four) / TICKS


def _largest_kb(pid: int) -> int:
    """Largest resident memory of a process; 0 of one that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def measure(arguments: argparse.Namespace) -> Result:
    """Build a home from the bundled log, and put both servers under load, one after the other."""
    if shutil.which("wrk") is None:
        raise SystemExit("there is no wrk: it is the package wrk of Debian")
    sizes = (arguments.requests_per_second, arguments.seconds)
    result = Result(
        "serving",
        "POST /predict for one user, and Feast's server asked for the features of one",
        {"requests/s asked": sizes[0], "seconds a row": sizes[1]},
        trial=sizes != (SERVING_RATE, SERVING_SECONDS),
    )
    with working_folder(arguments.work) as work:
        home = arguments.home or work / "home"
        environment = {"SCALESPACE_HOME": str(home)}
        if arguments.home is None:
            run([sys.executable, "-m", "trainer.cli", "demo"], environment)
        written = run_module("serving_requests", "write", home, work).report()
        result.parameters |= written
        figures: dict[str, dict[str, float]] = {}
        with serving("trainer", environment) as ours, serving("feast", environment) as theirs:
            check = run_module("serving_requests", "compare", work, ours.url, theirs.url).report()
        if check["different"] or not check["compared"]:
            raise SystemExit(f"{check['different']:,} of {check['compared']:,} values differ")
        result.parameters["values compared"] = check["compared"]
        for form in ("trainer", "feast"):
            path, bodies = {
                "trainer": ("/predict", work / "predict.ndjson"),
                "feast": ("/get-online-features", work / "lookup.ndjson"),
            }[form]
            with serving(form, environment) as server:
                _load(server.url + path, bodies, None, WARM_UP_S)
                for rate in (arguments.requests_per_second, None):
                    before = server.cpu_seconds()
                    found = _load(server.url + path, bodies, rate, arguments.seconds)
                    cpu_ms = 1000 * (server.cpu_seconds() - before) / found["requests"]
                    if rate:
                        figures[form] = found
                    result.add(
                        server=f"{form} serve",
                        load=f"{rate:,} requests/s" if rate else "as many as it answers",
                        **{"requests/s": found["requests"] / found["seconds"]},
                        **{"p50 ms": found["p50"], "p99 ms": found["p99"], "max ms": found["max"]},
                        **{"CPU ms a request": cpu_ms, "not answered": int(found["wrong"])},
                        **{"start s": server.start_s, "peak MB": server.peak_mb()},
                    )
    ours_at_rate = figures["trainer"]
    result.aims = [
        Aim("/predict at the rate: p99 in ms", ours_at_rate["p99"], 10),
        Aim("/predict at the rate: requests not answered", ours_at_rate["wrong"], 0),
    ]
    return result


def _load(url: str, bodies: Path, rate: int | None, seconds: int) -> dict[str, float]:
    """Put a server under load with wrk; without a rate, each connection asks as it is answered."""
    connections = SERVING_CONNECTIONS if rate else CLOSED_LOOP_CONNECTIONS
    pause_ms = round(connections / rate * 1000) if rate else 0
    command = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "30s", "--script", str(SCRIPT), url]
    return run(command, {"BODIES": str(bodies), "PAUSE_MS": str(pause_ms)}).report()


@contextlib.contextmanager
def serving(form: str, environment: dict[str, str]) -> Iterator[Server]:
    """Start ``trainer serve`` or ``feast serve`` in its plainest form, and wait for its answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    if form == "trainer":
        command = [sys.executable, "-m", "trainer.cli", "serve", "--port", str(port), "--rate", "0"]
    else:
        feast = str(Path(sys.executable).with_name("feast"))
        command = [feast, "--chdir", "feature_repo", "serve", "--port", str(port)]
        command += ["--host", "127.0.0.1", "--no-access-log"]
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _is_healthy(url):
            if process.poll() is not None or time.perf_counter() - started > START_LIMIT_S:
                raise Failed("did not start", f"{' '.join(command)}: did not start")
            time.sleep(0.1)
        yield Server(process, url, time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests-per-second", type=_positive, default=SERVING_RATE)
    parser.add_argument("--seconds", type=_positive, default=SERVING_SECONDS)
    parser.add_argument("--home", type=Path, help="a home that was built, applied, synced, fitted")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    print(measure(arguments).finish(arguments.results))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
