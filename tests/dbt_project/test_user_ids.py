"""`hash_user_ids`: no file of a build holds an identifier as the log has it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt_runner import Build
from dbt_session import PROJECT

Stage = Callable[..., Build]
Query = Callable[[Build, str], list[tuple[Any, ...]]]

SALT = "a secret of this test alone"
ENV = {"SCALESPACE_USER_SALT": SALT}
USERS = ("arthur.dent@example.org", "ford.prefect@example.org", "marvin@example.org", "7")
VARIABLES: dict[str, Any] = {
    "dataset": "toy",
    "columns": {"user_id": "Who", "action_type": "what", "event_timestamp": "happened"},
    "actions": ["view"],
    "hash_user_ids": True,
}


def write(folder: Path, form: str = "csv") -> dict[str, Any]:
    """Events of four users, one of them a bot, one rejected, one twice, one of nobody."""
    rows = [f"('{user}', 'view', '2024-01-0{day} 10:00:00')" for user in USERS for day in (1, 2)]
    rows += [f"('{USERS[2]}', 'view', '2024-01-05 10:00:{second}')" for second in range(10, 20)]
    rows += [f"('{USERS[0]}', 'frobnicate', '2024-01-03')", f"('{USERS[1]}', 'view', 'never')"]
    rows += ["(null, 'view', '2024-01-03 11:00:00')", "('', 'view', '2024-01-03 12:00:00')"]
    rows += [f"('{USERS[0]}', 'view', '2024-01-01 10:00:00')"]
    path = folder / f"toy.{form}"
    values = f"(values {', '.join(rows)}) as t (who, what, happened)"
    duckdb.execute(f"copy (from {values}) to '{path}'")
    return VARIABLES | {"events_path": str(path), "bots": {"events_per_hour": 5}}


def hashed(user: str) -> str:
    return hmac.new(SALT.encode(), user.encode(), hashlib.sha256).hexdigest()


def everything_in(home: Path) -> str:
    """All bytes of a home's files, and every table of the warehouse, as text."""
    texts = [path.read_bytes().decode("latin-1") for path in home.rglob("*") if path.is_file()]
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        tables = connection.sql("select schema_name, table_name from duckdb_tables()").fetchall()
        texts += [str(connection.sql(f'from "{s}"."{t}"').fetchall()) for s, t in tables]
    return "\n".join(texts)


@pytest.mark.parametrize("form", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_identifiers_are_hmacs_under_the_salt_everywhere(
    stage: Stage, warehouse: Query, tmp_path: Path, form: str
) -> None:
    build = stage(tmp_path / "home", write(tmp_path, form), env=ENV)
    assert build.returncode == 0, build.output
    assert build.accounting == {
        "raw": 23,
        "accepted": 6,
        "duplicates": 1,
        "rejected": {"bad_timestamp": 1, "bot": 12, "null_user": 2, "unknown_action": 1},
    }
    found = warehouse(build, "select distinct user_id from stg_events order by 1")
    assert [row[0] for row in found] == sorted(hashed(USERS[place]) for place in (0, 1, 3))
    assert warehouse(build, "select user_id from stg_users__quarantined") == [(hashed(USERS[2]),)]
    rejected = warehouse(build, "select user_id from stg_events__rejected where user_id <> ''")
    assert {row[0] for row in rejected} == {hashed(user) for user in USERS[:3]}
    everything = everything_in(build.home)
    assert not [user for user in USERS if "example" in user and user in everything]
    assert SALT not in everything
    assert SALT not in build.output


def test_an_identifier_that_is_a_number_is_hashed_as_its_text(
    stage: Stage, warehouse: Query, tmp_path: Path
) -> None:
    path = tmp_path / "toy.parquet"
    duckdb.execute(
        "copy (select 42 as who, 'view' as what, timestamp '2024-01-01' as happened) "
        f"to '{path}' (format parquet)"
    )
    build = stage(tmp_path / "home", VARIABLES | {"events_path": str(path)}, env=ENV)
    assert build.returncode == 0, build.output
    assert warehouse(build, "select user_id from stg_events") == [(hashed("42"),)]


@pytest.mark.parametrize(("salt", "said"), [(None, "is not set"), ("short", "has 5 characters")])
def test_without_a_salt_nothing_is_built(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, salt: str | None, said: str
) -> None:
    home = tmp_path / "home"
    build = stage(home, write(tmp_path), env={} if salt is None else {"SCALESPACE_USER_SALT": salt})
    assert build.returncode != 0
    assert f"hash_user_ids needs a salt, but SCALESPACE_USER_SALT {said}" in build.complaint
    assert not list(home.glob("features/*"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hash_user_ids": "yes please"}, "hash_user_ids is 'yes please': write true or false"),
        (
            {"columns": VARIABLES["columns"] | {"user_id": {"sql": "who || 'x'"}}},
            "hash_user_ids needs a plain column",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(
    stage: Stage, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    build = stage(tmp_path / "home", write(tmp_path) | changed, env=ENV)
    assert build.returncode != 0
    assert said in build.complaint


def test_the_journal_holds_hashes_and_they_are_not_hashed_again(
    stage: Stage, warehouse: Query, tmp_path: Path
) -> None:
    variables = write(tmp_path)
    journal = tmp_path / "home" / "journal"
    journal.mkdir(parents=True)
    event = {"who": hashed(USERS[3]), "what": "view", "happened": "2024-01-06 10:00:00"}
    line = {"number": 1, "arrived_at": "2024-01-06T10:00:00+00:00", "event": event}
    (journal / "events-000000000001.ndjson").write_text(json.dumps(line) + "\n")
    build = stage(tmp_path / "home", variables, env=ENV)
    assert build.returncode == 0, build.output
    found = warehouse(build, "select user_id from stg_events where event_timestamp > '2024-01-06'")
    assert found == [(hashed(USERS[3]),)]


def test_the_plugin_and_the_stream_give_one_pseudonym(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from trainer.forgotten import pseudonym

    monkeypatch.setenv("SCALESPACE_USER_SALT", SALT)
    monkeypatch.setattr(sys, "path", [*sys.path, str(PROJECT / "plugins")])
    import scalespace_users

    for user in (*USERS, "", "Zoë"):
        expected = hashed(user) if user else ""
        assert pseudonym(user) == scalespace_users.pseudonym(user) == expected


def test_dbt_notes_no_line_of_the_log_that_it_could_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    monkeypatch.setattr(sys, "path", [*sys.path, str(PROJECT / "plugins")])
    from scalespace_users import without_lines_of_the_log

    results = tmp_path / "run_results.json"
    message = f"Error on Line: 3\nOriginal Line: {USERS[0]},view\nPossible fixes"
    results.write_text(json.dumps({"results": [{"message": message, "status": "error"}]}))
    without_lines_of_the_log(results)
    content = json.loads(results.read_text())
    assert content["results"][0]["message"] == "Error on Line: 3\n"
    assert content["results"][0]["status"] == "error"
