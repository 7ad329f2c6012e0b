"""How packed rows lie in their SQLite file: its tables, and what is asked of them.

A view that is loaded as a whole has a table of its own. A stream writes all views of a few
entities, over and over: its rows lie in one table of all views, an entity's side by side, so that
a batch changes few pages.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

LAYOUT = 2  # of the file; an older one is set aside and made anew
_KEYS_A_QUERY = 1000

TABLES = """
create table schemas (
    id integer primary key,
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
create table streamed (
    entity text not null,
    view text not null,
    event integer not null,
    created integer not null,
    schema integer not null,
    packed blob not null,
    primary key (entity, view)
) without rowid;
create index streamed_by_view on streamed (view, entity);
"""

# A pushed row is not what a sync has written, and has no schema.
STORED = "entity, event, created, case when pushed then -1 else schema end"

# A row that was pushed after all that the build knows of: its event is in no published file yet.
AHEAD = "pushed = 1 and ifnull(created, event) > :clock and event <= :instant"
STREAMED_AHEAD = "created > :clock and event <= :instant"

NEVER = -(2**63)  # a row without a creation time is older than one with it


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

    Of a streamed row it is the view's name, and rows of other views are among those.
    """
    marks = ",".join(f"?{number}" for number in range(1, entities + 1))
    loaded = [
        f"select entity, event, schema, packed, {number} from {view_table(view)} "
        f"where entity in ({marks})"
        for number, view in enumerate(views)
    ]
    return " union all ".join([*loaded, streamed_query(marks)])


def streamed_query(marks: str) -> str:
    """The query for what was streamed of some entities, in all views."""
    return f"select entity, event, schema, packed, view from streamed where entity in ({marks})"


def view_table_name(view: str) -> str:
    """The table that a view is loaded into."""
    return f"rows of {view}"


def view_table(view: str) -> str:
    """The same, as a statement names it."""
    return quoted(view_table_name(view))


def quoted(identifier: str) -> str:
    """An identifier of any characters, as a statement names it."""
    return '"' + identifier.replace('"', '""') + '"'
