"""Recommendations: the highest items of a ranking, with what each scale gave of the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from feature_repo.home import features_dir, labels_dir
from trainer.columns import Columns as C
from trainer.features import features_now, named
from trainer.instants import parse_instant, show_instant
from trainer.prediction import Predictor
from trainer.ranking.arrays import Codes
from trainer.ranking.log import ITEM, UNKNOWN, TargetLog, read_target_logs
from trainer.ranking.rankers import Ranker
from trainer.ranking.rows import RankingRows
from trainer.ranking.scoring import LONG, NOW, WEEK, scale_of

SCALES = (NOW, WEEK, LONG)
_SECOND = np.timedelta64(1_000_000, "us")


@dataclass(frozen=True)
class Recommendation:
    """One item.

    Attributes
    ----------
    item_id
        What.
    score
        Probability that it comes next.
    seen
        Whether the user did something with it before.
    reasons
        What each scale gave of the score: ``just_now``, ``this_week``, ``long_taste``; their sum.
    parts
        The same by what was counted; the parts that gave nothing are left out.
    """

    item_id: str
    score: float
    seen: bool
    reasons: dict[str, float]
    parts: dict[str, float]


@dataclass(frozen=True)
class Recommendations:
    """The answer for one user.

    Attributes
    ----------
    user_id
        The user asked about.
    at
        The instant of the answer.
    cold
        True where no event of the user on any item is known: popularity alone answers then.
    items
        The highest first; fewer than asked where the catalogue has no more.
    """

    user_id: str
    at: str
    cold: bool
    items: list[Recommendation]


class Recommender:
    """A fitted run beside the published log that it counts.

    Parameters
    ----------
    predictor
        The run and its stores.

    Raises
    ------
    BadInput
        When the run does not say which item comes next, or the log has no items.

    Notes
    -----
    Popularity, what followed what, and the catalogue are those of the last build. A user's own
    events are also those that came by stream since then, if the online store has them.
    """

    def __init__(self, predictor: Predictor) -> None:
        rankers: Mapping[str, Ranker] = getattr(predictor.run.model, "rankers", {})
        if ITEM not in rankers:
            raise BadInput(
                f"run {predictor.run.name} does not say which item comes next; run trainer fit on "
                "a dataset that maps item_id, or name another --run"
            )
        self.folder = labels_dir(predictor.home).resolve()
        logs = read_target_logs(self.folder, features_dir(predictor.home))
        if ITEM not in logs:
            raise BadInput(f"{self.folder}: no event has an item; run trainer fit again")
        self.predictor = predictor
        self.log: TargetLog = logs[ITEM]
        self._ranker = rankers[ITEM]

    def now(self, user: str, k: int, seen: bool = True) -> Recommendations:
        """Recommend at the instant for which the online store is loaded; see :meth:`at`."""
        from feature_repo.sync import online_now

        instant = parse_instant(online_now(self.predictor.home), "the online store's now")
        codes, instants = self._newer(user, instant)
        return self._answer(user, instant, k, seen, codes, instants)

    def at(self, user: str, instant: np.datetime64, k: int, seen: bool = True) -> Recommendations:
        """Recommend with what was known at an instant.

        Parameters
        ----------
        user
            Anybody; who is not known gets what is popular.
        instant
            When.
        k
            How many items.
        seen
            Whether items that the user did something with may come again.
        """
        none = np.zeros(0, dtype=np.int64)
        return self._answer(user, instant, k, seen, none, none.astype("datetime64[us]"))

    def _answer(
        self,
        user: str,
        instant: np.datetime64,
        k: int,
        seen: bool,
        newer: Codes,
        newer_instants: NDArray[np.datetime64],
    ) -> Recommendations:
        owner, own = self._history(user, instant, newer, newer_instants)
        row = RankingRows(
            log=self.log,
            owners=np.array([owner]),
            ends=np.array([len(own)]),
            instants=np.array([instant]),
            targets=np.array([UNKNOWN]),
            own=own,
        )
        return Recommendations(
            user_id=user,
            at=show_instant(instant),
            cold=not (own.codes >= 0).any(),
            items=recommended(self._ranker, row, k, seen),
        )

    def _history(
        self,
        user: str,
        instant: np.datetime64,
        newer: Codes,
        newer_instants: NDArray[np.datetime64],
    ) -> tuple[int, TargetLog]:
        """The user's number in the log, and his own events until the instant."""
        log = self.log
        owner = int(np.searchsorted(log.users, user)) if len(log.users) else 0
        if owner < len(log.users) and log.users[owner] == user:
            events = slice(*log.offsets[owner : owner + 2])
            count = int(np.searchsorted(log.instants[events], instant, side="right"))
            events = slice(events.start, events.start + count)
        else:
            owner, events = len(log.users), slice(0, 0)
        codes, instants = log.codes[events], log.instants[events]
        if len(instants):
            later = newer_instants >= instants[-1].astype("datetime64[s]") + _SECOND
            newer, newer_instants = newer[later], newer_instants[later]
        codes = np.concatenate([codes, newer])
        own = TargetLog(
            users=np.array([user], dtype=object),
            offsets=np.array([0, len(codes)]),
            instants=np.concatenate([instants, newer_instants]),
            codes=codes,
            names=log.names,
            first_seen=log.first_seen,
        )
        return owner, own

    def _newer(self, user: str, now: np.datetime64) -> tuple[Codes, NDArray[np.datetime64]]:
        """The user's last events as the online store has them, in whole seconds at the end."""
        names = (C.SEQUENCE_ITEMS, C.SEQUENCE_GAPS, C.LAST_ACTION_AT)
        wanted = [each for name in names for each in named(self.predictor.published, name)]
        values = features_now(self.predictor.store, [user], wanted)
        row: dict[str, Any] = {name: values[name][0].as_py() for name in names}
        items, last = row[C.SEQUENCE_ITEMS] or [], row[C.LAST_ACTION_AT]
        if not items or last is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype="datetime64[us]")
        gaps = np.array(row[C.SEQUENCE_GAPS][1:], dtype=np.int64)
        back = np.concatenate([np.cumsum(gaps[::-1])[::-1], [0]]).astype(np.int64)
        ended = np.array([last.replace(tzinfo=None)], dtype="datetime64[us]")
        instants = ended - back.astype("timedelta64[ms]")
        codes = self._codes(items)
        until = instants <= now
        return codes[until], instants[until].astype("datetime64[us]")

    @cached_property
    def _by_name(self) -> tuple[NDArray, Codes]:
        order = np.argsort(self.log.names, kind="stable")
        return self.log.names[order], order

    def _codes(self, items: list[str]) -> Codes:
        """Numbers of items by name; -1 for one that the last build did not know."""
        names, order = self._by_name
        place = np.minimum(np.searchsorted(names, np.array(items, dtype=object)), len(names) - 1)
        return np.where(names[place] == np.array(items, dtype=object), order[place], UNKNOWN)


