"""The journal: whole lines, numbered, whatever happens to the process or the disk."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.errors import BadInput
from trainer.streaming.events import Arrival
from trainer.streaming.journal import Journal, JournalError

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def arrivals(*users: str) -> list[Arrival]:
    return [Arrival({"user": user}) for user in users]


def put(journal: Journal, events: list[Arrival]) -> list[str]:
    lines = journal.prepare(events, NOW)
    journal.append(lines)
    return lines


def users_in(journal: Journal, after: int = 0) -> list[tuple[int, str]]:
    return [(line["number"], line["event"]["user"]) for line in journal.lines_after(after)]


def test_lines_last_and_are_numbered_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    lines = put(journal, [Arrival({"user": "a", "what": None}, source="s/1")])
    assert [json.loads(line) for line in lines] == [
        {
            "number": 1,
            "arrived_at": "2024-05-01T00:00:00+00:00",
            "source": "s/1",
            "event": {"user": "a", "what": None},
        }
    ]
    put(journal, arrivals("b\n", "c\u2028"))
    journal.close()
    again = Journal(tmp_path)
    assert again.last == 3
    put(again, arrivals("d"))
    assert users_in(again) == [(1, "a"), (2, "b\n"), (3, "c\u2028"), (4, "d")]
    again.close()


def test_a_new_file_begins_where_one_is_full(tmp_path: Path) -> None:
    journal = Journal(tmp_path, lines_per_file=2)
    for user in "abcde":
        put(journal, arrivals(user))
    assert [file.name for file in journal.files()] == [
        "events-000000000001.ndjson",
        "events-000000000003.ndjson",
        "events-000000000005.ndjson",
    ]
    assert users_in(journal, after=2) == [(3, "c"), (4, "d"), (5, "e")]
    journal.close()
    again = Journal(tmp_path, lines_per_file=2)
    put(again, arrivals("f"))
    put(again, arrivals("g"))
    assert [number for number, _ in users_in(again)] == [1, 2, 3, 4, 5, 6, 7]
    assert len(again.files()) == 4
    again.close()


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_half_a_line_of_a_crash_is_cut_off(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path)
    put(journal, arrivals("a", "b"))
    journal.close()
    file = journal.files()[0]
    file.write_bytes(file.read_bytes()[:-cut])
    again = Journal(tmp_path)
    assert again.last == 1
    put(again, arrivals("c"))
    assert users_in(again) == [(1, "a"), (2, "c")]
    again.close()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    put(journal, arrivals("a", "b", "c"))
    journal.close()
    file = journal.files()[0]
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:10], lines[2]]) + "\n")
    with pytest.raises(BadInput, match="line 2 is damaged: it should be number 2"):
        Journal(tmp_path)


def test_a_file_is_begun_when_it_is_asked_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin_file()  # of nothing
    put(journal, arrivals("a", "b"))
    journal.begin_file()
    journal.begin_file()  # twice is once
    put(journal, arrivals("c"))
    put(journal, arrivals("d"))
    journal.begin_file()
    journal.close()  # before a line came: there is no empty file
    names = [path.name for path in journal.files()]
    assert names == ["events-000000000001.ndjson", "events-000000000003.ndjson"]
    again = Journal(tmp_path)
    put(again, arrivals("e"))
    assert [path.name for path in again.files()] == names
    assert users_in(again, after=1) == [(2, "b"), (3, "c"), (4, "d"), (5, "e")]
    again.close()


def test_one_process_writes(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(BadInput, match="written by another process"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_full_disk_takes_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    put(journal, arrivals("a"))
    write = os.write

    def half(file: int, data: bytes) -> int:
        """The disk takes ten bytes and is full."""
        monkeypatch.setattr(os, "write", full)
        return write(file, bytes(data[:10]))

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(JournalError, match="No space left"):
        put(journal, arrivals("b"))
    monkeypatch.undo()
    assert users_in(journal) == [(1, "a")]
    put(journal, arrivals("c"))
    assert users_in(journal) == [(1, "a"), (2, "c")]
    journal.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_and_is_cleared(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40_000)
    journal = Journal(small_disk)
    taken = 0
    with pytest.raises(JournalError, match="No space left"):
        while True:
            put(journal, arrivals(*(["u" * 100] * 10)))
            taken += 10
    assert taken > 0
    assert [number for number, _ in users_in(journal)] == list(range(1, taken + 1))
    ballast.unlink()
    put(journal, arrivals("after"))
    journal.close()
    again = Journal(small_disk)
    assert again.last == taken + 1
    assert users_in(again, after=taken) == [(taken + 1, "after")]
    again.close()


def test_what_is_online_is_noted(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.applied == 0
    put(journal, arrivals("a", "b"))
    journal.note_applied()
    assert journal.applied == 2
    journal.close()
    assert Journal(tmp_path).applied == 2
