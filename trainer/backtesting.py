"""``backtest``: the same fit at several moments of the log, each judged on what came next.

Notes
-----
The first half of the events is always learned from. The other half is cut into ``folds + 1`` equal
steps: a fold validates on one step and is tested on the next, then everything moves on by a step.
So no event is tested twice, and each fold is a :class:`trainer.splits.Cuts` like any other, purged
and read through the store as ``fit`` does: nothing after its cut reaches its weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from feature_repo.home import labels_dir
from feature_repo.manifest import dataset_vars
from trainer.config import FitConfig, ModelName
from trainer.conversion_evaluation import conversion_task, score_conversion
from trainer.dataset import Taxonomy
from trainer.evaluation import TASK, Metrics, score
from trainer.examples import Dataset
from trainer.fitting import read_training_set
from trainer.instants import show_instant
from trainer.labels import Labels, read_labels
from trainer.models.base import ConversionModel, Model, Report, silent, write_json
from trainer.models.registry import BASELINES, RANKS, make_model
from trainer.splits import Cuts, choose_cuts, quantile_cut
from trainer.training import reproducible

REPORT, SPLITS = "backtest.json", "backtest_splits.json"
FIRST_SHARE = 0.5  # of the events, which every fold learns from


@dataclass(frozen=True)
class Fold:
    """One moment: its cuts, and the last instant that it is tested on."""

    cuts: Cuts
    test_end: np.datetime64

    def to_json(self) -> dict[str, Any]:
        """The fold as text."""
        return {**self.cuts.to_json(), "test_end": str(self.test_end)}


def make_folds(labels: Labels, taxonomy: Taxonomy, folds: int) -> list[Fold]:
    """Cuts that roll over the log.

    Parameters
    ----------
    labels
        The spine and its labels.
    taxonomy
        Its horizons and session gap; cuts of the dataset file are not used.
    folds
        How many.

    Raises
    ------
    BadInput
        When the log has too few instants for so many.
    """
    events = labels.event_instants
    if len(events) == 0:
        raise BadInput("labels/events.parquet has no rows; the log gave no accepted event")
    step = (1 - FIRST_SHARE) / (folds + 1)
    ends = [quantile_cut(events, FIRST_SHARE + step * place) for place in range(folds + 2)]
    if len(set(ends)) < len(ends):
        raise BadInput(f"--folds {folds}: the log has too few instants for so many; take fewer")
    gaps = taxonomy.longest_horizon, taxonomy.session_gap
    return [
        Fold(
            choose_cuts(labels.instants, labels.next_state_at, events, *gaps, train_end, valid_end),
            test_end,
        )
        for train_end, valid_end, test_end in zip(ends, ends[1:], ends[2:], strict=False)
    ]


def backtest(
    home: Path, config: FitConfig, folds: int, report: Report
) -> tuple[Metrics, list[Fold]]:
    """Fit the model and its baselines for each fold, and write ``reports/backtest.json``.

    Parameters
    ----------
    home
        Home of a build whose features were applied.
    config
        Of every fit.
    folds
        How many.
    report
        Takes lines of progress.

    Returns
    -------
    metrics
        As in ``metrics.json``: the task ``next_action.fold_2`` is the test part of a fold, and
        ``next_action`` all of them together, with the deviation of the folds in
        ``log_loss_fold_std`` and their extremes in ``_fold_min`` and ``_fold_max``. So are
        ``conversion_<horizon>``.
    folds
        Their cuts, which stand in ``reports/backtest_splits.json``.

    Raises
    ------
    BadInput
        For a model of the next item alone, and where the log is too short for so many folds.
    """
    if config.model in RANKS:
        raise BadInput(
            f"model={config.model}: a backtest is of the next action and of conversion, of which "
            "it says nothing; take another model"
        )
    config = config.without_rankings
    taxonomy = Taxonomy.from_vars(dataset_vars(home))
    labels = read_labels(labels_dir(home), config.landmark_weight > 0, taxonomy.horizons)
    made = make_folds(labels, taxonomy, folds)
    del labels  # each fold reads its own
    names: tuple[ModelName, ...] = (*(n for n in BASELINES if n != config.model), config.model)
    answers: dict[str, list[_Answers]] = {}
    for number, fold in enumerate(made, start=1):
        until = show_instant(fold.cuts.train_end)
        report(f"fold {number}/{folds}: learned until {until}")
        for model, dataset in fit_fold(home, config, names, fold.cuts, report):
            answers.setdefault(model.name, []).append(_answers(model, dataset, fold.test_end))
    metrics = {name: _score_folds(found) for name, found in answers.items()}
    for name, content in ((REPORT, metrics), (SPLITS, [fold.to_json() for fold in made])):
        with replacing(home / "reports" / name) as fresh:
            write_json(fresh, content)
    return metrics, made


def fit_fold(
    home: Path, config: FitConfig, names: tuple[ModelName, ...], cuts: Cuts, report: Report
) -> list[tuple[Model, Dataset]]:
    """The models fitted at one cut, each with the rows that it was given."""
    data = read_training_set(home, config, names, report, cuts)
    training = replace(data.training, report=silent)
    fitted = []
    with reproducible(config.seed, config.threads):
        for name in names:
            model = make_model(name, config, data.features)
            model.fit(training)
            fitted.append((model, data.dataset))
    return fitted


@dataclass(frozen=True)
class _Answers:
    """Labels and predictions of one model on one fold, by task; # [rows, ...] each.

    ``users`` are places in the log's users, the same in every fold.
    """

    by_task: dict[str, tuple[NDArray, NDArray, NDArray]]


def _answers(model: Model, dataset: Dataset, test_end: np.datetime64) -> _Answers:
    test = dataset.test
    test = test.take(test.instants <= test_end)
    found: dict[str, tuple[NDArray, NDArray, NDArray]] = {}
    acting = test.take((test.labels >= 0) & ~test.landmarks)
    if len(acting) and getattr(model, "predicts_next_action", True):
        found[TASK] = (model.predict_proba(acting), acting.labels, acting.owners)
    if isinstance(model, ConversionModel) and model.horizons:
        for place, horizon in enumerate(model.horizons):
            known = test.take(~np.isnan(test.conversions[:, place]))
            if len(known):
                chances = model.predict_conversion(known)[:, place]
                task = conversion_task(horizon)
                found[task] = (chances, known.conversions[:, place], known.owners)
    return _Answers(found)


def _score_folds(folds: list[_Answers]) -> dict[str, dict[str, float | None]]:
    """Each task over all folds, and each fold by itself."""
    found: dict[str, dict[str, float | None]] = {}
    tasks = dict.fromkeys(task for fold in folds for task in fold.by_task)
    for task in tasks:
        scored = score if task == TASK else score_conversion
        present = {
            number: fold.by_task[task]
            for number, fold in enumerate(folds, start=1)
            if task in fold.by_task
        }
        every = [np.concatenate(parts) for parts in zip(*present.values(), strict=True)]
        found[task] = scored([every[0]], every[1], every[2])
        for number, (chances, labels, users) in present.items():
            found[f"{task}.fold_{number}"] = scored([chances], labels, users)
        losses = [found[f"{task}.fold_{number}"]["log_loss"] or 0.0 for number in present]
        found[task] |= {
            "folds": float(len(losses)),
            "log_loss_fold_std": float(np.std(losses, ddof=1)) if len(losses) > 1 else None,
            "log_loss_fold_min": min(losses),
            "log_loss_fold_max": max(losses),
        }
    return found
