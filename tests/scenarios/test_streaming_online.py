"""A stream, the builds that follow it, and the syncs between them agree on the online store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbt_runner import ROOT
from dbt_session import DbtSession
from streaming_replay import compile_in, write_dataset

USERS = 30


def write_head(folder: Path) -> dict[str, Any]:
    """The bundled log's events of some users."""
    variables = yaml.safe_load((ROOT / "data" / "shop.yml").read_text(encoding="utf-8"))
    lines = (ROOT / "data" / "shop.csv").read_text(encoding="utf-8").splitlines(True)
    users = [f"u{number:03}" for number in range(USERS)]
    kept = [line for line in lines[1:] if any(f",{user}," in f",{line}" for user in users)]
    (folder / "log.csv").write_text("".join([lines[0], *kept]), encoding="utf-8")
    return {**variables, "events_path": str(folder / "log.csv")}


def test_streamed_rows_stay_until_a_build_knows_them(
    dbt_session: DbtSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that a stream wrote are newer than the files; the next build's are theirs again."""
    from feature_repo.store import apply
    from feature_repo.sync import sync
    from feature_repo.verify import verify
    from trainer.streaming.engine import Engine
    from trainer.streaming.events import Arrival
    from trainer.streaming.online import StoredOnline

    home, variables = tmp_path / "home", write_head(tmp_path)
    monkeypatch.setenv("SCALESPACE_HOME", str(home))
    dataset = write_dataset(variables, tmp_path / "log.yml")
    built = dbt_session(home, variables)
    assert built.returncode == 0, built.output
    store = apply(home)
    sync(home)
    assert verify(home).mismatches == 0

    def events_online(user: str) -> int:
        found = store.get_online_features(
            ["user_activity_all:event_count_all"], [{"user_id": user}]
        ).to_dict()
        return found["event_count_all"][0]

    before = {user: events_online(user) for user in ("u001", "u002", "u003")}
    now = datetime.now(UTC)
    # One now, and one that is late by a year: the log's clock says when it came, and not that.
    instants = {"u001": now - timedelta(minutes=5), "u002": now - timedelta(days=365)}
    compile_in(dbt_session, dataset, home)
    engine = Engine(dataset, home, StoredOnline(home))
    verdicts = engine.take(
        [
            Arrival(
                {
                    "user_id": user,
                    "action_type": "browse",
                    "time_stamp": at.isoformat(),
                    "event_id": f"new-{user}",
                }
            )
            for user, at in instants.items()
        ]
    )
    engine.close()
    assert [verdict.verdict for verdict in verdicts] == ["accepted", "accepted"]

    after = {"u001": before["u001"] + 1, "u002": before["u002"] + 1, "u003": before["u003"]}
    assert {user: events_online(user) for user in before} == after
    # The files do not know the events: a sync must not put their older rows over the stream's.
    sync(home)
    assert {user: events_online(user) for user in before} == after
    found = verify(home)
    views = [view for view in store.list_feature_views() if view.name.startswith("user_")]
    assert (found.mismatches, found.ahead) == (0, len(instants) * len(views))

    # A build without a new log reads the journal; then there is nothing ahead of it.
    built = dbt_session(home, variables)
    assert built.returncode == 0, built.output
    sync(home)
    assert {user: events_online(user) for user in before} == after
    found = verify(home)
    assert (found.mismatches, found.ahead) == (0, 0), found.first
