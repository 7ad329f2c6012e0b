"""After `trainer forget` nothing of the user is in any file, and no build brings him back."""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from dbt_session import DbtSession
from feature_repo.errors import BadInput
from trainer import forgetting
from trainer.build import read_accounting
from trainer.cli import app
from trainer.config import FitConfig, save_config
from trainer.finding import files_with
from trainer.forgotten import FILE, read_forgotten
from trainer.streaming.events import Arrival
from trainer.streaming.forgetting import empty_lines
from trainer.streaming.journal import FOLDER, Journal

GONE, ITEM = "zaphod-of-betelgeuse", "pan-galactic-gargle-blaster"
VARIABLES: dict[str, Any] = {
    "dataset": "toy",
    "columns": {
        "user_id": "who",
        "action_type": "what",
        "event_timestamp": "at",
        "item_id": "item",
    },
    "actions": ["view", "buy"],
    "split": {"train_end": "2024-01-08", "valid_end": "2024-01-10"},
}


def log_lines(seed: int = 0) -> list[str]:
    """A dozen users of two weeks; one of them has a distinct name, and an item of his own."""
    random = np.random.default_rng(seed)
    lines = []
    for user in (*(f"user-{number:03d}" for number in range(11)), GONE):
        for _ in range(12):
            at = np.datetime64("2024-01-01T00:00:00") + np.timedelta64(
                int(random.integers(14 * 86_400)), "s"
            )
            item = ITEM if user == GONE and random.random() < 0.5 else f"item-{random.integers(4)}"
            lines.append(f"{user},{random.choice(['view', 'view', 'buy'])},{at},{item}")
    return lines


@dataclass(frozen=True)
class Place:
    """A log, its dataset file and its home."""

    folder: Path
    session: DbtSession
    project: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def dataset(self) -> str:
        return str(self.folder / "toy.yml")

    @property
    def variables(self) -> dict[str, Any]:
        return VARIABLES | {"events_path": str(self.folder / "toy.csv")}

    def write(self, lines: list[str]) -> None:
        (self.folder / "toy.csv").write_text("\n".join(["who,what,at,item", *lines]) + "\n")
        Path(self.dataset).write_text(yaml.safe_dump(self.variables))

    def build(self, *_: Any) -> dict[str, Any]:
        built = self.session(self.home, self.variables, project=self.project)
        assert built.returncode == 0, built.output
        return read_accounting(self.home)

    def run(self, *arguments: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SCALESPACE_HOME", str(self.home))
            result = CliRunner().invoke(app, [*arguments, "--dataset", self.dataset])
        assert result.exit_code == 0, result.output + result.stderr
        return result.output


def texts_in(home: Path) -> Iterator[tuple[Path, str]]:
    """Everything that stands in a home's files, as text: bytes, and what packed formats hold."""
    for path in home.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        yield path, path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            rows = duckdb.execute("select * from read_parquet(?)", [str(path)]).fetchall()
            yield path, str(rows)
        if path.name == "warehouse.duckdb":
            with duckdb.connect(str(path), read_only=True) as connection:
                for schema, table in connection.execute(
                    "select schema_name, table_name from duckdb_tables()"
                ).fetchall():
                    yield path, str(connection.sql(f'from "{schema}"."{table}"').fetchall())
        if path.name == "online_store.db":
            with sqlite3.connect(path) as store:
                yield path, "\n".join(store.iterdump())


def files_naming(home: Path, *words: str) -> set[str]:
    return {path.name for path, text in texts_in(home) for word in words if word in text}


def write_run(folder: Path, train_end: str, **info: Any) -> None:
    """What of a run says who was learned from."""
    folder.mkdir(parents=True)
    cuts = {"train_end": train_end, "valid_end": "2024-01-10", "notes": []}
    cuts |= {"train_purge": "1h", "valid_purge": "1h"}
    (folder / "split.json").write_text(json.dumps({"cuts": cuts}))
    (folder / "run.json").write_text(json.dumps(info))
    save_config(FitConfig(), folder / "config.yml")


@pytest.fixture(scope="module")
def place(
    dbt_session: DbtSession, few_scales: Path, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """A build of a log and a journal, an online store, a run, and a report that names users."""
    place = Place(tmp_path_factory.mktemp("forget"), dbt_session, few_scales)
    place.write(log_lines())
    journal = Journal(place.home)
    event = {"who": GONE, "what": "buy", "at": "2024-01-14 01:00:00", "item": ITEM}
    other = event | {"who": "user-001", "item": "item-1"}
    journal.append(journal.prepare([Arrival(other), Arrival(event, "s/2")], datetime.now(UTC)))
    journal.close()
    place.build()
    place.run("apply")
    place.run("sync", "--at", "end")
    for run, train_end in (("1-early", "2023-12-01"), ("2-late", "2024-01-08")):
        write_run(place.home / "models" / run, train_end)
    (place.home / "reports" / "report.html").write_text(f"<p>{GONE}</p>")
    # What a fit that was killed learned from.
    (place.home / "checkpoints" / "rows-dead").mkdir(parents=True)
    (place.home / "checkpoints" / "rows-dead" / "rows").write_bytes(ITEM.encode())
    (place.home / "checkpoints" / "fit.pt").write_bytes(b"weights")
    return place


@pytest.fixture(scope="module")
def done(place: Place) -> forgetting.Forgetting:
    before = files_naming(place.home, GONE)
    assert {"warehouse.duckdb", "online_store.db", "events.parquet", "report.html"} <= before
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(place.home))
        return forgetting.forget(place.dataset, place.home, GONE, lambda _line: None, place.build)


def test_nothing_of_the_user_is_in_any_file(place: Place, done: forgetting.Forgetting) -> None:
    assert files_naming(place.home, GONE, ITEM) == set()
    assert done.left == ()
    assert list(files_with(place.home, "user-001"))  # the search does find who is there


def test_it_says_what_it_did(place: Place, done: forgetting.Forgetting) -> None:
    assert done.in_log == 12
    assert done.journal_lines == 1
    names = {path.name for path in done.removed}
    assert {"report.html", "fit.pt", "rows-dead"} <= names
    assert not list((place.home / "checkpoints").iterdir())
    early, run = done.seen_by or ()
    assert (early.run, early.trained) == ("1-early", False)  # fitted before his first event
    assert (run.run, run.trained) == ("2-late", True)
    kept = json.loads((place.home / FILE).read_text())
    (entry,) = kept["users"].values()
    assert entry["runs"][1]["run"] == run.run


@pytest.mark.slow
def test_others_have_what_a_log_without_him_gives(
    place: Place, done: forgetting.Forgetting, tmp_path: Path
) -> None:
    alone = Place(tmp_path, place.session, place.project)
    alone.write([line for line in log_lines() if GONE not in line])
    with duckdb.connect() as connection:
        journal = Journal(alone.home)
        event = {"who": "user-001", "what": "buy", "at": "2024-01-14 01:00:00", "item": "item-1"}
        journal.append(journal.prepare([Arrival(event)], datetime.now(UTC)))
        journal.close()
        alone.build()
        views = sorted(path.name for path in (alone.home / "features").glob("*.parquet"))
        assert len(views) == 17
        for view in (*views, "../labels/events.parquet", "../labels/label_next.parquet"):
            left, right = (
                f"(select * {'exclude (computed_at) ' if view in views else ''}"
                f"from read_parquet('{home / 'features' / view}'))"
                for home in (place.home, alone.home)
            )
            for one, other in ((left, right), (right, left)):
                differing = connection.sql(f"from {one} except all from {other}").fetchall()
                assert differing == [], view


@pytest.mark.slow
def test_the_next_build_does_not_bring_him_back(place: Place, done: forgetting.Forgetting) -> None:
    assert place.build()["rejected"]["forgotten"] == 12
    assert files_naming(place.home, GONE, ITEM) == set()
    again = forgetting.forget(place.dataset, place.home, GONE, lambda _line: None, place.build)
    assert again.seen_by == done.seen_by  # remembered, though no file knows him any more


@pytest.mark.slow
def test_a_stream_does_not_take_him_in(place: Place, done: forgetting.Forgetting) -> None:
    from trainer.streaming.compiled import compile_statements
    from trainer.streaming.computation import read_log

    statements = compile_statements(place.dataset, place.home)
    now = datetime.now(UTC)
    forgotten = read_forgotten(place.home)
    rows, _ = read_log(statements, [], now, forgotten)
    verdicts = dict(duckdb.sql("select verdict, count(*) from rows group by all").fetchall())
    assert verdicts == {"accepted": 11 * 12, "forgotten": 12}
    assert GONE not in str(rows.to_pylist())


@pytest.mark.parametrize("column", ["WHO", {"sql": "lower(who)"}])
def test_lines_of_a_journal_are_emptied_and_stay_numbered(tmp_path: Path, column: Any) -> None:
    journal = Journal(tmp_path)
    events = [{"who": user, "what": "buy"} for user in ("ann", "bob", "ann", "cy")]
    journal.append(journal.prepare([Arrival(event) for event in events], datetime.now(UTC)))
    journal.close()
    assert empty_lines(tmp_path, column, "ann") == 2
    (file,) = (tmp_path / FOLDER).glob("events-*")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3, 4]
    assert [line["event"] for line in lines] == [{}, events[1], {}, events[3]]
    Journal(tmp_path).close()  # and it can be gone on with


