"""Connections that hold a place without asking for anything are closed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from serving_home import NO_LIMIT, Served

from trainer.serving.app import make_app
from trainer.serving.server import configure

HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
def address(served: Served) -> Iterator[tuple[str, int]]:
    """The application behind uvicorn, in a thread, with little patience."""
    settings = NO_LIMIT.model_copy(
        update={"head_timeout_s": 0.3, "max_head_bytes": 4096, "body_timeout_s": 0.3}
    )
    config = configure(make_app(served.home, settings=settings), settings, "127.0.0.1", 0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join()


def rest(connection: socket.socket) -> bytes:
    """All that still comes, until the server closes; it has to within the socket's timeout."""
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


@pytest.mark.parametrize("sent", [b"", b"GET", HEAD])
def test_a_head_that_does_not_end_is_not_waited_for(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(sent)
        assert rest(connection) == b""


def test_a_second_request_has_to_come_to_the_point_too(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(0.6)  # between two requests there is more patience
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(HEAD)
        assert rest(connection) == b""


def test_a_body_that_does_not_end_is_told_so(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b'content-length: 100\r\n\r\n{"user'
        )
        assert rest(connection).startswith(b"HTTP/1.1 408")


def test_a_large_head_is_refused(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(HEAD + b"x: " + b"y" * 5000)
        assert rest(connection).startswith(b"HTTP/1.1 431")
    headers = {"x": "y" * 3000}
    url = f"http://{address[0]}:{address[1]}/health"
    assert httpx.get(url, headers=headers).status_code == 200


def test_a_large_upload_gets_its_answer(address: tuple[str, int]) -> None:
    url = f"http://{address[0]}:{address[1]}/predict"
    body = b" " * (NO_LIMIT.max_body_bytes + 1)
    answer = httpx.post(url, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
