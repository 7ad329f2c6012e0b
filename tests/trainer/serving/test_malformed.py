"""Malformed requests, made from the OpenAPI document: refused as it says, and never a 500.

The server is a process of its own, as in production. Of every request, right or wrong: the status
is one that the document names, the answer has the form that it gives, and an error of ours would
have its cause in the log.
"""

from __future__ import annotations

import errno
import random
import socket
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from serving_home import Running, Served, server

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

# What a sender is told whose peer has closed already.
CLOSED = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN}


@pytest.fixture(scope="module")
def running(made: Served) -> Iterator[Running]:
    with server(made, "--rate", "0", "--timeout", "60") as running:
        yield running


@pytest.mark.parametrize(
    "total", [300, pytest.param(10_000, marks=[pytest.mark.slow])], ids=["some", "many"]
)
def test_malformed_requests_are_refused_as_the_document_says(running: Running, total: int) -> None:
    schema = schemathesis.openapi.from_url(running.url + "/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 7
    # A route without parameters has nothing that could be malformed.
    asked = [o for o in operations if o.body or o.path_parameters or o.query]
    assert len(asked) == 4
    statuses: Counter[int] = Counter()
    for number, operation in enumerate(asked):
        fuzz(running, operation, GenerationMode.NEGATIVE, total // 3, number, statuses)
        fuzz(running, operation, GenerationMode.POSITIVE, total // 30, number, statuses)
    assert sum(statuses.values()) > total
    assert statuses[422] > total / 4
    assert statuses[200] > total / 30
    assert not [status for status in statuses if status >= 500]
    assert [line for line in running.lines if line.get("level") == "error"] == []
    assert httpx.get(running.url + "/ready").status_code == 200


def fuzz(
    running: Running,
    operation: schemathesis.APIOperation,
    mode: GenerationMode,
    examples: int,
    number: int,
    statuses: Counter[int],
) -> None:
    """Ask an operation `examples` times, and hold every answer to the document."""
    checks = list(CHECKS)
    if mode is GenerationMode.NEGATIVE and operation.path == "/predict":
        checks.append(negative_data_rejection)  # elsewhere, whatever is written is a text

    with requests.Session() as session:
        session.trust_env = False

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(base_url=running.url, session=session)
            case.validate_response(answer, checks=checks)
            statuses[answer.status_code] += 1

        ask()


def answer_to(content: bytes, connection: socket.socket) -> bytes:
    """What came before the server closed, which it may do before it has read everything."""
    answer = b""
    try:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno not in CLOSED:
            raise
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def test_bytes_that_are_no_http(running: Running) -> None:
    """Garbage, requests cut off, sizes that lie: an answer of 4xx, or a closed connection."""
    good = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    dice = random.Random(5)
    wrong = [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        good + b"content-length: -1\r\n\r\n{}",
        good + b"content-length: 99999999999999999999\r\n\r\n{}",
        good + b"content-length: 1e3\r\n\r\n{}",
        good + b"transfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
        good + b'content-length: 4\r\n\r\n{"us',
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"GET /users/%ff%fe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /?user=%ff%00 HTTP/1.1\r\nhost: x\r\n\r\n",
        *(dice.randbytes(dice.randrange(1, 300)) for _ in range(30)),
    ]
    place = urlsplit(running.url)
    for content in wrong:
        with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
            answer = answer_to(content, connection)
        assert not answer.startswith(b"HTTP/1.1 5"), (content[:80], answer[:200])
    assert httpx.get(running.url + "/ready").status_code == 200
    assert [line for line in running.lines if line.get("level") == "error"] == []
