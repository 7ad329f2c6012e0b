"""Drift of what is served: the users last predicted for, beside those that the run learned from.

A request pays for putting its rows into a queue, and a few times a second only. They are counted
when Prometheus reads. What is kept is the bins of the last users, a row each.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.examples import Examples
from trainer.feature_rows import as_table
from trainer.features import Feature
from trainer.instants import Instants
from trainer.monitoring.bins import feature_columns
from trainer.monitoring.distances import compare
from trainer.monitoring.performance import Answers
from trainer.monitoring.reference import Reference, read_reference
from trainer.prediction import Prediction, Predictor
from trainer.serving.logs import EVENTS, FIELDS

MOST_USERS = 2000  # compared, the last ones
_EVERY_S = 0.05  # at most one request in so long is looked at
_WAITING = 400  # requests that wait to be counted
_OF_REQUEST = 8  # its first users


class ServedDrift(Collector):
    """Figures of the users last predicted for from the online store.

    The reference is of event instants, where a session is always open: so users whose session is
    closed are left out.

    Parameters
    ----------
    registry
        Where they are shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counting = threading.Lock()
        self._reference: Reference | None = None
        self._features: tuple[Feature, ...] = ()
        self._states: tuple[str, ...] = ()
        self._follows: Path | None = None
        self._due = 0.0
        self._waiting: deque[tuple[Examples, list[Prediction]]] = deque(maxlen=_WAITING)
        self._users: OrderedDict[str, NDArray[np.int16]] = OrderedDict()
        registry.register(self)

    def follow(self, predictor: Predictor) -> None:
        """Compare with what this run learned from, and forget the run before.

        A run that kept no reference has no figures.
        """
        run = predictor.run
        if run.folder == self._follows:
            return
        try:
            reference = read_reference(run.folder)
        except (BadInput, OSError, ValueError, KeyError, TypeError):
            reference = None
        with self._counting:
            self._follows, self._reference = run.folder, reference
            self._features, self._states = run.features, run.states
            self._waiting.clear()
            self._users.clear()

    def observe(self, predictor: Predictor, examples: Examples, said: list[Prediction]) -> None:
        """Take note of a request's first users, unless one was looked at just now."""
        now = time.monotonic()
        if now < self._due or predictor.run.folder != self._follows:
            return
        self._due = now + _EVERY_S
        first = slice(0, _OF_REQUEST)
        few = len(examples) <= _OF_REQUEST
        kept = examples if few else examples.take(np.arange(_OF_REQUEST))
        self._waiting.append((kept, said[first]))

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._counting:
            reference = self._reference
            if reference is None:
                return iter(())
            try:
                self._count(reference)
                return iter(self._figures(reference))
            except Exception:  # must not take the other figures with it
                self._reference = None
                run = None if self._follows is None else self._follows.name
                EVENTS.error(
                    "drift is no longer counted", exc_info=True, extra={FIELDS: {"run": run}}
                )
                return iter(())

    def _count(self, reference: Reference) -> None:
        """Place the rows that wait in the reference's bins."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        leave = len(self._states) - 1
        rows = [(e, s, (e.states >= 0) & (e.states < leave)) for e, s in taken]
        rows = [(e, s, there) for e, s, there in rows if there.any()]
        if not rows:
            return
        names = [feature.name for feature in self._features]
        features = pa.concat_tables(
            [as_table(e.features, names).filter(pa.array(there)) for e, _, there in rows]
        )
        instants: Instants = np.concatenate([e.instants[there] for e, _, there in rows])
        users = [user for e, _, there in rows for user in e.users[there]]
        said = [each for _, s, there in rows for each, kept in zip(s, there, strict=True) if kept]
        columns = feature_columns(self._features, features, instants)
        columns += self._answers(said).columns(self._states)
        by_name = {column.name: column for column in columns}
        places = np.zeros((len(users), len(reference.bins)), dtype=np.int16)
        for number, bins in enumerate(reference.bins):
            if bins.name in by_name:
                places[:, number] = bins.place(by_name[bins.name])
        for user, row in zip(users, places, strict=True):
            self._users.pop(user, None)
            self._users[user] = row
        while len(self._users) > MOST_USERS:
            self._users.popitem(last=False)

    def _answers(self, said: list[Prediction]) -> Answers:
        actions = np.array([[each.next_action[state] for state in self._states] for each in said])
        prefix = C.converted_within("")
        horizons = [name.removeprefix(prefix) for name in said[0].conversion]
        chances = {
            horizon: np.array([each.conversion[C.converted_within(horizon)] for each in said])
            for horizon in horizons
        }
        return Answers(actions, chances)

    def _figures(self, reference: Reference) -> list[GaugeMetricFamily]:
        users = GaugeMetricFamily(
            "scalespace_drift_users",
            "Users in a session, of those last predicted for, that are compared with training.",
            value=len(self._users),
        )
        if not self._users:
            return [users]
        places = np.stack(list(self._users.values()))
        farthest: dict[str, tuple[float, float]] = {}
        for number, bins in enumerate(reference.bins):
            before = reference.counts[number].sum(axis=0)
            if bins.group == "labels" or not before.sum():
                continue
            now = np.bincount(places[:, number], minlength=len(bins))
            psi, js = compare(now, before)
            known = farthest.get(bins.group, (0.0, 0.0))
            farthest[bins.group] = max(known[0], psi), max(known[1], js)
        answer = [users]
        for place, (name, about) in enumerate(
            (
                ("scalespace_drift_psi", "Population stability index of the farthest column."),
                ("scalespace_drift_jsd", "Its Jensen-Shannon divergence, in bits."),
            )
        ):
            family = GaugeMetricFamily(name, about, labels=("group",))
            for group, figures in farthest.items():
                family.add_metric((group,), figures[place])
            answer.append(family)
        return answer
