"""The load of the serving benchmark, and its comparison of both servers, on servers made here."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import _load
from benchmarks.serving_requests import compare


@contextmanager
def answering(answer: Callable[[str, Any], tuple[int, Any]]) -> Iterator[str]:
    """A server that says what `answer` says to a path and a body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, content = answer(self.path, json.loads(body) if body else None)
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="there is no wrk")
@pytest.mark.parametrize("rate", [100, None])
def test_the_load_asks_for_all_users_and_counts_what_is_wrong(
    tmp_path: Path, rate: int | None
) -> None:
    asked: list[str] = []

    def answer(path: str, body: Any) -> tuple[int, Any]:
        asked.append(body["user_id"])
        return (500 if body["user_id"] == "broken" else 200), {}

    bodies = tmp_path / "bodies.ndjson"
    users = ("a", "b", "c", "broken")
    bodies.write_text("".join(json.dumps({"user_id": user}) + "\n" for user in users))
    with answering(answer) as url:
        found = _load(url + "/predict", bodies, rate, 2)
    assert set(asked) == set(users)
    # wrk stops in the middle of what it has asked last.
    assert found["requests"] <= len(asked) <= found["requests"] + 40
    wrong = asked.count("broken")
    assert wrong - 40 <= found["wrong"] <= wrong
    assert 0 < found["p50"] <= found["p99"] <= found["max"]
    if rate is not None:
        # Waiting on average 400 ms before each request, 40 connections cannot ask much more.
        assert len(asked) < 2 * rate * 2


@pytest.mark.parametrize(("count", "different"), [(3, 0), (4, 1)])
def test_the_values_of_both_servers_are_compared(
    tmp_path: Path, count: int, different: int
) -> None:
    def ours(path: str, _: Any) -> tuple[int, Any]:
        assert path == "/users/u1"
        other = {"last_action_at": "2024-01-02 00:00:00 UTC", "mean": 0.0}
        scales = {"7d": {"event_count_7d": 3, "row_7d": [1.0, 0.0]}, "other": other}
        return 200, {"session": {"session_is_open": False}, "features": scales}

    def theirs(path: str, body: Any) -> tuple[int, Any]:
        assert path == "/get-online-features"
        assert body["entities"] == {"user_id": ["u1"]}
        values = {
            "user_id": "u1",
            "event_count_7d": count,
            "row_7d": [1, 0],
            "last_action_at": "2024-01-02T00:00:00Z",
            "mean": 0.0,
            "session_is_open": False,
        }
        results = [{"values": [value]} for value in values.values()]
        return 200, {"metadata": {"feature_names": list(values)}, "results": results}

    body = {"features": ["v:event_count_7d"], "entities": {"user_id": ["u1"]}}
    (tmp_path / "lookup.ndjson").write_text(json.dumps(body) + "\n")
    with answering(ours) as mine, answering(theirs) as feast:
        assert compare(tmp_path, mine, feast) == {"compared": 5, "different": different}
