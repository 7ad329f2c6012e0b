"""Requests for the benchmark of serving, and the check that both servers read the same values.

``python -m benchmarks.serving_requests write HOME FOLDER`` writes a line a user into
``predict.ndjson`` and ``lookup.ndjson``: the bodies that ask ``/predict``, and those that ask
Feast's server for the features that such a prediction reads.
``python -m benchmarks.serving_requests compare FOLDER OURS THEIRS`` holds what both answer equal.
"""

import argparse
import json
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

COMPARED_USERS = 50


def write(home: Path, folder: Path) -> dict[str, int]:
    """Write the bodies for every user of the log."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from feature_repo.home import label_path
    from trainer.features import published_features, sequence_features
    from trainer.runs import load_served_run

    users = pc.unique(pq.read_table(label_path(home, "events"), columns=["user_id"])["user_id"])
    features = (
        *load_served_run(home).features,
        *sequence_features(published_features(home)),
    )
    references = [feature.reference for feature in features]
    predict = [{"user_id": user} for user in users.to_pylist()]
    lookup = [{"features": references, "entities": {"user_id": [u["user_id"]]}} for u in predict]
    for name, bodies in (("predict", predict), ("lookup", lookup)):
        lines = "".join(json.dumps(body) + "\n" for body in bodies)
        (folder / f"{name}.ndjson").write_text(lines)
    return {"users": len(users), "features": len(references)}


def compare(folder: Path, ours: str, theirs: str) -> dict[str, int]:
    """Ask both servers for users, and count the values that differ."""
    compared = different = 0
    bodies = (folder / "lookup.ndjson").read_text().splitlines()[:COMPARED_USERS]
    for body in bodies:
        (user,) = json.loads(body)["entities"]["user_id"]
        found = _ask(f"{ours}/users/{user}")
        mine = found["session"] | {
            name: value for group in found["features"].values() for name, value in group.items()
        }
        answer = _ask(f"{theirs}/get-online-features", body.encode())
        names = answer["metadata"]["feature_names"]
        for name, column in zip(names, answer["results"], strict=True):
            if name in mine:
                compared += 1
                different += _plain(column["values"][0]) != _plain(mine[name])
    return {"compared": compared, "different": different}


def _ask(url: str, body: bytes | None = None) -> Any:
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return json.load(answer)


def _plain(value: Any) -> Any:
    """A value as both write it: instants as seconds, and integers that one of them makes floats."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.removesuffix(" UTC"))
        except ValueError:
            return value
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value


def main() -> None:
    """Run the command that the command line names, and print its result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("home", type=Path)
    writing.add_argument("folder", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("folder", type=Path)
    comparing.add_argument("ours")
    comparing.add_argument("theirs")
    arguments = parser.parse_args()
    if arguments.command == "write":
        print(json.dumps(write(arguments.home, arguments.folder)))
    else:
        print(json.dumps(compare(arguments.folder, arguments.ours, arguments.theirs)))


if __name__ == "__main__":
    main()
