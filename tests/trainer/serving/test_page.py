"""The page: what it shows is what the API says, and what was asked is never run."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urlencode

import numpy as np
import pytest
import synthetic_log as synthetic
from fastapi.testclient import TestClient
from serving_home import Served

from trainer.prediction import Predictor
from trainer.runs import load_served_run
from trainer.serving.history import measures, read_history

HOSTILE = '"><script>alert(1)</script>'


def test_the_page_asks_for_a_user(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    for name in re.findall(r'<(?:input|select) id="(\w+)"', answer.text):
        assert f'<label for="{name}">' in answer.text
    assert len(re.findall(r'<(?:input|select) id="(\w+)"', answer.text)) == 4
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy
    style = client.get("/static/style.css")
    assert (style.status_code, style.headers["content-type"][:8]) == (200, "text/css")


def test_the_page_shows_what_the_api_says(client: TestClient, served: Served) -> None:
    page = client.get("/", params={"user": "u005"}).text
    (found,) = client.post("/predict", json={"user_id": "u005"}).json()["predictions"]
    top = max(found["next_action"], key=found["next_action"].get)
    assert f"<strong>{top}</strong>, with probability {found['next_action'][top]:.3f}" in page
    said = ", ".join(f"{name} {share:.3f}" for name, share in found["next_action"].items())
    assert f'<desc id="next-desc">{said}</desc>' in page
    count = synthetic.values_at(served.log, "u005", served.log.end)["event_count_7d"]
    assert f'<span title="{count}">{count}</span>' in page
    assert page.count('class="mark"') == 30
    assert len(re.findall(r'<th scope="row">[ab]\n', page)) == 10  # events explained
    for group in ("7d", "all", "calendar", "now", "user_row"):
        assert f'<th scope="row">{group}</th>' in page
    assert "event_count over time" in page


def test_the_page_goes_back_in_time(client: TestClient, served: Served) -> None:
    at = served.log.users["u005"][9].at
    page = client.get("/", params={"user": "u005", "at": at.isoformat()}).text
    assert "from the offline store" in page
    assert page.count('class="mark"') == 10


@pytest.mark.parametrize(
    ("question", "status", "said"),
    [
        ({"user": "u005", "at": "noon"}, 422, "At: &#39;noon&#39; is not an instant"),
        ({"user": "u005", "at": "0001-01-01"}, 422, "between 1970 and 2261"),
        ({"user": "u005", "at": "9999-12-31T23:59:59-14:00"}, 422, "At: "),
        ({"user": "u005", "days": "8"}, 422, "Span: choose one of"),
        ({"user": "u005", "feature": "../../etc"}, 422, "Feature: choose one"),
        ({"user": "nobody"}, 404, "knows no event of this user"),
        ({"user": "u005", "at": "2020-01-01"}, 404, "at this instant"),
    ],
)
def test_a_question_without_an_answer_is_told_so(
    client: TestClient, question: dict, status: int, said: str
) -> None:
    answer = client.get("/", params=question)
    assert answer.status_code == status
    assert said in answer.text
    assert "<form" in answer.text


@pytest.mark.parametrize("key", ["user", "at", "feature", "days"])
def test_what_was_asked_is_never_run(client: TestClient, key: str) -> None:
    question = {"user": "u005", key: HOSTILE + "{{ 7 * 7 }}"}
    page = client.get("/?" + urlencode(question)).text
    assert "<script" not in page
    assert "49" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).partition("<form")[0]


def test_an_empty_store_is_a_page_too(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_repo.errors import BadInput

    def empty(*_: object) -> None:
        raise BadInput("load it with `trainer sync` first")

    monkeypatch.setattr(Predictor, "examples", empty)
    answer = client.get("/", params={"user": "u005"})
    assert answer.status_code == 503
    assert "trainer sync" in answer.text


def test_a_history_is_exact_at_each_instant(served: Served) -> None:
    predictor = Predictor(served.home, load_served_run(served.home))
    (feature,) = measures(predictor.published)["event_count"]
    end = np.datetime64(served.log.end, "us")
    (line,) = read_history(predictor, "u002", [feature], end, np.timedelta64(30, "D"))
    assert line.instants[-1] == end
    assert set(np.diff(line.instants)) == {np.timedelta64(12, "h")}
    expected = [
        synthetic.values_at(served.log, "u002", end.item() - timedelta(hours=12 * back))
        for back in reversed(range(61))
    ]
    assert line.values == [values["event_count_7d"] for values in expected]
    assert set(line.values) == {
        None,
        0,
        30,
    }  # before, within, after the week
