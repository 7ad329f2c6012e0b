"""``compare``: every model on the same rows, several seeds of those that have one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from feature_repo.atomic import replacing
from trainer.config import FitConfig, ModelName
from trainer.evaluation import Metrics, evaluate_seeds, judged_parts
from trainer.fitting import TrainingSet, read_training_set
from trainer.models.base import Model, Report, silent, write_json
from trainer.models.registry import COMPARED, RANKS, SEEDED, make_model
from trainer.training import reproducible

REPORT = "compare.json"


def compare(
    home: Path,
    config: FitConfig,
    seeds: int,
    report: Report,
    names: tuple[ModelName, ...] = COMPARED,
) -> Metrics:
    """Fit all models, evaluate them, and write ``reports/compare.json``.

    Parameters
    ----------
    home
        Home of a build whose features were applied.
    config
        Of every fit; its seed is the first of the seeds.
    seeds
        Fits of each model that has a seed; their metrics are averaged.
    report
        Takes lines of progress.
    names
        The models, in the order of the table.

    Returns
    -------
    metrics
        What ``metrics.json`` of a run holds, for all models.
    """
    data = read_training_set(home, config, names, report)
    parts = judged_parts(data.dataset)
    if not data.training.rankings:
        names = tuple(name for name in names if name not in RANKS)
    metrics: Metrics = {}
    for name in names:
        fits = [
            _fit(name, config.model_copy(update={"seed": seed}), data)
            for seed in range(config.seed, config.seed + (seeds if name in SEEDED else 1))
        ]
        with reproducible(config.seed, config.threads):
            metrics[fits[0].name] = evaluate_seeds(fits, parts)
        report(f"{fits[0].name}: {len(fits)} {'fits' if len(fits) > 1 else 'fit'} evaluated")
    with replacing(home / "reports" / REPORT) as fresh:
        write_json(fresh, metrics)
    return metrics


def _fit(name: ModelName, config: FitConfig, data: TrainingSet) -> Model:
    model = make_model(name, config, data.features)
    training = replace(data.training, report=silent)
    with reproducible(config.seed, config.threads):
        model.fit(training)
    return model
