"""Write what a peer's model reads: the training part, and the rows that everybody is judged on.

``python -m benchmarks.peers_rows HOME FOLDER`` takes the last run of a home, writes
``train.parquet`` (user, item, at) and ``test.parquet`` (row, items until the instant, target), and
prints the run's own figures on those rows as JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.fitting import read_dataset
from trainer.ranking.evaluation import TRAINED, ranked_parts
from trainer.runs import load_run

LAST_ITEMS = 50  # of a history, which is what the peer reads of it
METRICS = ("hr_10", "mrr_20", "mrr_20_low", "mrr_20_high")


def write_rows(home: Path, folder: Path) -> dict[str, Any]:
    """Write both tables, and return the figures of the run and the sizes.

    Parameters
    ----------
    home : Path
        With a run that ranks items.
    folder : Path
        Where the tables go.
    """
    run = load_run(home)
    dataset = read_dataset(home, run, rankings=True)
    (part,) = (part for part in ranked_parts(dataset, "test") if part.ranking.target == "item")
    log, rows = part.rows.log, part.rows
    names = pa.array(log.names.tolist(), pa.string())
    training = part.ranking.train
    # An event is trained on where it is an instant's next one, or came before such an instant.
    last = np.full(len(log.users), -1)
    np.maximum.at(last, training.owners, training.ends)
    owners = np.repeat(np.arange(len(log.users)), np.diff(log.offsets))
    trained = (log.codes >= 0) & (log.codes < part.ranking.trained)
    chosen = np.flatnonzero(trained & (np.arange(len(log.codes)) <= last[owners]))
    pq.write_table(
        pa.table(
            {
                "user": pa.array(log.users[owners[chosen]].tolist(), pa.string()),
                "item": names.take(pa.array(log.codes[chosen])),
                "at": pa.array(log.instants[chosen], pa.timestamp("us")),
            }
        ),
        folder / "train.parquet",
    )
    histories = []
    for first, end in zip(rows.first.tolist(), rows.ends.tolist(), strict=True):
        codes = log.codes[first:end]
        codes = codes[codes >= 0][-LAST_ITEMS:]
        histories.append(log.names[codes].tolist())
    targets = [None if code < 0 else str(log.names[code]) for code in rows.targets.tolist()]
    pq.write_table(
        pa.table(
            {
                "row": pa.array(range(len(rows)), pa.int64()),
                "items": pa.array(histories, pa.list_(pa.string())),
                "target": pa.array(targets, pa.string()),
            }
        ),
        folder / "test.parquet",
    )
    found = json.loads((run.folder / "metrics.json").read_text())[run.model.name]
    ours = found[f"next_item.{TRAINED}"]
    return {
        "rows": len(rows),
        "trained on": len(chosen),
        "items": part.ranking.trained,
        **{name: ours[name] for name in METRICS},
    }


def main() -> None:
    """Write the tables of one home."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(write_rows(arguments.home, arguments.folder)))


if __name__ == "__main__":
    main()
