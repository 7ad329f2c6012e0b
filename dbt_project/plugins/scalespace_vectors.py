"""Looking at a table of items' vectors before a build leans on it."""

from pathlib import Path

import duckdb

COLUMNS = ("item", "vector")


def problem_with_vectors(path: str) -> str:
    """Say in one line why a Parquet file cannot be a table of vectors; empty where it can.

    Parameters
    ----------
    path : str
        With the columns ``item`` (text or a number) and ``vector`` (a list of numbers).

    Notes
    -----
    A null vector is an item of which nothing is known, like one that is not there.
    """
    if not Path(path).is_file():
        return f"{path}: no such file: set item_vectors in the dataset file, or put the table there"
    with duckdb.connect() as connection:
        try:
            types = {
                row[0]: row[1]
                for row in connection.execute(
                    "describe select * from read_parquet(?)", [path]
                ).fetchall()
            }
        except duckdb.Error as error:
            return f"{path}: it is no Parquet file ({str(error).splitlines()[0]}): write it again"
        for column in COLUMNS:
            if column not in types:
                return (
                    f"{path}: no column '{column}': a table of vectors has item and vector; "
                    f"it has {', '.join(types)}"
                )
        if "[" not in types["vector"] or types["vector"].startswith("VARCHAR"):
            return f"{path}: the column vector is {types['vector']}: write lists of numbers"
        rows = (
            "(select row_number() over () as place, cast(item as varchar) as item,"
            " cast(vector as double[]) as vector from read_parquet(?))"
        )
        for what, query in (
            (
                "the items of rows {} and {} are both {}: keep one",
                f"select min(place), max(place), item from {rows} where item is not null"
                " group by item having count(*) > 1 order by 1 limit 1",
            ),
            (
                "row {}: the vector of item {} has {} numbers, where the first has {}",
                "select place, item, len(vector), width from (select *, first_value(len(vector))"
                f" over (order by place) as width from {rows} where vector is not null)"
                " where len(vector) <> width order by place limit 1",
            ),
            (
                "row {}: the vector of item {} has an element that is no finite number;"
                " leave the row out, or its vector null, where nothing is known",
                f"select place, item from {rows} where len(list_filter(vector,"
                " lambda value: value is null or isnan(value) or isinf(value))) > 0"
                " order by place limit 1",
            ),
        ):
            if found := connection.execute(query, [path]).fetchone():
                return f"{path}: " + what.format(*found)
    return ""
