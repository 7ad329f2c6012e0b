"""What descriptions say of items that training never saw.

``python -m benchmarks.modalities`` prints one table and writes it as JSON. It needs the extra
``text``.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.drift import RETAIL
from benchmarks.homes import build_features
from benchmarks.measurement import ROOT, Aim, Result, add_common_arguments, working_folder
from trainer.config import load_config
from trainer.ranking import neural
from trainer.ranking.content import ItemContent
from trainer.ranking.neural import PRIOR, TiedEmbeddings
from trainer.ranking.rows import RankingRows
from trainer.ranking.scoring import blocks

TEXT = "description"


@dataclass(frozen=True)
class Alone:
    """Embeddings as a ranker of their own: what they cannot score comes last, all of it tied."""

    embeddings: TiedEmbeddings

    def scores(self, rows: RankingRows) -> Iterator[tuple[NDArray, NDArray]]:
        """Probability of every value."""
        for chosen in blocks(rows):
            found = self.embeddings.probabilities(rows.take(chosen))
            every = np.zeros((len(chosen), rows.log.values))
            every[:, : found.shape[1]] = found
            yield chosen, every

    def parts_of_targets(self, rows: RankingRows) -> dict[str, NDArray]:
        """Nobody asks."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Nobody writes it."""
        raise NotImplementedError


def measure(arguments: argparse.Namespace) -> Result:
    """Rank the test part's next items by counts, by learned embeddings, and by descriptions."""
    from trainer.fitting import read_training_set
    from trainer.ranking.evaluation import evaluate_ranking, ranked_parts
    from trainer.ranking.fitting import fit_mixture
    from trainer.training import reproducible

    result = Result(
        "modalities",
        "Online Retail, the next item: what its description adds (all-MiniLM-L6-v2)",
        {"seed": arguments.seed},
        trial=False,
    )
    with working_folder(arguments.work) as work:
        home = arguments.home or work / "home"
        os.environ["SCALESPACE_HOME"] = str(home)
        if arguments.home is None:
            dataset = yaml.safe_load((ROOT / RETAIL).read_text()) | {"item_text": TEXT}
            (work / "retail.yml").write_text(yaml.safe_dump(dataset))
            build_features(str(work / "retail.yml"), home)
        keys = ["model=item_mixture", f"seed={arguments.seed}"]
        config = load_config(None, keys)
        data = read_training_set(home, config, ("item_mixture",), print)
        (training,) = (each for each in data.training.rankings if each.target == "item")
        (part,) = (p for p in ranked_parts(data.dataset, "test") if p.ranking.target == "item")
        content = part.rows.log.content
        assert content is not None
        result.parameters |= {
            "items": part.rows.log.values,
            "of them seen in training": part.ranking.trained,
            "with a description": int((~np.isnat(content.since)).sum()),
        }
        cold: dict[str, float] = {}
        order = np.random.default_rng(arguments.seed).permutation(len(content.since))
        others = ItemContent(content.vectors[order], content.since[order])
        for name, more, known in (
            ("counts", ["ranking.content=false"], content),
            ("learned embeddings", ["ranking.content=false", "ranking.neural=true"], content),
            ("embeddings and descriptions", [], content),
            ("embeddings and other items' descriptions", [], others),
        ):
            log = replace(part.rows.log, content=known)
            asked = replace(part, rows=replace(part.rows, log=log))
            learned = replace(training, rows=replace(training.rows, log=log))
            with reproducible(arguments.seed, 1):
                mixture = fit_mixture(learned, load_config(None, [*keys, *more]))
            rankers: dict[str, Any] = {f"mixture of counts, {name}" if more[1:] or not more else
                                       "mixture of counts": mixture}  # fmt: skip
            if mixture.neural is not None:
                rankers = {f"{name} alone": Alone(mixture.neural), **rankers}
            if mixture.neural is not None and mixture.neural.projection is not None:
                rankers = {f"{name} alone, no new item counted": Alone(mixture.neural), **rankers}
            for title, ranker in rankers.items():
                # As if its content had been seen of so many events that an item's own add nothing.
                neural.PRIOR = 1e15 if "no new item" in title else PRIOR
                found = evaluate_ranking([SimpleNamespace(rankers={"item": ranker})], asked)
                every, unseen = found["next_item"], found["next_item.unseen"]
                among = among_new(ranker, asked.rows, asked.ranking.trained)
                cold[title] = float(unseen["hr_20"] or 0)
                result.add(
                    form=title,
                    share=mixture.share if ranker is mixture else 1.0,
                    **{"HR@20": every["hr_20"], "MRR@20": every["mrr_20"]},
                    **{"HR@20, cold items": unseen["hr_20"]},
                    low=unseen["hr_20_low"],
                    high=unseen["hr_20_high"],
                    **among,
                )
    first = {row["form"]: row["among the new, first time"] for row in result.rows}
    result.aims = [
        Aim("cold items that learned embeddings reach, HR@20", cold["learned embeddings alone"], 0),
        Aim(
            "cold items that descriptions reach, HR@20",
            cold["embeddings and descriptions alone"],
            0.05,
            at_most=False,
        ),
        Aim(
            "which of the new, by words alone: own descriptions over others', HR@20",
            first["embeddings and descriptions alone, no new item counted"]
            / first["embeddings and other items' descriptions alone, no new item counted"],
            1.3,
            at_most=False,
        ),
    ]
    return result


def among_new(ranker: Any, rows: RankingRows, trained: int) -> dict[str, float]:
    """HR@20 of cold items that the user had not had, among the new items alone.

    How often new things are bought, and what somebody buys again, is then no help: what is left is
    which of the new ones it is. ``first days`` are items of at most ten events until then.
    """
    log = rows.log
    repeated = np.diff(log.repeats)[rows.ends] > 0
    cold = (rows.targets >= trained) & (rows.targets < rows.known) & ~repeated
    asked = rows.take(cold)
    credit = np.zeros(len(asked))
    for chosen, scores in ranker.scores(asked):
        block = asked.take(chosen)
        number = np.arange(scores.shape[1])
        new = (number >= trained) & (number < block.known[:, None])
        left = np.where(new, scores, -np.inf)
        own = left[np.arange(len(block)), block.targets][:, None]
        higher, tied = (left > own).sum(axis=1), (left == own).sum(axis=1)
        credit[chosen] = np.clip((20 - higher) / tied, 0.0, 1.0)
    few = log.popularity.of("all", asked.instants, asked.targets) <= 10
    chance = np.minimum(20 / (asked.known - trained), 1.0)
    return {
        "among the new, first time": float(credit.mean()),
        "of": len(asked),
        "first days": float(credit[few].mean()),
        "of them": int(few.sum()),
        "by chance": float(chance.mean()),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a home that is built with item_text already")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    measure(arguments).finish(arguments.results)


if __name__ == "__main__":
    main()
