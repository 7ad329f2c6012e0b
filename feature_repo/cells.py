"""Columns of Arrow values as the bytes of Feast's protocol buffers, a column at a time.

Feast converts cell by cell and turns NaN into null and a null inside an array into 0. Here each
distinct value is converted once, NaN stays NaN, and a null inside an array is refused.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast import Field
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, StringList, Value
from feast.value_type import ValueType

from feature_repo.errors import BadInput

_VALUES: dict[ValueType, Callable[[Any], Value]] = {
    ValueType.INT64: lambda v: Value(int64_val=v),
    ValueType.DOUBLE: lambda v: Value(double_val=v),
    ValueType.BOOL: lambda v: Value(bool_val=v),
    ValueType.STRING: lambda v: Value(string_val=v),
    ValueType.UNIX_TIMESTAMP: lambda v: Value(unix_timestamp_val=v),
    ValueType.INT64_LIST: lambda v: Value(int64_list_val=Int64List(val=v)),
    ValueType.DOUBLE_LIST: lambda v: Value(double_list_val=DoubleList(val=v)),
    ValueType.STRING_LIST: lambda v: Value(string_list_val=StringList(val=v)),
}


def to_seconds(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whole seconds since 1970, floored: Feast's online timestamps carry no more."""
    return pc.floor_temporal(instants, unit="second").cast(pa.timestamp("s")).cast(pa.int64())


def encode_column(column: pa.ChunkedArray, feature: Field, view: str) -> list[bytes]:
    """Return the serialized ``Value`` of each cell; a null is the empty value.

    Raises
    ------
    BadInput
        If an array holds a null, or if the type is none of those that `value_types` allows.
    """
    make = _VALUES.get(feature.dtype.to_value_type())
    if make is None:
        raise BadInput(
            f"view {view}, feature {feature.name}: type {feature.dtype} cannot go online"
        )
    if pa.types.is_list(column.type):
        if pc.list_flatten(column).null_count:
            raise BadInput(
                f"view {view}, feature {feature.name}: an array holds a null, which the online "
                "store cannot keep; write a value in its place"
            )
        return [
            b"" if value is None else make(value).SerializeToString()
            for value in column.to_pylist()
        ]
    if pa.types.is_timestamp(column.type):
        column = to_seconds(column)
    coded = column.combine_chunks().dictionary_encode()
    distinct = [make(value).SerializeToString() for value in coded.dictionary.to_pylist()]
    return [b"" if code is None else distinct[code] for code in coded.indices.to_pylist()]


class KeyEncoder:
    """Serialized entity keys; a key that comes again, in another view, costs a look-up."""

    def __init__(self, version: int):
        self._version = version
        self._known: dict[tuple, bytes] = {}

    def encode(self, rows: pa.Table, join_keys: Iterable[Field]) -> list[bytes]:
        """Return the serialized entity key of each row."""
        types = tuple((field.name, field.dtype.to_value_type()) for field in join_keys)
        values = zip(*(rows.column(name).to_pylist() for name, _ in types), strict=True)
        return [self._encode(types, key) for key in values]

    def _encode(self, types: tuple[tuple[str, ValueType], ...], key: tuple) -> bytes:
        encoded = self._known.get((types, key))
        if encoded is None:
            proto = EntityKey(
                join_keys=[name for name, _ in types],
                entity_values=[_VALUES[t](value) for (_, t), value in zip(types, key, strict=True)],
            )
            encoded = self._known[types, key] = serialize_entity_key(proto, self._version)
        return encoded