def recommended(
    ranker: Ranker, row: RankingRows, k: int, seen: bool = True
) -> list[Recommendation]:
    """The highest values of one row, with what each scale gave.

    Parameters
    ----------
    ranker
        Scores them.
    row
        One row.
    k
        How many values.
    seen
        Whether those that the user did something with may come again.
    """
    ((_, table),) = ranker.scores(row)
    scores = table[0, : int(row.known[0])]
    own = row.history.codes[int(row.first[0]) : int(row.ends[0])]
    known = np.unique(own[own >= 0])
    if not seen:
        scores[known[known < len(scores)]] = -np.inf
    best = _highest(scores, k)
    found = ranker.parts_of_targets(_repeated(row, best))
    answer = []
    for place, code in enumerate(best.tolist()):
        parts = {name: float(v[place]) for name, v in found.items() if v[place] > 0}
        answer.append(
            Recommendation(
                item_id=str(row.log.names[code]),
                score=float(sum(parts.values())),
                seen=bool(np.isin(code, known)),
                reasons=by_scale(parts),
                parts=parts,
            )
        )
    return answer


def by_scale(parts: Mapping[str, float]) -> dict[str, float]:
    """Sum parts by the scale that a person would name."""
    answer = dict.fromkeys(SCALES, 0.0)
    for name, value in parts.items():
        answer[scale_of(name)] += value
    return answer


def _highest(scores: NDArray[np.float64], k: int) -> Codes:
    """The highest scores first, of equals the value that was seen first; never a filtered one."""
    if len(scores) > k:
        border = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= border)
    else:
        chosen = np.arange(len(scores))
    chosen = chosen[scores[chosen] > 0]
    return chosen[np.lexsort((chosen, -scores[chosen]))][:k]


def _repeated(row: RankingRows, targets: Codes) -> RankingRows:
    """One row with each of some targets."""
    rows = row.take(np.zeros(len(targets), dtype=np.int64))
    return RankingRows(row.log, rows.owners, rows.ends, rows.instants, targets, row.own)


def read_recommender(home: Path, run: str | None = None) -> Recommender:
    """The recommender of a run; the newest without a name."""
    from trainer.runs import load_served_run

    return Recommender(Predictor(home, load_served_run(home, run)))
