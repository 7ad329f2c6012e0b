"""What the service's tests share: a home to serve from, and a server in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import synthetic_log as synthetic

from trainer.serving.settings import ServingSettings
from warm_python import WarmPython

KEYS = ("encoder.hidden=8", "encoder.layers=1", "epochs=2", "learning_rate=0.01")
NO_LIMIT = ServingSettings(requests_per_second=0, request_timeout_s=60)


@dataclass(frozen=True)
class Served:
    """A home to serve from, the log that it was made of, and its dataset file."""

    home: Path
    log: synthetic.Log
    dataset: Path


@dataclass
class Running:
    """A started server, and what it has logged."""

    process: WarmPython
    lines: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def logged(self, logger: str, message: str = "") -> list[dict[str, Any]]:
        return [
            line
            for line in list(self.lines)
            if line.get("logger") == logger and message in line.get("message", "")
        ]

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        """What `condition` says, once it is true. A server that hangs ends the test."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < end, self.lines
            time.sleep(0.02)
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def server(served: Served, *arguments: str, port: int = 0, **environment: str) -> Iterator[Running]:
    """``trainer serve`` on a home, up and answering."""
    process = WarmPython(
        *("-m", "trainer", "serve", "--dataset", str(served.dataset)),
        # The home is not dbt's: there is no SQL that could take events in.
        *("--port", str(port), "--no-events", *arguments),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SCALESPACE_HOME": str(served.home), **environment},
    )
    running = Running(process)
    assert process.stderr is not None

    def read(stream: Any) -> None:
        for line in stream:
            try:
                running.lines.append(json.loads(line))
            except ValueError:
                running.lines.append({"text": line})

    reader = threading.Thread(target=read, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        (line,) = running.wait_for(lambda: running.logged("uvicorn.error", "Uvicorn running on"))
        found = re.search(r"http://\S+:\d+", line["message"])
        assert found
        running.url = found[0]
        running.wait_for(lambda: httpx.get(running.url + "/ready").status_code == 200)
        yield running
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        process.stderr.close()
