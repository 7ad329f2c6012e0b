"""Bad input is refused in one line that says where it is and what to do, and costs nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dbt_runner import Build
from dbt_session import DbtSession
from published import published_bytes

LOG = """who,what,time_stamp,price
u1,browse,2024-01-01 10:00:00,1.50
u1,cart,2024-01-01 10:01:00,2
u2,browse,2024-01-01 11:00:00,3
"""
GOOD: dict[str, Any] = {
    "dataset": "toy",
    "columns": {"user_id": "who", "action_type": "what", "event_timestamp": "time_stamp"},
    "actions": ["browse", "cart"],
}

# A change of the dataset file, and what the line has to say.
DATASETS: list[tuple[dict[str, Any], list[str]]] = [
    ({"actions": "browse"}, ["'actions' is browse", "[a, b]"]),
    ({"actions": ["browse", "add to cart"]}, ["'add to cart'", "action_map"]),
    ({"actions": ["browse", "Leave"]}, ["'leave'", "rename"]),
    ({"actions": ["browse", "Browse"]}, ["'Browse'", "browse_count", "'browse'", "rename"]),
    ({"actions": ["view"]}, ["log.csv", "actions view", "browse, cart", "action_map"]),
    ({"action_map": {"buy": "purchase"}}, ["action_map", "'buy'", "'purchase'", "actions"]),
    ({"action_roles": {"cart": "hope"}}, ["action_roles.cart", "'hope'", "intent"]),
    ({"columns": {"user_id": "who", "action_type": "what"}}, ["columns.event_timestamp", "name"]),
    ({"columns": {**GOOD["columns"], "price": "price"}}, ["columns.price", "measures"]),
    (
        {"columns": {**GOOD["columns"], "user_id": "customer"}},
        ["log.csv", "'customer'", "who, what"],
    ),
    (
        {"columns": {**GOOD["columns"], "item_id": {"sql": "lower(thing)"}}},
        ["log.csv", "columns.item_id", '"thing"', "who, what"],
    ),
    ({"tie_order": ["line"]}, ["log.csv", "'line'", "tie_order", "who, what"]),
    ({"measures": {"amount": "price"}}, ["measures.amount", "{sql: amount"]),
    ({"measures": {"hour": {"sql": "price"}}}, ["'hour'", "rename"]),
    (
        {"measures": {"amount": {"sql": "quantity * price", "decimals": 2}}},
        ["log.csv", "measures.amount", '"quantity"', "who, what"],
    ),
    ({"horizons": {"conversion": ["7 days"]}}, ["'7 days'", "7d"]),
    ({"transition_prior": 0}, ["transition_prior", "above 0"]),
    ({"source_timezone": "Mars/Olympus"}, ["source_timezone", "'Mars/Olympus'", "Europe/Berlin"]),
    ({"known_at": "yesterday"}, ["known_at", "'yesterday'", "2024-01-31"]),
    ({"split": {"train_end": "spring"}}, ["split.train_end", "'spring'", "2024-05-31"]),
    ({"freshness": {"warn_after": "soon"}}, ["freshness.warn_after", "'soon'", "12h"]),
    ({"freshness": {"warn": "1d"}}, ["freshness.warn", "warn_after, error_after"]),
    ({"csv": {"seperator": ";"}}, ["csv.seperator", "delimiter"]),
]
# A log, and what the line has to say.
LOGS: list[tuple[bytes, list[str]]] = [
    (b"", ["log.csv", "empty", "export"]),
    (b"\xef\xbb\xbf", ["log.csv", "no first line", "export"]),
    (b"\n\n", ["log.csv", "no first line", "export"]),
    (LOG.replace("\n", "\r\n", 2).encode(), ["log.csv", "end in different ways", "export"]),
    (LOG.replace("u2", "u" * 2_100_000).encode(), ["log.csv", "line 4", "2 MB", "csv.quote"]),
    (b"\0" * 40, ["log.csv", "'who'", "correct the dataset file"]),
    (LOG.replace(",", ";").encode(), ["log.csv", "'who'", "who;what", 'csv: {delimiter: ";"}']),
    (LOG.replace(",", "\t").encode(), ["log.csv", "'who'", 'csv: {delimiter: "\\t"}']),
    (gzip.compress(LOG.encode()), ["log.csv", "gzip", ".gz"]),
    (LOG.replace("who", "who,who", 1).encode(), ["log.csv", "two columns", "who", "csv.names"]),
    (LOG.replace(":00,2", ":00,2,5").encode(), ["log.csv", "line 3", "5 fields", "4 are named"]),
    (LOG.replace(":00,2", ":00").encode(), ["log.csv", "line 3", "3 fields", "4 are named"]),
    (LOG.replace("cart", '"cart').encode(), ["log.csv", "line 3", "quote", "csv.quote"]),
    (LOG.replace("u2", "ü2").encode("latin-1"), ["log.csv", "line 4", "UTF-8", "csv.encoding"]),
    (
        b"who,what,time_stamp\nu1,browse,1704103200\n",
        ["log.csv", "columns.event_timestamp", "1704103200", "timestamp_unit"],
    ),
]


@pytest.fixture(scope="module")
def home(dbt_session: DbtSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a good build in force."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "log.csv").write_text(LOG)
    variables = {**GOOD, "events_path": str(folder / "log.csv")}
    select = ("--select", "+user_activity_1h", "event_accounting")
    build = dbt_session(folder / "home", variables, *select)
    assert build.returncode == 0, build.output
    assert len(published_bytes(build.home)) == 2
    return build.home


@pytest.fixture
def refused(home: Path, stage: Callable[..., Build]) -> Callable[..., str]:
    """Build what cannot be built and return the one line that says so."""

    def run(variables: dict[str, Any]) -> str:
        before = published_bytes(home)
        build = stage(home, variables)
        assert build.returncode != 0, build.output
        assert "Traceback" not in build.output
        assert published_bytes(home) == before
        return build.complaint

    return run


@pytest.mark.parametrize(
    ("change", "said"), DATASETS, ids=[json.dumps(change)[:40] for change, _ in DATASETS]
)
def test_a_dataset_file(
    change: dict[str, Any], said: list[str], refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    line = refused({**GOOD, "events_path": str(tmp_path / "log.csv"), **change})
    assert all(part in line for part in said), line


@pytest.mark.parametrize(("log", "said"), LOGS, ids=[" ".join(said[1:3]) for _, said in LOGS])
def test_a_csv_file(
    log: bytes, said: list[str], refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "log.csv").write_bytes(log)
    line = refused({**GOOD, "events_path": str(tmp_path / "log.csv")})
    assert all(part in line for part in said), line


def test_files_that_are_not_there_or_do_not_agree(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    line = refused({**GOOD, "events_path": str(tmp_path / "january.csv")})
    assert str(tmp_path / "january.csv") in line
    assert "no such file" in line and "events_path" in line

    (tmp_path / "1.csv").write_text(LOG)
    (tmp_path / "2.csv").write_text(LOG.replace("who,what", "what,who"))
    line = refused({**GOOD, "events_path": str(tmp_path / "*.csv")})
    assert str(tmp_path / "2.csv") in line and "same header" in line


def test_an_expression_over_a_header_that_was_read_as_one_column(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "log.csv").write_text(LOG.replace(",", ";"))
    columns = {**GOOD["columns"], "user_id": {"sql": "lower(who)"}}
    line = refused({**GOOD, "events_path": str(tmp_path / "log.csv"), "columns": columns})
    said = ["log.csv", "columns.user_id", '"who"', "who;what", 'csv: {delimiter: ";"}']
    assert all(part in line for part in said), line


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_the_delimiter_that_the_line_asks_for_is_enough(
    delimiter: str, stage: Callable[..., Build], tmp_path: Path
) -> None:
    (tmp_path / "log.csv").write_text(LOG.replace(",", delimiter))
    variables = {**GOOD, "events_path": str(tmp_path / "log.csv"), "csv": {"delimiter": delimiter}}
    build = stage(tmp_path / "home", variables)
    assert build.returncode == 0, build.output


def test_compressed_files(refused: Callable[..., str], tmp_path: Path) -> None:
    whole, path = gzip.compress(LOG.encode()), tmp_path / "log.csv.gz"
    for content, said in [
        (LOG.encode(), "not a GZIP stream"),
        (whole[: len(whole) // 2], "Unexpected end of GZIP stream"),
        (gzip.compress(b""), "no first line"),
    ]:
        path.write_bytes(content)
        line = refused({**GOOD, "events_path": str(path)})
        assert "log.csv.gz" in line and said in line


def test_parquet_files(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    path.write_text(LOG)
    line = refused({**GOOD, "events_path": str(path)})
    assert "log.parquet" in line and "magic bytes" in line

    pq.write_table(pa.table({"who": ["u"], "what": ["cart"], "time_stamp": [1704103200]}), path)
    line = refused({**GOOD, "events_path": str(path)})
    assert "log.parquet" in line and "BIGINT" in line and "timestamp_unit" in line

    line = refused({**GOOD, "events_path": str(path), "timestamp_unit": "us", "actions": ["view"]})
    assert "log.parquet" in line and "actions view" in line

    arrays = [pa.array([text]) for text in ("u", "v", "cart", "2024-01-01 10:00:00")]
    pq.write_table(pa.table(arrays, names=["who", "Who", "what", "time_stamp"]), path)
    line = refused({**GOOD, "events_path": str(path)})
    assert "log.parquet" in line and "two columns are named Who" in line


def test_a_relative_home(dbt_session: DbtSession, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    variables = {**GOOD, "events_path": str(tmp_path / "log.csv")}
    build = dbt_session(Path("relative/home"), variables)
    assert build.returncode != 0
    assert "SCALESPACE_HOME is 'relative/home'" in build.complaint
    assert "absolute path" in build.complaint
    assert not Path("relative").exists()


def test_a_refused_dataset_file_leaves_the_manifest_alone(
    home: Path, dbt_session: DbtSession
) -> None:
    before = (home / "target" / "manifest.json").read_bytes()
    variables = {**GOOD, "events_path": "log.csv", "actions": ["browse", "leave"]}
    build = dbt_session(home, variables)
    assert build.returncode != 0
    assert (home / "target" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True], ids=["writes", "reads"])
def test_a_warehouse_that_another_process_holds(
    read_only: bool, home: Path, dbt_session: DbtSession, tmp_path: Path
) -> None:
    before = published_bytes(home)
    (tmp_path / "log.csv").write_text(LOG)
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=read_only):
        build = dbt_session(home, {**GOOD, "events_path": str(tmp_path / "log.csv")})
    assert build.returncode == 2
    assert published_bytes(home) == before
    assert "Traceback" not in build.output
    assert str(home / "warehouse.duckdb") in build.complaint
    assert "lock" in build.complaint


def test_a_misspelt_key_is_named_in_a_note(stage: Callable[..., Build], tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    variables = {**GOOD, "events_path": str(tmp_path / "log.csv")}
    build = stage(tmp_path / "home", {**variables, "session_gap_minute": 5})
    assert build.returncode == 0
    assert "note: 'session_gap_minute' is no key of a dataset file" in build.output
    assert "note:" not in stage(tmp_path / "home", variables).output
