"""What a stream has written, in the file of packed rows: all views of an entity in one row.

A stream computes all views of its users at one instant. Their rows, packed, are one string of
bytes here, a bundle: the length of each, 4 bytes little-endian, and then each. Which views these
are, and under which schema, is said once, in the table ``bundles``. A view by itself leaves a
bundle rarely, and the rest is then written anew.
"""

import json
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from feature_repo.online_layout import KNOWN, STREAMED_AHEAD, named, view_table

_ROWS_A_STATEMENT = 100  # Python is waited for once a statement
_ROWS_AT_A_TIME = 1_000  # of those that are written anew

# View and number of its schema, in the order of the view's names.
Bundle = tuple[tuple[str, int], ...]


class Streamed:
    """The streamed rows of a file, by one connection to it.

    Parameters
    ----------
    connection : sqlite3.Connection
        In autocommit mode; what belongs together is written in the caller's transaction.
    """

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection
        self._bundles: dict[int, Bundle] = {}

    def write(
        self, views: Iterable[tuple[str, int, Sequence[tuple[str, bytes]]]], instant: int
    ) -> None:
        """Write rows (entity, packed) of several views, in force at `instant`; the newest stay.

        Parameters
        ----------
        views
            Of each view its name, the number of its schema, and its rows.
        instant
            In microseconds since 1970.
        """
        ordered = sorted(views, key=lambda view: view[0])
        pieces: dict[str, dict[int, bytes]] = {}
        for place, (_, _, rows) in enumerate(ordered):
            for entity, packed in rows:
                pieces.setdefault(entity, {})[place] = packed
        numbers: dict[tuple[int, ...], int] = {}
        made = []
        for entity, own in sorted(pieces.items()):
            places = tuple(own)
            if places not in numbers:
                numbers[places] = self._number(tuple(ordered[place][:2] for place in places))
            made.append((entity, numbers[places], instant, _joined(list(own.values()))))
        self._write(made)

    def forget(self) -> None:
        """Forget what numbers of bundles mean: those of a transaction that was taken back."""
        self._bundles.clear()

    def pieces(self, bundle: int, packed: bytes) -> Iterator[tuple[str, int, bytes]]:
        """Return view, number of the schema, and packed row of each view of a bundle."""
        views = self._bundle(bundle)
        start = 4 * len(views)
        for (view, schema), length in zip(views, _lengths(packed, len(views)), strict=True):
            yield view, schema, packed[start : start + length]
            start += length

    def bundles_of(self, view: str) -> str:
        """Return the numbers of the bundles that have a view, as a statement lists them."""
        return ", ".join(str(n) for n, bundle in self._all() if view in dict(bundle))

    def remove_known(self, clocks: Mapping[str, int], until: int) -> int:
        """Remove the rows that a build knows of, or that are of a later time.

        Parameters
        ----------
        clocks
            Of each view that was synced, until when its build knows what arrived; in microseconds
            since 1970, as all instants here.
        until
            Rows of a later instant go.

        Returns
        -------
        int
            How many rows went, of a view and an entity, that have no other one in their place.
        """
        gone = 0
        left = dict.fromkeys(
            view for _, bundle in self._all() for view, _ in bundle if view in clocks
        )
        for view in left:
            self._remove_replaced(view, until)
            gone += self._without_another(view, clocks[view], until)
        for number, bundle in self._all():
            known = {clocks.get(view) for view, _ in bundle}
            if len(known) == 1 and (clock := known.pop()) is not None:
                self._connection.execute(
                    f"delete from streamed where bundle = :bundle and {KNOWN}",
                    {"bundle": number, "clock": clock, "until": until},
                )
        for view in left:
            self.remove_view(view, KNOWN, {"clock": clocks[view], "until": until})
        return gone

    def remove_view(
        self, view: str, rows: str = "true", parameters: Mapping[str, int] | None = None
    ) -> None:
        """Remove a view's rows, of those bundles for which a condition holds."""
        for number, bundle in self._all():
            if view not in dict(bundle):
                continue
            given = {"bundle": number, "most": _ROWS_AT_A_TIME, **(parameters or {})}
            find = (
                "select entity, instant, packed from streamed "
                f"where bundle = :bundle and ({rows}) limit :most"
            )
            rest = tuple(each for each in bundle if each[0] != view)
            while some := self._connection.execute(find, given).fetchall():
                if rest:
                    other = self._number(rest)
                    self._write(
                        (entity, other, instant, self._without(view, number, packed))
                        for entity, instant, packed in some
                    )
                for marks, entities in named([entity for entity, _, _ in some]):
                    self._connection.execute(
                        f"delete from streamed where bundle = {number} and entity in ({marks})",
                        entities,
                    )

    def _without(self, view: str, bundle: int, packed: bytes) -> bytes:
        return _joined([piece for name, _, piece in self.pieces(bundle, packed) if name != view])

    def _remove_replaced(self, view: str, until: int) -> None:
        """Remove what a row of a later time than `until` had replaced, lest that uncovers it."""
        later = (
            f"select entity from streamed where bundle in ({self.bundles_of(view)}) "
            "and instant > :until"
        )
        if self._connection.execute(f"{later} limit 1", {"until": until}).fetchone() is not None:
            replaced = f"instant <= :until and entity in ({later})"
            self.remove_view(view, replaced, {"until": until})

    def _without_another(self, view: str, clock: int, until: int) -> int:
        """How many entities have rows of a view that go, and none that stays."""
        bundles = self.bundles_of(view)
        given = {"clock": clock, "until": until}
        goes = f"streamed where bundle in ({bundles}) and {KNOWN}"
        if self._connection.execute(f"select 1 from {goes} limit 1", given).fetchone() is None:
            return 0
        ((count,),) = self._connection.execute(
            f"select count(distinct entity) from {goes} "
            f"and entity not in (select entity from {view_table(view)}) and entity not in "
            f"(select entity from streamed where bundle in ({bundles}) and {STREAMED_AHEAD})",
            given,
        )
        return count

    def _write(self, rows: Iterable[tuple[str, int, int, bytes]]) -> None:
        made = list(rows)
        for start in range(0, len(made), _ROWS_A_STATEMENT):
            some = made[start : start + _ROWS_A_STATEMENT]
            self._connection.execute(
                "insert into streamed (entity, bundle, instant, packed) values "
                f"{','.join(['(?, ?, ?, ?)'] * len(some))} on conflict do update set "
                "instant = excluded.instant, packed = excluded.packed "
                "where excluded.instant >= instant",
                list(chain.from_iterable(some)),
            )

    def _all(self) -> list[tuple[int, Bundle]]:
        rows = self._connection.execute("select id from bundles").fetchall()
        return [(number, self._bundle(number)) for (number,) in rows]

    def _bundle(self, number: int) -> Bundle:
        found = self._bundles.get(number)
        if found is None:
            find = "select views from bundles where id = ?"
            (views,) = self._connection.execute(find, [number]).fetchone()
            found = self._bundles[number] = tuple((view, id) for view, id in json.loads(views))
        return found

    def _number(self, bundle: Bundle) -> int:
        views = json.dumps(bundle, ensure_ascii=False, separators=(",", ":"))
        self._connection.execute(
            "insert into bundles (views) values (?) on conflict do nothing", [views]
        )
        find = "select id from bundles where views = ?"
        return self._connection.execute(find, [views]).fetchone()[0]


def _joined(pieces: Sequence[bytes]) -> bytes:
    return b"".join([struct.pack(f"<{len(pieces)}I", *map(len, pieces)), *pieces])


def _lengths(packed: bytes, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", packed)
