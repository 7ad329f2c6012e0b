"""How packed rows lie in their SQLite file: its tables, and what is asked of them.

A view that is loaded as a whole has a table of its own. A stream writes all views of a few
entities, over and over: of these an entity has one row, see `online_streamed`.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

LAYOUT = 3  # of the file; an older one is set aside and made anew
_KEYS_A_QUERY = 1000

# A number is given once: whoever reads remembers what it meant.
TABLES = """
create table schemas (
    id integer primary key autoincrement,
    view text not null,
    definition text not null,
    unique (view, definition)
);
create table synced (
    view text primary key,
    instant integer not null,
    source text,
    clock integer
) without rowid;
create table bundles (
    id integer primary key autoincrement,
    views text not null unique
);
create table streamed (
    entity text not null,
    bundle integer not null,
    instant integer not null,
    packed blob not null,
    primary key (entity, bundle)
);
create index streamed_by_instant on streamed (bundle, instant);
"""

# A pushed row is not what a sync has written, and has no schema.
STORED = "entity, event, created, case when pushed then -1 else schema end"

# A row that was pushed after all that the build knows of: its event is in no published file yet.
AHEAD = "pushed = 1 and ifnull(created, event) > :clock and event <= :until"
STREAMED_AHEAD = "instant > :clock and instant <= :until"
KNOWN = f"not ({STREAMED_AHEAD})"

NEVER = -(2**63)  # a row without a creation time is older than one with it

# A row of a view's table. The last column is null but for one that was pushed, which may be newer
# than what was streamed.
ROW = f"entity, event, schema, packed, case when pushed then ifnull(created, {NEVER}) end"
STREAMED_ROW = "entity, instant, bundle, packed, instant"

# Whether a row that is written takes the place of the one that is there.
IS_NEWER = (
    f"(excluded.event, ifnull(excluded.created, {NEVER})) >= (event, ifnull(created, {NEVER}))"
)


def named(entities: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Marks and parameters of the queries that name some entities."""
    for start in range(0, len(entities), _KEYS_A_QUERY):
        some = entities[start : start + _KEYS_A_QUERY]
        yield ",".join("?" * len(some)), some


@lru_cache(maxsize=128)
def query_of(views: tuple[str, ...], entities: int) -> str:
    """One query for the rows of all views; the last column is a view's number.

    It is null of a streamed row, which has a bundle in place of a schema.
    """
    marks = ",".join(f"?{number}" for number in range(1, entities + 1))
    loaded = [
        f"select {ROW}, {number} from {view_table(view)} where entity in ({marks})"
        for number, view in enumerate(views)
    ]
    streamed = f"select {STREAMED_ROW}, null from streamed where entity in ({marks})"
    return " union all ".join([*loaded, streamed])


def view_table_name(view: str) -> str:
    """The table that a view is loaded into."""
    return f"rows of {view}"


def view_table(view: str) -> str:
    """The same, as a statement names it."""
    return quoted(view_table_name(view))


def quoted(identifier: str) -> str:
    """An identifier of any characters, as a statement names it."""
    return '"' + identifier.replace('"', '""') + '"'
