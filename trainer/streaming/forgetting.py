"""A user's lines out of a journal: emptied and not taken out, because lines are numbered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from trainer.streaming.journal import FOLDER, Journal


def empty_lines(home: Path, column: Any, user: str) -> int:
    """Take what a journal holds of a user, and leave numbered lines without an event.

    Parameters
    ----------
    home
        Home of the run.
    column
        The dataset file's ``columns.user_id``: a column of the log, or ``{sql: expression}``.
    user
        As the journal has him.

    Returns
    -------
    lines
        How many were emptied.

    Raises
    ------
    BadInput
        If another process writes the journal, or the expression cannot be read over its lines.
    """
    if not any((home / FOLDER).glob("events-*.ndjson")):
        return 0
    journal = Journal(home)  # also keeps a stream from starting meanwhile
    try:
        return sum(_empty_in(file, column, user) for file in journal.files())
    finally:
        journal.close()


def _empty_in(path: Path, column: Any, user: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    parsed = [json.loads(line) for line in lines]
    own = _of_user([line["event"] for line in parsed], column, user)
    for place in own:
        kept = {"number": parsed[place]["number"], "arrived_at": parsed[place]["arrived_at"]}
        lines[place] = json.dumps({**kept, "event": {}})
    if own:
        with replacing(path) as fresh:
            fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(own)


def _of_user(events: list[dict[str, Any]], column: Any, user: str) -> list[int]:
    if not isinstance(column, dict):
        wanted = str(column).lower()
        return [
            place
            for place, event in enumerate(events)
            if any(name.lower() == wanted and value == user for name, value in event.items())
        ]
    names = sorted({name for event in events for name in event})
    if not names:
        return []
    values = [[place, *(event.get(name) for name in names)] for place, event in enumerate(events)]
    quoted = [f'"{name}"' for name in names]
    with duckdb.connect() as connection:
        connection.execute(
            f"create table log (__place integer, {', '.join(q + ' varchar' for q in quoted)})"
        )
        marks = ", ".join("?" * (len(names) + 1))
        connection.executemany(f"insert into log values ({marks})", values)
        try:
            found = connection.execute(
                f"select __place from log where cast(({column['sql']}) as varchar) = ?", [user]
            ).fetchall()
        except duckdb.Error as error:
            raise BadInput(
                "columns.user_id cannot be computed over the journal: "
                f"{str(error).splitlines()[0]}; take the user's lines out of it by hand"
            ) from None
    return [row[0] for row in found]
