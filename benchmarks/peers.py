"""Next items beside a peer: SASRec of RecTools, on the same rows, catalogue and metric.

``python -m benchmarks.peers --python VENV/bin/python`` builds each log, fits this project's default
and the peer, prints one table and writes it as JSON. The peer has an environment of its own, made
of ``benchmarks/peers-requirements.txt``: its pins are not ours.
"""

import argparse
from pathlib import Path

from benchmarks.homes import build_features, trainer
from benchmarks.measurement import (
    ROOT,
    Result,
    add_common_arguments,
    run,
    run_module,
    working_folder,
)
from benchmarks.settings import PEER_EPOCHS

LOGS = ("online_retail", "purchase_cards", "code_changes", "moodle_courses")  # those with items
SCRIPT = ROOT / "benchmarks" / "peers_sasrec.py"


def measure(arguments: argparse.Namespace) -> Result:
    """Fit both on each log."""
    result = Result(
        "peers",
        "Next item among those of the training part, beside SASRec of RecTools",
        {"epochs of SASRec": arguments.epochs, "seed": arguments.seed},
        trial=(tuple(arguments.logs), arguments.epochs) != (LOGS, PEER_EPOCHS),
    )
    with working_folder(arguments.work) as work:
        for log in arguments.logs:
            home = work / log
            dataset = f"data/{log}.yml"
            build_features(dataset, home)
            trainer(dataset, home, "fit", f"seed={arguments.seed}")
            ours = run_module("peers_rows", home, home).report()
            peer = run(
                [
                    *(str(arguments.python), str(SCRIPT), str(home)),
                    *("--epochs", str(arguments.epochs), "--seed", str(arguments.seed)),
                ]
            ).report()
            if peer["rows"] != ours["rows"]:
                raise SystemExit(f"{log}: {peer['rows']} rows ranked of {ours['rows']}")
            interval = f"{ours['mrr_20_low']:.3f} to {ours['mrr_20_high']:.3f}"
            for model, found in (("ours", ours), ("SASRec", peer)):
                result.add(
                    log=log,
                    model=model,
                    **{"HR@10": found["hr_10"], "MRR@20": found["mrr_20"]},
                    **{"95 %": interval if model == "ours" else None},
                    **{"rows": ours["rows"], "items": ours["items"]},
                )
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of the peer's environment")
    parser.add_argument("--logs", nargs="+", choices=LOGS, default=LOGS)
    parser.add_argument("--epochs", type=int, default=PEER_EPOCHS)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    print(measure(arguments).finish(arguments.results))


if __name__ == "__main__":
    main()
