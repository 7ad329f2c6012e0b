"""Real servers of online stores for tests, where Debian's packages are installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import psycopg


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(answers: Callable[[], object], errors: type[Exception], what: str) -> None:
    """Wait until a server answers: one that listens may still be starting up."""
    for _ in range(400):
        try:
            answers()
        except errors:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{what} does not answer")


class RedisServer:
    """A Redis server on a free port, that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("redis-server") is None:
            pytest.skip("no redis-server here; Debian's package redis-server has it")
        pytest.importorskip("redis", reason="the extra redis is not installed")
        self._folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )
        from redis import Redis
        from redis.exceptions import ConnectionError as Refused

        with Redis(port=self.port) as client:
            _wait_for(client.ping, Refused, "redis-server")

    def stop(self) -> None:
        """Kill it; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class PostgresServer:
    """A PostgreSQL server on a free port, in a folder of its own."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not programs:
            pytest.skip("no PostgreSQL server here; Debian's package postgresql has it")
        pytest.importorskip("psycopg", reason="the extra postgres is not installed")
        self._bin = programs[-1].parent
        self.port = _free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        # It refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make a database, start the server, and wait until it answers."""
        data = self._folder / "data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self._folder}
        init = [self._bin / "initdb", "-D", data, "-A", "trust", "-U", "tests"]
        subprocess.run(init, check=True, user=self._user, **quiet)
        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", self._folder]
        self._process = subprocess.Popen(
            [self._bin / "postgres", "-D", data, *options], user=self._user, **quiet
        )
        import psycopg

        _wait_for(lambda: self._connect().close(), psycopg.OperationalError, "postgres")

    def empty(self) -> None:
        """Drop all tables."""
        with self._connect() as connection:
            connection.execute("drop schema public cascade")
            connection.execute("create schema public")

    def _connect(self) -> psycopg.Connection:
        import psycopg

        address = f"host=127.0.0.1 port={self.port} user=tests dbname=postgres"
        return psycopg.connect(address, autocommit=True)

    def stop(self) -> None:
        """Kill it, and remove its folder."""
        if self._process is not None:
            # On SIGTERM it would wait for clients that keep their connections open.
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
