"""The server as a process: stopped, killed and given new models, under load."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from serving_home import Running, Served, server

from trainer.config import load_config
from trainer.fitting import fit
from trainer.models.base import silent
from trainer.runs import load_served_run

KEYS = ("encoder.hidden=4", "encoder.layers=1", "epochs=1")


@dataclass
class Load:
    """Answers to requests that did not stop coming, and what went wrong with others."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def runs(self) -> list[str]:
        return [answer["run"] for answer in self.answers]


@contextmanager
def load(url: str, threads: int = 3) -> Iterator[Load]:
    """Predict for one user again and again, from several threads, until the body ends."""
    found, stop = Load(), threading.Event()

    def ask(user: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not stop.is_set():
                try:
                    answer = client.post("/predict", json={"user_id": user})
                except httpx.HTTPError as error:
                    found.errors.append(error)
                    time.sleep(0.05)
                    continue
                found.statuses.append(answer.status_code)
                found.answers.append(answer.json())

    workers = [threading.Thread(target=ask, args=(f"u{n:03d}",)) for n in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield found
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def figure(running: Running, name: str) -> float:
    text = httpx.get(running.url + "/metrics").text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_new_model_is_taken_in_without_a_dropped_request(own: Served) -> None:
    old = load_served_run(own.home).name
    with server(own, "--rate", "0") as running, load(running.url) as under:
        wait_until(lambda: len(under.answers) > 20)
        new = fit(own.home, load_config(None, KEYS), silent).name
        wait_until(lambda: under.runs()[-3:] == [new] * 3)
        assert set(under.runs()) == {old, new}
        assert figure(running, 'scalespace_model_reloads_total{result="replaced"}') == 1

        # A damaged run is refused, said once, and the old model goes on.
        broken = own.home / "models" / "29990101T000000-000-lstm"
        shutil.copytree(own.home / "models" / new, broken)
        (broken / "head.onnx").write_bytes(b"not a graph")
        pointer = own.home / "models" / ".pointer"
        pointer.symlink_to(broken.name, target_is_directory=True)
        pointer.replace(own.home / "models" / "latest")
        failed = running.wait_for(lambda: running.logged("scalespace.serving", "not replaced"))
        assert "this run is damaged" in failed[0]["reason"]
        asked = len(under.answers)
        wait_until(lambda: len(under.answers) > asked + 200)  # more looks at models/latest
        assert len(running.logged("scalespace.serving", "not replaced")) == 1
        assert httpx.get(running.url + "/ready").status_code == 200

        # Once it is whole, HUP tries it again.
        shutil.copy(own.home / "models" / new / "head.onnx", broken)
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: under.runs()[-3:] == [broken.name] * 3)
    assert under.errors == []
    assert set(under.statuses) == {200}


def test_a_pinned_run_stays(own: Served) -> None:
    old = load_served_run(own.home).name
    with server(own, "--run", old) as running:
        fit(own.home, load_config(None, KEYS), silent)
        running.process.send_signal(signal.SIGHUP)
        running.wait_for(lambda: len(running.logged("scalespace.serving", "serving")) == 2)
        assert httpx.get(running.url + "/health").json()["run"] == old


def test_a_stop_lets_running_requests_end(served: Served) -> None:
    # Of the offline store, which is read by one at a time: all but the first still wait then.
    asked = {
        "user_ids": [f"u{number:03d}" for number in range(1000)],
        "at": served.log.end.isoformat(),
    }
    answers: list[httpx.Response] = []

    def ask(url: str) -> None:
        answers.append(httpx.post(url + "/predict", json=asked, timeout=60))

    with server(served, "--timeout", "60") as running:
        askers = [threading.Thread(target=ask, args=(running.url,)) for _ in range(6)]
        for asker in askers:
            asker.start()
        # The one who asks is a request as well.
        wait_until(lambda: figure(running, "scalespace_requests_running") == 7 or answers)
        assert len(answers) < 6
        assert running.stop() == 0
        for asker in askers:
            asker.join()
    assert [answer.status_code for answer in answers] == [200] * 6
    assert all(len(answer.json()["predictions"]) == 1000 for answer in answers)
    with pytest.raises(httpx.ConnectError):
        httpx.get(running.url + "/health")


def test_killed_under_load_and_started_again(served: Served) -> None:
    """Nothing that a killed server leaves keeps the next one from giving the same answers."""
    port = 0
    first: dict[str, Any] = {}
    for _ in range(2):
        with server(served, "--rate", "0", port=port) as running:
            port = int(running.url.rpartition(":")[2])
            with load(running.url, threads=4) as under:
                wait_until(lambda: len(under.answers) > 30)
                running.stop(signal.SIGKILL)
                wait_until(lambda: len(under.errors) > 3)
            assert set(under.statuses) == {200}
            for answer in under.answers:
                user = answer["predictions"][0]["user_id"]
                assert_same(answer, first.setdefault(user, answer))
    with server(served, port=port) as running:
        for user, answer in first.items():
            found = httpx.post(running.url + "/predict", json={"user_id": user}).json()
            assert_same(found, answer)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """But for the last bits: sums in float32 depend on who else is in the batch."""
    assert (found["run"], found["now"]) == (expected["run"], expected["now"])
    (one,), (other,) = found["predictions"], expected["predictions"]
    assert one["next_action"] == pytest.approx(other["next_action"], abs=1e-6)
    assert {**one, "next_action": {}} == {**other, "next_action": {}}


def test_all_that_it_says_is_json(served: Served) -> None:
    with server(served, SCALESPACE_TOKEN="a-token-of-some-length") as running:
        assert httpx.get(running.url + "/users/u001").status_code == 401
        headers = {"authorization": "Bearer a-token-of-some-length"}
        assert httpx.get(running.url + "/users/u001", headers=headers).status_code == 200
        assert running.stop(signal.SIGINT) == 0
    assert [line for line in running.lines if "text" in line] == []
    statuses = [line["status"] for line in running.logged("scalespace.access")]
    assert statuses[-2:] == [401, 200]
    assert "a-token" not in json.dumps(running.lines)
