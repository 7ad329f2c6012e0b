"""Python processes of their own, without the seconds that each takes to import what it needs.

A server has imported what the product's commands import, and nothing else has happened in it: no
connection, no thread of its own. Each process is a fork of it, with the arguments, environment,
folder and streams that it is given; it can be stopped and killed like any other. What is tested
at the start of Python itself (the host's time zone, what an import loads) is started plainly.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
# Nothing that starts a thread, as onnxruntime does: a fork has none of them, and waits for it.
IMPORTED = (
    *("trainer.cli", "torch", "feast", "sklearn.cluster", "fastapi", "jinja2"),
    *("prometheus_client", "uvicorn", "trainer.fitting", "trainer.prediction"),
    *("trainer.streaming.online", "feature_repo.store", "feature_repo.sync"),
)


class WarmPython:
    """A started process, used like `subprocess.Popen`.

    Parameters
    ----------
    arguments
        What would follow ``python``: ``-m <module> ...`` or ``-c <code> ...``.
    env, cwd
        As `subprocess.Popen` takes them.
    stdin, stdout, stderr
        A file, `subprocess.PIPE`, `subprocess.DEVNULL` or None.
    text
        Whether the pipes are of text.
    """

    def __init__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        cwd: Path = ROOT,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        text: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self._kind = "" if text else "b"
        self._status, ended = os.pipe()
        theirs = [ended]
        self._close: list[int] = [ended]
        self.stdin = self._stream(stdin, 0, theirs)
        self.stdout = self._stream(stdout, 1, theirs)
        self.stderr = self._stream(stderr, 2, theirs)
        request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env or os.environ)}
        self.pid = server().fork(request, theirs)
        for fd in self._close:
            os.close(fd)

    def _stream(self, given: Any, number: int, theirs: list[int]) -> Any:
        """What the process gets is put into `theirs`, and our end of a pipe returned."""
        ours = None
        if given is None:
            theirs.append(number)
        elif given == subprocess.PIPE:
            reading, writing = os.pipe()
            own, other = (writing, reading) if number == 0 else (reading, writing)
            ours = os.fdopen(own, ("w" if number == 0 else "r") + self._kind)
            theirs.append(other)
            self._close.append(other)
        elif given == subprocess.DEVNULL:
            theirs.append(os.open(os.devnull, os.O_RDWR))
            self._close.append(theirs[-1])
        else:
            theirs.append(given.fileno())
        return ours

    def poll(self) -> int | None:
        """The exit code, or None as long as it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(["python"], timeout or 0)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    return None
            said = os.read(self._status, 20)
            assert said, "the server that forks is gone"
            os.close(self._status)
            self.returncode = int(said)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        """All that it writes until it ends."""
        if self.stdin is not None:
            self.stdin.close()
        found: dict[int, Any] = {}

        def read(number: int, stream: IO[Any]) -> None:
            found[number] = stream.read()

        readers = [
            threading.Thread(target=read, args=(number, stream))
            for number, stream in ((1, self.stdout), (2, self.stderr))
            if stream is not None
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return found.get(1), found.get(2)


def run(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end, as ``subprocess.run(..., capture_output=True, text=True)`` does."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = WarmPython(*arguments, env=env, cwd=cwd, stdin=subprocess.DEVNULL, text=True, **pipes)
    out, errors = process.communicate()
    for stream in (process.stdout, process.stderr):
        stream.close()
    assert process.returncode is not None
    return subprocess.CompletedProcess(["python", *arguments], process.returncode, out, errors)


class _Server:
    """The process that forks; it ends with the one that asks it to."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=theirs,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )
        theirs.close()

    def fork(self, request: dict[str, Any], fds: list[int]) -> int:
        content = json.dumps(request).encode()
        with self._lock:
            socket.send_fds(self._ours, [len(content).to_bytes(4, "big")], fds)
            self._ours.sendall(content)
            said = self._ours.recv(4)
        assert said, "the server that forks is gone"
        return int.from_bytes(said, "big")


@functools.cache
def server() -> _Server:
    return _Server()


# The server's side --------------------------------------------------------------------------------


def serve() -> None:
    """Fork for every request on stdin, and say how each process ended."""
    requests = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    gc.disable()
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    assert _threads() <= {"jemalloc_bg_thd"}, _threads()
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}  # where to say how a process ended
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, 4096)
                _say_who_ended(running)
            if requests in ready:
                size, fds, _, _ = socket.recv_fds(requests, 4, 4)
                if not size:
                    return
                request = json.loads(_read(requests, int.from_bytes(size, "big")))
                pid = os.fork()
                if pid == 0:
                    break
                for fd in fds[1:]:
                    os.close(fd)
                running[pid] = fds[0]
                requests.sendall(pid.to_bytes(4, "big"))
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd in (requests.detach(), woken, wake, fds[0], *running.values()):
        os.close(fd)
    _become(request, fds[1:])


def _threads() -> set[str]:
    """Names of the others; Arrow's allocator starts its own anew in a fork."""
    others = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    return {(task / "comm").read_text().strip() for task in others}


def _read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += connection.recv(size - len(found))
    return found


def _say_who_ended(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        fd = running.pop(pid)
        os.write(fd, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(fd)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Run what was asked for as if Python had just started on it."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    at_once = 1 if request["env"].get("PYTHONUNBUFFERED") else -1
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", at_once, closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, closefd=False, errors="backslashreplace")
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    kind, what, *rest = request["arguments"]
    if kind == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *rest]
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    serve()
