"""Which DuckDB types a feature may have, and what Feast calls them.

These are the types that survive both ways, offline and online. DECIMAL, DATE and HUGEINT do not.
"""

import re
from typing import TYPE_CHECKING

from feature_repo.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa
    from feast.types import FeastType

FEAST_NAMES = {
    "BIGINT": "Int64",
    "DOUBLE": "Float64",
    "BOOLEAN": "Bool",
    "VARCHAR": "String",
    "TIMESTAMP": "UnixTimestamp",
}


def feast_type(data_type: str, view: str, column: str) -> "FeastType":
    """Return Feast's type for a DuckDB type such as ``BIGINT`` or ``DOUBLE[]``.

    Raises
    ------
    BadInput
        If Feast cannot carry the type; the message names `view` and `column`.
    """
    from feast import types

    element = data_type.removesuffix("[]")
    is_array = element != data_type
    # No feature is an array of booleans or instants, so nothing here has been tried with them.
    if element not in FEAST_NAMES or (is_array and element in ("BOOLEAN", "TIMESTAMP")):
        arrays = "BIGINT[], DOUBLE[] and VARCHAR[]"
        raise BadInput(
            f"view {view}, column {column}: type {data_type} does not survive in the feature "
            f"store; cast it to one of {', '.join(FEAST_NAMES)}, {arrays}"
        )
    scalar = getattr(types, FEAST_NAMES[element])
    return types.Array(scalar) if is_array else scalar


# Types of a file that no Feast type holds without changing the value.
_UNCARRIED = {
    *("DATE", "TIME", "TIME_NS", "TIME WITH TIME ZONE", "INTERVAL"),
    *("DECIMAL", "HUGEINT", "UHUGEINT", "BIGNUM", "BIT", "UNION"),
}


def refuse_uncarried(data_type: str, view: str, column: str) -> None:
    """Raise `BadInput` if a column of a file has a type that Feast cannot carry."""
    element = re.sub(r"(\[\d*\])+$", "", data_type).partition("(")[0]
    if element in _UNCARRIED:
        raise BadInput(
            f"view {view}, column {column}: type {data_type} does not survive in the feature "
            "store; cast it to BIGINT, DOUBLE, VARCHAR or TIMESTAMP"
        )


def spelled(data_type: "pa.DataType") -> str:
    """Return an Arrow type as Feast's own table of types spells it."""
    import pyarrow as pa

    if pa.types.is_dictionary(data_type):
        return spelled(data_type.value_type)
    if pa.types.is_list(data_type) or pa.types.is_fixed_size_list(data_type):
        return f"list<item: {spelled(data_type.value_type)}>"
    return str(data_type)
