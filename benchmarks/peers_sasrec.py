"""SASRec of RecTools on the tables of ``benchmarks.peers_rows``, in an environment of its own.

``python peers_sasrec.py FOLDER`` needs what ``peers-requirements.txt`` names, and nothing of this
project. It fits on ``train.parquet``, ranks the items for each row of ``test.parquet`` and prints
its figures as JSON: a target that is not among the first k is a miss, also where training has not
seen it.
"""

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

ROWS_AT_A_TIME = 4_000
LONGEST = 20


def main() -> None:
    """Fit, rank, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    import torch

    torch.manual_seed(arguments.seed)
    train = pd.read_parquet(arguments.folder / "train.parquet")
    test = pd.read_parquet(arguments.folder / "test.parquet")
    begun = time.process_time()
    model = SASRecModel(
        n_factors=arguments.factors,
        n_blocks=2,
        n_heads=2,
        session_max_len=50,
        epochs=arguments.epochs,
        deterministic=True,
    )
    model.fit(_dataset(train["user"], train["item"], train["at"]))
    fitted = time.process_time() - begun
    ranks = np.concatenate(
        [
            _ranks(model, test.iloc[start : start + ROWS_AT_A_TIME])
            for start in range(0, len(test), ROWS_AT_A_TIME)
        ]
    )
    report = {
        "hr_10": float(np.mean(ranks <= 10)),
        "mrr_20": float(np.mean(np.where(ranks <= LONGEST, 1 / ranks, 0.0))),
        "rows": len(ranks),
        "fit CPU s": fitted,
    }
    print(json.dumps(report))


def _dataset(users: pd.Series, items: pd.Series, instants: pd.Series) -> Dataset:
    return Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: users.to_numpy(),
                Columns.Item: items.to_numpy(),
                Columns.Weight: 1.0,
                Columns.Datetime: instants.to_numpy(),
            }
        )
    )


def _ranks(model: SASRecModel, rows: pd.DataFrame) -> np.ndarray:
    """Place of each row's target among the recommended, from 1; infinite where it is not."""
    histories = rows[rows["items"].map(len) > 0].explode("items")
    # Each row is somebody of his own, whose history ends at the row's instant.
    order = pd.to_datetime(np.arange(len(histories)), unit="s")
    asked = _dataset(histories["row"], histories["items"], pd.Series(order))
    found = model.recommend(
        users=histories["row"].unique(),
        dataset=asked,
        k=LONGEST,
        filter_viewed=False,
        on_unsupported_targets="ignore",
    )
    hits = found.merge(
        rows[["row", "target"]],
        left_on=[Columns.User, Columns.Item],
        right_on=["row", "target"],
    )
    places = pd.Series(np.inf, index=rows["row"])
    places.loc[hits["row"]] = hits[Columns.Rank].to_numpy(dtype=float)
    return places.to_numpy()


if __name__ == "__main__":
    main()
