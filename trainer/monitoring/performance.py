"""What a model said of rows whose labels have arrived: log-loss and calibration, by user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.columns import Columns as C
from trainer.evaluation import TASK
from trainer.examples import Examples
from trainer.metrics import expected_calibration_error, row_log_loss
from trainer.models.base import ConversionModel, Predicting, answering
from trainer.monitoring.bins import LABELS, PREDICTIONS, Column

_LEAST = 1e-12


@dataclass(frozen=True)
class Answers:
    """What a model said of some rows.

    Attributes
    ----------
    next_action
        # [rows, states], or ``None`` where it does not say
    conversions
        # [rows] each, by horizon
    """

    next_action: NDArray[np.float64] | None
    conversions: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, model: Predicting, examples: Examples) -> Answers:
        """Ask a model."""
        said = answering(model)(examples)
        conversions = {}
        if isinstance(model, ConversionModel) and said.conversions is not None:
            conversions = dict(zip(model.horizons, said.conversions.T, strict=True))
        says = getattr(model, "predicts_next_action", True)
        return cls(said.next_action if says else None, conversions)

    @property
    def tasks(self) -> set[str]:
        """What it says something of."""
        said = set() if self.next_action is None else {TASK}
        return said | {C.converted_within(horizon) for horizon in self.conversions}

    def columns(self, states: Sequence[str]) -> list[Column]:
        """Each probability as something to watch."""
        found = []
        if self.next_action is not None:
            found += [
                Column(f"p({state})", PREDICTIONS, self.next_action[:, place].astype(np.float64))
                for place, state in enumerate(states)
            ]
        for horizon, chances in self.conversions.items():
            found.append(Column(f"p({C.converted_within(horizon)})", PREDICTIONS, chances))
        return found


def label_columns(
    examples: Examples, states: Sequence[str], horizons: Sequence[str]
) -> list[tuple[Column, NDArray[np.bool_]]]:
    """The labels, and which of the rows have them; a label that has not arrived is no value."""
    import pyarrow as pa

    names = pa.array([*states, None], pa.string())
    found = [
        (
            Column(C.NEXT_ACTION, LABELS, names.take(pa.array(examples.labels % len(names)))),
            examples.labels >= 0,
        )
    ]
    for place, horizon in enumerate(horizons):
        values = examples.conversions[:, place].astype(np.float64)
        found.append((Column(C.converted_within(horizon), LABELS, values), ~np.isnan(values)))
    return found


@dataclass(frozen=True)
class Performance:
    """How well one task was told, over some rows.

    Attributes
    ----------
    rows, users
        How many.
    log_loss, log_loss_error
        In nats, and its standard error with users as the draws.
    ece
        Expected calibration error; grows where rows are few.
    gaps, gap_errors
        By outcome, its mean probability less its share, and the standard error of that.
    """

    rows: int
    users: int
    log_loss: float
    log_loss_error: float
    ece: float
    gaps: dict[str, float]
    gap_errors: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The figures; an error that nobody knows is ``None``."""
        errors = {name: _finite(each) for name, each in self.gap_errors.items()}
        return {
            **vars(self),
            "log_loss_error": _finite(self.log_loss_error),
            "gap_errors": errors,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Performance:
        """The figures that :meth:`to_json` described."""

        def known(error: float | None) -> float:
            return float("inf") if error is None else error

        errors = {name: known(each) for name, each in content["gap_errors"].items()}
        loss_error = known(content["log_loss_error"])
        return cls(**{**content, "log_loss_error": loss_error, "gap_errors": errors})


def performances(
    answers: Answers, examples: Examples, states: Sequence[str], horizons: Sequence[str]
) -> dict[str, Performance]:
    """The figures of each task that has a label among the rows.

    Parameters
    ----------
    answers
        Of a model, for these rows.
    examples
        Rows at event instants.
    states, horizons
        Names of the outcomes, and of the columns of the conversions.
    """
    found = {}
    known = examples.labels >= 0
    if answers.next_action is not None and known.any():
        chances, labels = answers.next_action[known], examples.labels[known]
        gaps = chances - np.eye(len(states))[labels]
        found[TASK] = _performance(
            row_log_loss(chances, labels),
            dict(zip(states, gaps.T, strict=True)),
            expected_calibration_error(chances, labels),
            examples.owners[known],
        )
    for horizon, every in answers.conversions.items():
        truths = examples.conversions[:, list(horizons).index(horizon)]
        known = ~np.isnan(truths)
        if known.any():
            both = np.column_stack([1 - every[known], every[known]])
            labels = truths[known].astype(np.int64)
            name = C.converted_within(horizon)
            found[name] = _performance(
                -np.log(np.maximum(both[np.arange(len(labels)), labels], _LEAST)),
                {name: both[:, 1] - labels},
                expected_calibration_error(both, labels),
                examples.owners[known],
            )
    return found


def _performance(
    losses: NDArray, gaps: dict[str, NDArray], ece: float, owners: NDArray
) -> Performance:
    loss, error = clustered_mean(losses, owners)
    means = {name: clustered_mean(gap, owners) for name, gap in gaps.items()}
    return Performance(
        rows=len(losses),
        users=len(np.unique(owners)),
        log_loss=loss,
        log_loss_error=error,
        ece=ece,
        gaps={name: mean for name, (mean, _) in means.items()},
        gap_errors={name: each for name, (_, each) in means.items()},
    )


def _finite(error: float) -> float | None:
    return error if np.isfinite(error) else None


def clustered_mean(values: NDArray, owners: NDArray) -> tuple[float, float]:
    """Mean over rows and its standard error, where users are the draws; # [rows] each.

    The linearised ratio of the users' sums to their rows (Cochran 1977, "Sampling techniques", 6).

    Examples
    --------
    >>> clustered_mean(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
    (2.0, 1.0)
    """
    users, place, rows = np.unique(owners, return_inverse=True, return_counts=True)
    mean = float(values.mean())
    if len(users) < 2:
        return mean, float("inf")
    residues = np.bincount(place, weights=values.astype(np.float64)) - mean * rows
    inflated = len(users) / (len(users) - 1)
    return mean, float(np.sqrt((residues**2).sum() * inflated) / len(values))
