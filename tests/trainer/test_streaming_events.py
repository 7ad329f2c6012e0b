"""One event on its way in."""

from __future__ import annotations

import hmac

import pytest

from trainer.streaming.engine import Engine
from trainer.streaming.events import (
    MOST_BYTES,
    Arrival,
    Malformed,
    Verdict,
    read_event,
    read_json,
)

COLUMNS = ["user", "what", "price"]


def test_values_stay_the_text_that_they_were() -> None:
    text = '{"user": "007", "what": true, "price": 2.50}'
    assert read_event(read_json(text), COLUMNS) == {"user": "007", "what": "true", "price": "2.50"}
    big = read_event(read_json(b'{"price": 9007199254740993, "user": null}'), COLUMNS)
    assert big == {"price": "9007199254740993", "user": None}
    assert read_event(read_json('{"user": "a\\u0000b"}'), COLUMNS) == {"user": "a\0b"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"price": NaN}', "not JSON"),
        (b'{"user": "\xff"}', "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "no JSON object"),
        ("7", "no JSON object"),
        ("null", "no JSON object"),
        ("{}", "no columns"),
        ('{"users": "u1"}', 'no column "users"; the log has user, what, price'),
        ('{"user": ["u1"]}', 'column "user" holds neither text nor a number'),
        ('{"user": {"id": 1}}', "neither text nor a number"),
        ('{"user": "\\ud800"}', "not Unicode"),
        ('{"user": "%s"}' % ("x" * (MOST_BYTES + 1)), "65,537 bytes"),
    ],
)
def test_what_is_no_event_says_why(text: str | bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=".") as error:
        read_event(read_json(text), COLUMNS)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_verdict_of_staging_is_an_answer() -> None:
    assert Verdict.of_staging("accepted") == Verdict("accepted")
    assert Verdict.of_staging("duplicate") == Verdict("duplicate")
    assert Verdict.of_staging("null_user") == Verdict("rejected", "null_user")
    assert Verdict("rejected", "bot").as_dict() == {"verdict": "rejected", "reason": "bot"}


def test_an_identifier_is_hashed_before_the_journal_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    salt = "a secret of this test alone"
    monkeypatch.setenv("SCALESPACE_USER_SALT", salt)
    engine = Engine.__new__(Engine)  # nothing else of it is needed
    engine._user_column = "who"
    given = Arrival({"Who": "ann", "what": "ann"}, source="s/1")
    hashed = hmac.new(salt.encode(), b"ann", "sha256").hexdigest()
    assert engine._hashed(given) == Arrival({"Who": hashed, "what": "ann"}, source="s/1")
    assert engine._hashed(Arrival({"who": None})) == Arrival({"who": None})
    engine._user_column = None
    assert engine._hashed(given) is given