def test_where_identifiers_are_hashed_it_takes_the_one_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    salt, home = "a secret of this test alone", tmp_path / "home"
    hashed = hmac.new(salt.encode(), GONE.encode(), "sha256").hexdigest()
    monkeypatch.setenv("SCALESPACE_USER_SALT", salt)
    journal = Journal(home)
    journal.append(journal.prepare([Arrival({"who": hashed})], datetime.now(UTC)))
    journal.close()
    (home / ".published" / "1" / "features").mkdir(parents=True)
    (home / "features").symlink_to(".published/1/features")
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute("create table event_changes as select ? as key, 1 as version", [hashed])
        connection.execute("create table kept as select * from range(3)")
        connection.execute("create table gone as select ? as who", [hashed])
        connection.execute("checkpoint")
        connection.execute("drop table gone")
    content = VARIABLES | {"events_path": "toy.csv", "hash_user_ids": True}
    dataset = tmp_path / "toy.yml"
    dataset.write_text(yaml.safe_dump(content))
    found = forgetting.forget(
        str(dataset), home, GONE, lambda _line: None, lambda *_: {"rejected": {"forgotten": 4}}
    )
    assert (found.journal_lines, found.in_log, found.seen_by) == (1, 4, None)
    assert files_naming(home, hashed) == set()
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        assert connection.sql("select count(*) from kept").fetchall() == [(3,)]
    (entry,) = json.loads((home / FILE).read_text())["users"]
    assert entry == read_forgotten(home).hash_of(hashed)


def test_while_a_stream_runs_nothing_is_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(journal.prepare([Arrival({"who": "ann"})], datetime.now(UTC)))
    with pytest.raises(BadInput, match="written by another process"):
        empty_lines(tmp_path, "who", "ann")
    journal.close()


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with pytest.raises(BadInput, match="is damaged: restore it, or users come back"):
        read_forgotten(tmp_path)
