"""The model that answers: loaded once, and replaced while requests run."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from feature_repo.errors import BadInput
from trainer.prediction import Predictor
from trainer.runs import find_run, load_served_run
from trainer.serving.logs import EVENTS, FIELDS
from trainer.serving.metrics import Metrics


class CurrentModel:
    """A predictor that can be replaced in one step.

    A request takes :attr:`predictor` once and keeps it to its end, so that none is dropped and none
    sees two models.

    Parameters
    ----------
    home
        Home of the runs.
    run
        The run to serve whatever is fitted later; ``None`` follows ``models/latest``.
    metrics
        Told of every change.
    follow
        Takes each predictor that answers from then on.

    Raises
    ------
    BadInput
        When there is nothing to serve.
    """

    def __init__(
        self,
        home: Path,
        run: str | None,
        metrics: Metrics,
        follow: Callable[[Predictor], None] = lambda _predictor: None,
    ) -> None:
        self.home = home
        self._run = run
        self._metrics = metrics
        self._follow = follow
        self._loading = threading.Lock()
        self._refused: Path | None = None
        self.predictor = Predictor(home, load_served_run(home, run))
        # The first request pays for what a store opens late, so ask before anyone does.
        with contextlib.suppress(BadInput):  # an empty store may be loaded later
            self.predictor.now([""])
        self.announce()

    def reload(self, force: bool = False) -> bool:
        """Load the run that should be served, unless it is; keep the old one where that fails.

        Parameters
        ----------
        force
            Load it although it is served already, or has failed: the store may have changed.

        Returns
        -------
        replaced
            Whether another predictor answers now.
        """
        with self._loading:
            try:
                folder = find_run(self.home, self._run)
                if not force and folder in (self.predictor.run.folder, self._refused):
                    return False
                fresh = Predictor(self.home, load_served_run(self.home, folder.name))
                fresh.now([""])
            except Exception as error:
                self._metrics.reloads.labels("failed").inc()
                self._refused = self._wanted()
                EVENTS.error(
                    "the model was not replaced",
                    exc_info=not isinstance(error, BadInput),
                    extra={FIELDS: {"reason": str(error), "run": self.predictor.run.name}},
                )
                return False
            self.predictor = fresh
            self._refused = None
        self._metrics.reloads.labels("replaced").inc()
        self.announce()
        return True

    async def watch(self, every_s: float) -> None:
        """Follow ``models/latest`` until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.reload)

    def _wanted(self) -> Path | None:
        try:
            return find_run(self.home, self._run)
        except (BadInput, OSError):
            return None

    def announce(self) -> None:
        """Say, in the log and in the metrics, which run answers."""
        run = self.predictor.run
        self._metrics.serving(run.name, run.model.name)
        self._follow(self.predictor)
        EVENTS.info("serving", extra={FIELDS: {"run": run.name, "model": run.model.name}})
