"""What scores every value of a row: one part backed off to popularity, or a gated mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.models.base import read_json, write_json
from trainer.ranking.gate import Gate, gate_inputs
from trainer.ranking.neural import TiedEmbeddings
from trainer.ranking.rows import RankingRows
from trainer.ranking.scoring import NEURAL, PARTS, Counted, Parts, blocks

MIXTURES = "rankings.json"
Scores = Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]


class Ranker(Protocol):
    """Scores values for rows."""

    def scores(self, rows: RankingRows) -> Scores:
        """Some rows at a time: their indices, and the score of each value; # [block, values]."""

    def parts_of_targets(self, rows: RankingRows) -> dict[str, NDArray[np.float64]]:
        """What each part gives of the score of each row's target; # [rows] each."""

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain values."""


class Mixing:
    """A ranker whose score is a probability, mixed from the counted parts."""

    def weights(self, counted: Counted) -> NDArray[np.float64]:
        """Weight of each part; # [rows, parts]."""
        raise NotImplementedError

    def scores(self, rows: RankingRows) -> Scores:
        """Probability of every value of the catalogue at each row's instant."""
        parts = Parts(rows.log)
        for chosen in blocks(rows):
            counted = parts.count(rows.take(chosen))
            yield chosen, parts.mix(counted, self.weights(counted))

    def parts_of_targets(self, rows: RankingRows) -> dict[str, NDArray[np.float64]]:
        """Weight times probability of each part."""
        parts = Parts(rows.log)
        counted = parts.count(rows)
        given = self.weights(counted) * parts.of_targets(counted)
        return dict(zip(PARTS, given.T, strict=True))


@dataclass(frozen=True)
class BackedOff(Mixing):
    """One part with its counts, and recent popularity that counts as `strength` events.

    Attributes
    ----------
    part
        Of :data:`trainer.ranking.scoring.PARTS`; ``None`` is popularity alone.
    popular
        The part that stands behind it.
    strength
        Events that it counts as.
    """

    part: str | None
    popular: str
    strength: float

    REST = 1e-3  # of all values, so that the least known still come before nothing

    def weights(self, counted: Counted) -> NDArray[np.float64]:
        """Shares of the part, of popularity and of all values."""
        names = list(PARTS)
        weights = np.zeros(counted.totals.shape)
        behind, rest = names.index(self.popular), names.index("uniform")
        share: NDArray[np.float64] | float = 0.0
        if self.part is not None:
            place = names.index(self.part)
            share = counted.totals[:, place] / (counted.totals[:, place] + self.strength)
            weights[:, place] = share * (1.0 - self.REST)
        weights[:, behind] = (1.0 - share) * (1.0 - self.REST)
        weights[:, rest] = self.REST
        return weights

    def to_json(self) -> dict[str, Any]:
        """The choices."""
        return {"part": self.part, "popular": self.popular, "strength": self.strength}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> BackedOff:
        """The ranker that :meth:`to_json` described."""
        return cls(**content)


@dataclass(frozen=True)
class Mixture(Mixing):
    """All parts, weighed by a gate; beside them, where there is one, a softmax of embeddings.

    Attributes
    ----------
    gate
        Weighs the parts.
    neural
        Tied embeddings, or ``None``.
    share
        What they have of a score, where the user has done something that they know.
    """

    gate: Gate
    neural: TiedEmbeddings | None = None
    share: float = 0.0

    def weights(self, counted: Counted) -> NDArray[np.float64]:
        """What the gate says."""
        return self.gate.weights(gate_inputs(counted), counted.totals)

    def scores(self, rows: RankingRows) -> Scores:
        """Probability of every value of the catalogue at each row's instant."""
        for chosen, scores in super().scores(rows):
            if self.neural is not None:
                chances = self.neural.probabilities(rows.take(chosen))
                share = self.share * (chances.sum(axis=1) > 0)
                scores *= (1.0 - share)[:, None]
                scores[:, : chances.shape[1]] += share[:, None] * chances
            yield chosen, scores

    def parts_of_targets(self, rows: RankingRows) -> dict[str, NDArray[np.float64]]:
        """Weight times probability of each part, the embeddings among them."""
        parts = super().parts_of_targets(rows)
        if self.neural is None:
            return parts
        own, known = target_chances(self.neural, rows)
        share = self.share * known
        return {
            **{name: (1.0 - share) * value for name, value in parts.items()},
            NEURAL: share * own,
        }

    def to_json(self) -> dict[str, Any]:
        """The gate, and the embeddings."""
        neural = None if self.neural is None else self.neural.to_json()
        gate = self.gate.to_json()
        return {"parts": list(PARTS), "gate": gate, "neural": neural, "share": self.share}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Mixture:
        """The ranker that :meth:`to_json` described."""
        neural = content["neural"]
        return cls(
            Gate.from_json(content["gate"]),
            None if neural is None else TiedEmbeddings.from_json(neural),
            content["share"],
        )


def target_chances(
    neural: TiedEmbeddings, rows: RankingRows
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probability of each row's target, and whether the embeddings say anything; # [rows] each."""
    own, known = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    for chosen in blocks(rows):
        block = rows.take(chosen)
        chances = neural.probabilities(block)
        there = (block.targets >= 0) & (block.targets < chances.shape[1])
        place = np.where(there, block.targets, 0)
        found = chances[np.arange(len(block)), place]
        own[chosen] = np.where(there, found, 0.0)
        known[chosen] = chances.sum(axis=1) > 0
    return own, known


def save_mixtures(rankers: Mapping[str, Ranker], folder: Path) -> None:
    """Write the heads of a sequence model, by target, as text."""
    write_json(folder / MIXTURES, {target: each.to_json() for target, each in rankers.items()})


def load_mixtures(folder: Path) -> dict[str, Ranker]:
    """Read what :func:`save_mixtures` wrote; nothing in a run of before."""
    if not (folder / MIXTURES).is_file():
        return {}
    content = read_json(folder / MIXTURES)
    return {target: Mixture.from_json(each) for target, each in content.items()}
