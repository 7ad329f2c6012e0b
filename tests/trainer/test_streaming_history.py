"""The events known so far, against plain dictionaries."""

from __future__ import annotations

import random

import pyarrow as pa

from trainer.streaming.history import History

SCHEMA = pa.schema({"event_id": pa.string(), "user_id": pa.string(), "value": pa.int64()})


def test_rows_are_found_by_user_and_by_id_whatever_was_replaced() -> None:
    rng = random.Random(1)
    history, known = History(SCHEMA), {}
    for step in range(300):
        ids = rng.sample(range(500), rng.choice([0, 1, 3, 40]))
        rows = [
            {"event_id": f"e{i}", "user_id": rng.choice(["a", "b", "c", None]), "value": step}
            for i in ids
        ]
        history.replace(pa.Table.from_pylist(rows, SCHEMA))
        known.update({row["event_id"]: row for row in rows})
        if known and step % 10 == 0:
            gone = rng.sample(sorted(known), min(3, len(known)))
            history.remove(gone)
            for event_id in gone:
                del known[event_id]
        assert len(history) == len(known)
        users = rng.sample(["a", "b", "c", "nobody"], 2)
        assert by_id(history.of_users(users)) == {
            i: row for i, row in known.items() if row["user_id"] in users
        }
        asked = [f"e{i}" for i in rng.sample(range(500), 20)]
        assert by_id(history.of_ids(asked)) == {i: known[i] for i in asked if i in known}


def by_id(table: pa.Table) -> dict[str, dict]:
    rows = table.to_pylist()
    found = {row["event_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found
