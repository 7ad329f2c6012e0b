"""Columns of Arrow values as Feast's protocol buffers and back, a column at a time.

Feast's own conversion turns NaN into null and a null inside an array into 0. Here each distinct
value is converted once, NaN stays NaN, and a null inside an array is refused.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast import Field
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, StringList, Value

from feature_repo.errors import BadInput
from feature_repo.packing import ARRAYS, ARROW, PROTO, RowSchema

_VALUES: dict[str, Callable[[Any], Value]] = {
    "INT64": lambda v: Value(int64_val=v),
    "DOUBLE": lambda v: Value(double_val=v),
    "BOOL": lambda v: Value(bool_val=v),
    "STRING": lambda v: Value(string_val=v),
    "UNIX_TIMESTAMP": lambda v: Value(unix_timestamp_val=v),
    "INT64_LIST": lambda v: Value(int64_list_val=Int64List(val=v)),
    "DOUBLE_LIST": lambda v: Value(double_list_val=DoubleList(val=v)),
    "STRING_LIST": lambda v: Value(string_list_val=StringList(val=v)),
}


# Other fields of a ``Value`` that a feature of a kind may be given in, without loss.
_EXACT = {"INT64": ("int32_val",), "DOUBLE": ("float_val", "int32_val")}


def row_schema(features: Iterable[Field]) -> RowSchema:
    """Return what a packed row of these features holds."""
    return RowSchema(tuple((feature.name, kind_of(feature)) for feature in features))


def kind_of(feature: Field) -> str:
    """Return the kind under which `packing` keeps a feature."""
    name = feature.dtype.to_value_type().name
    return name if name in ARROW else PROTO + name


def to_seconds(instants: pa.Array) -> pa.Array:
    """Return whole seconds since 1970, floored: Feast's online timestamps carry no more."""
    return pc.floor_temporal(instants, unit="second").cast(pa.timestamp("s")).cast(pa.int64())


def to_kind(column: pa.Array, feature: Field, view: str) -> pa.Array:
    """Return a column of a source as the type under which `packing` keeps it.

    Raises
    ------
    BadInput
        If the type is none of those that `value_types` allows.
    """
    kind = kind_of(feature)
    if kind not in ARROW:
        raise BadInput(
            f"view {view}, feature {feature.name}: type {feature.dtype} cannot go online"
        )
    if pa.types.is_timestamp(column.type):
        column = to_seconds(column)
    return column if column.type == ARROW[kind] else column.cast(ARROW[kind])


def to_values(column: pa.Array, kind: str, view: str, feature: str) -> list[Value]:
    """Return the ``Value`` of each cell of a column of `kind`; a null is the empty value.

    Raises
    ------
    BadInput
        If an array holds a null.
    """
    nothing = Value()
    if kind.startswith(PROTO):
        return [nothing if v is None else Value.FromString(v) for v in column.to_pylist()]
    make = _VALUES[kind]
    if kind in ARRAYS:
        if column.flatten().null_count:
            raise BadInput(
                f"view {view}, feature {feature}: an array holds a null, which the online store "
                "cannot keep; write a value in its place"
            )
        return [nothing if value is None else make(value) for value in column.to_pylist()]
    if len(column) < 100:
        return [nothing if value is None else make(value) for value in column.to_pylist()]
    coded = column.dictionary_encode()
    distinct = [make(value) for value in coded.dictionary.to_pylist()]
    return [nothing if code is None else distinct[code] for code in coded.indices.to_pylist()]


def from_values(values: Sequence[Value | None], kind: str, view: str, feature: str) -> pa.Array:
    """Return a column of `kind` from a ``Value`` of each cell.

    Raises
    ------
    BadInput
        If a value is of another type than the feature.
    """
    if kind.startswith(PROTO):
        return pa.array(
            [v.SerializeToString() if v and v.WhichOneof("val") else None for v in values],
            pa.binary(),
        )
    set_fields: list[Any] = [None if value is None else value.WhichOneof("val") for value in values]
    # Arrow would cut 0.5 down to the integer 0.
    fitting = {None, "null_val", f"{kind.lower()}_val", *_EXACT.get(kind, ())}
    others = set(set_fields) - fitting
    if others:
        raise BadInput(
            f"view {view}, feature {feature}: a value is no {kind} but "
            f"{', '.join(map(str, others))}; write values of the feature's type"
        )
    cells: list[Any] = [
        None if name is None or name == "null_val" else getattr(value, name)
        for value, name in zip(values, set_fields, strict=True)
    ]
    if kind in ARRAYS:
        cells = [cell if cell is None else list(cell.val) for cell in cells]
    return pa.array(cells, ARROW[kind])


def entity_text(key: EntityKey) -> str:
    """Return one text per entity key, another one for every other key of the same view.

    The value itself where there is one join key; else all of them in the order of the keys' names,
    each with its length in bytes before it.
    """
    values = key.entity_values
    if len(values) == 1:
        return _text(values[0])
    pairs = sorted(zip(key.join_keys, values, strict=True), key=lambda pair: pair[0])
    return "".join(f"{len(t.encode())}:{t}" for t in (_text(value) for _, value in pairs))


def _text(value: Value) -> str:
    which = value.WhichOneof("val")
    found = getattr(value, which) if which else ""
    return found.hex() if isinstance(found, bytes) else str(found)


def entity_key_of(text: str, join_keys: Sequence[Field]) -> EntityKey:
    """Return the key of which `entity_text` made `text`; of texts and whole numbers."""
    fields = sorted(join_keys, key=lambda field: field.name)
    texts = [text]
    if len(fields) != 1:
        texts, rest = [], text.encode()
        while rest:
            length, _, rest = rest.partition(b":")
            texts.append(rest[: int(length)].decode())
            rest = rest[int(length) :]
    values = []
    for part, field in zip(texts, fields, strict=True):
        kind = field.dtype.to_value_type().name
        values.append(_VALUES[kind](int(part) if kind == "INT64" else part))
    return EntityKey(join_keys=[field.name for field in fields], entity_values=values)


def entity_text_sql(keys: Sequence[tuple[str, str]]) -> str:
    """Return SQL for `entity_text`, from name and SQL of each join key's column."""
    texts = [f"cast({sql} as varchar)" for _, sql in sorted(keys)]
    if len(texts) == 1:
        return texts[0]
    # strlen counts bytes.
    return "concat('', " + ", ".join(f"strlen({t}), ':', {t}" for t in texts) + ")"


def entity_keys(rows: pa.RecordBatch, join_keys: Sequence[Field]) -> list[EntityKey]:
    """Return Feast's key of each row."""
    names = [field.name for field in join_keys]
    columns = [
        to_values(rows.column(field.name), field.dtype.to_value_type().name, "", field.name)
        for field in join_keys
    ]
    return [
        EntityKey(join_keys=names, entity_values=values) for values in zip(*columns, strict=True)
    ]
