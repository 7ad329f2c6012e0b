"""``fit``: from a built home to a run folder."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from feature_repo.home import features_dir, labels_dir
from feature_repo.manifest import dataset_vars, fingerprint
from trainer.checkpoints import FOLDER, checkpoint_of
from trainer.columns import Columns as C
from trainer.config import FitConfig, ModelName
from trainer.dataset import Taxonomy
from trainer.devices import choose_device
from trainer.evaluation import evaluate
from trainer.examples import Dataset, build_examples
from trainer.features import (
    Feature,
    anchors,
    choose_features,
    features_at,
    named,
    open_checked_store,
    published_features,
    require_anchors,
)
from trainer.federated.clients import client_numbers
from trainer.held_out import holder
from trainer.instants import Instants
from trainer.labels import read_labels
from trainer.models.base import Report, Training
from trainer.models.registry import BASELINES, READS_FEATURES, is_ranking, make_model
from trainer.monitoring.reference import make_reference
from trainer.private.rules import private_config, require_public
from trainer.progress import Track, untracked
from trainer.ranking.fitting import ranking_training
from trainer.ranking.log import read_target_logs
from trainer.ranking.rows import make_rankings
from trainer.runs import Run, write_run
from trainer.sequences import Sequences
from trainer.splits import Cuts, stopping_rows, users_held_out
from trainer.team import Team, joined, processes
from trainer.together import follow
from trainer.training import reproducible


@contextlib.contextmanager
def one_publication(home: Path) -> Iterator[None]:
    """Refuse what is read from two publications: labels of one build beside features of another.

    A build publishes all of its files at one instant, but labels and features are read one after
    the other.

    Raises
    ------
    BadInput
        When a build published while the body read.
    """
    before = features_dir(home).resolve()
    yield
    if features_dir(home).resolve() != before:
        raise BadInput(
            f"{home}: a build published new features while they were read; run the command again"
        )


@dataclass(frozen=True)
class TrainingSet:
    """A home's examples, ready to be learned from.

    Attributes
    ----------
    dataset
        Every part of the split.
    training
        The training part, as models are given it.
    features
        What was read of the store, in order.
    counted
        The users with an event at ``train_end`` who are not held out, and their own transitions
        until then; ``training.transition_counts`` is the sum of these.
    """

    dataset: Dataset
    training: Training
    features: tuple[Feature, ...]
    counted: tuple[NDArray, pa.Table] | None = None


def read_training_set(
    home: Path,
    config: FitConfig,
    models: Sequence[ModelName],
    report: Report,
    cuts: Cuts | None = None,
    private: bool = False,
) -> TrainingSet:
    """Read what these models learn from and are judged on.

    Parameters
    ----------
    home
        Home of a build whose features were applied.
    config
        Which features, landmarks and rows of early stopping.
    models
        The models that will be fitted: where none reads features, few are fetched.
    report
        Takes lines of progress.
    cuts
        Where to cut; ``None`` goes by the dataset file.
    private
        Whether one model is fitted, under the budget of ``config.privacy``; else none may be set.
    """
    if not private:
        require_public(config)
    taxonomy = Taxonomy.from_vars(dataset_vars(home))
    published = published_features(home)
    require_anchors(published)
    every = choose_features(published, config.features)
    chosen = every if set(models) & set(READS_FEATURES) else anchors(published)
    transitions = named(published, C.TRANSITION_COUNTS)
    store = open_checked_store(home, (*chosen, *transitions))

    def fetch(users: NDArray, instants: Instants) -> pa.Table:
        report(f"reading {len(chosen)} features at {len(users):,} instants through Feast")
        return features_at(store, users, instants, chosen)

    with one_publication(home):
        hold_out = holder(labels_dir(home), config.split)
        # Nobody but build_examples holds the labels, which are as large as what it makes of them.
        dataset = build_examples(
            read_labels(labels_dir(home), config.landmark_weight > 0, taxonomy.horizons),
            taxonomy,
            fetch,
            cuts,
            config.tasks.next_time > 0,
            hold_out,
            home / FOLDER,
        )
        if any(is_ranking(config, model) for model in models):
            dataset = with_rankings(dataset, home)
        users = known_users(dataset.examples.sequences, dataset.cuts.train_end, dataset.held_out)
        cut = np.repeat(dataset.cuts.train_end, len(users))
        at_cut = features_at(store, users, cut, transitions)
    for note in dataset.cuts.notes:
        report(note)
    counts = population_counts(at_cut, taxonomy.states)
    training = replace(make_training(dataset, counts, config, report), scratch=home / FOLDER)
    if private:
        from trainer.private.fitting import make_private

        label_known_at = dataset.next_state_at[dataset.train_rows]
        training = make_private(training, label_known_at, dataset.cuts, at_cut, config)
    report(
        f"{len(training.examples):,} training, {int(dataset.parts.valid.sum()):,} validation and "
        f"{int(dataset.parts.test.sum()):,} test rows"
    )
    if not dataset.parts.test.any():
        report("the log has no labelled row after valid_end: there is nothing to evaluate on")
    return TrainingSet(dataset, training, chosen, (users, at_cut))


def fit(
    home: Path,
    config: FitConfig,
    report: Report,
    track: Track = untracked,
    resume: bool = False,
) -> Path | None:
    """Fit the model and the baselines beside it, evaluate them and write the run.

    Parameters
    ----------
    home
        Home of a build whose features were applied.
    config
        What to fit.
    report
        Takes lines of progress.
    track
        Shows how far a long loop is.
    resume
        Go on after the last epoch of a fit of the same configuration on the same data that was
        killed, where there is one.

    Returns
    -------
    folder
        The run's folder; ``None`` in a process that only trained with the first one.
    """
    device = choose_device(config.device)  # refused before anything is read
    if processes() > 1:
        _refuse_alone(config)
    with joined(device) as team:
        if team.rank > 0:
            follow(team, device)
            return None
        return _fit(home, config, device, team, report, track, resume)


def _refuse_alone(config: FitConfig) -> None:
    """Refuse what one process has to fit, in each of several."""
    if config.model != "recurrent":
        raise BadInput(
            f"model={config.model} is fitted by one process; torchrun is for model=recurrent alone"
        )
    for key, is_set in (
        ("privacy.epsilon", config.privacy.epsilon is not None),
        ("federated.by", config.federated.by != "none"),
    ):
        if is_set:
            raise BadInput(f"{key} is fitted by one process; start it without torchrun")


def _fit(
    home: Path,
    config: FitConfig,
    device: torch.device,
    team: Team,
    report: Report,
    track: Track,
    resume: bool,
) -> Path:
    begun = time.perf_counter()
    private = config.privacy.epsilon is not None
    if private:
        config = private_config(config, Taxonomy.from_vars(dataset_vars(home)))
        if resume:
            raise BadInput("--resume: the noise of a private fit is secret and stands in no file")
    beside = tuple(name for name in BASELINES if name != config.model)
    data = read_training_set(home, config, (config.model,), report, private=private)
    models = [make_model(name, config, data.features) for name in (*beside, config.model)]
    split = split_record(data.dataset, data.training, config)
    checkpoint = checkpoint_of(
        home,
        resume,
        config=config.model_dump(),
        device=device.type,
        features=[vars(feature) for feature in data.features],
        manifest=fingerprint(home),
        processes=team.size,
        split=split,
        torch=version("torch"),
    )
    clients = client_numbers(labels_dir(home), data.dataset, config)
    training = replace(
        data.training,
        track=track,
        # It would hold the state of the random numbers, so a private fit leaves none.
        checkpoint=None if private else checkpoint,
        team=team,
        clients=clients,
    )
    if resume and not checkpoint.path.is_file():
        report("there is no checkpoint of this configuration on this data: beginning anew")
    with reproducible(config.seed, config.threads):
        for model in models:
            model.fit(training)
        metrics = evaluate(models, data.dataset)
        # A private run keeps no histograms of what it learned from.
        reference = None
        if not private:
            reference = make_reference(
                data.dataset, models[-1], data.features, config.monitor, training.examples
            ).to_json()
    guarantee = training.guarantee
    for line in guarantee.lines() if guarantee is not None else ():
        report(line)
    info = {
        "dataset": data.dataset.taxonomy.dataset,
        "model": models[-1].name,
        "baselines": list(beside),
        "states": list(data.training.states),
        "features": [vars(feature) for feature in data.features],
        "manifest": fingerprint(home),
        "seconds": round(time.perf_counter() - begun, 1),
        "device": device.type,
        "processes": team.size,
        "privacy": None if guarantee is None else guarantee.to_json(),
        "curve": [vars(epoch) for epoch in getattr(models[-1], "curve", [])],
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("torch", "feast", "numpy", "pyarrow", "scikit-learn")
            },
        },
    }
    folder = write_run(home, models, config, info, split, metrics, reference)
    checkpoint.clear()
    return folder


def known_users(
    sequences: Sequences, end: np.datetime64, held_out: NDArray[np.bool_] | None = None
) -> NDArray:
    """Users with an event at or before ``end``, but those held out; # [users]."""
    assert sequences.instants is not None
    known = sequences.instants[sequences.offsets[:-1]] <= end
    return sequences.users[known if held_out is None else known & ~held_out]


def population_counts(transitions: pa.Table, states: tuple[str, ...]) -> NDArray[np.int64]:
    """Sum the users' transition counts; # [states, states].

    Parameters
    ----------
    transitions
        # [users] rows of ``transition_counts_all``
    states
        The states in the order of the array.
    """
    size = len(states)
    flat = transitions[C.TRANSITION_COUNTS].combine_chunks().drop_null().flatten().to_numpy()
    if len(flat) % (size * size):
        raise BadInput(
            f"{C.TRANSITION_COUNTS} does not hold {size} by {size} counts; "
            "run trainer build and trainer apply again"
        )
    return flat.reshape(-1, size, size).sum(axis=0).astype(np.int64)


def make_training(
    dataset: Dataset, transition_counts: NDArray[np.int64], config: FitConfig, report: Report
) -> Training:
    """Give the models the training part and what may be known at its end."""
    train = dataset.train
    sequences = train.sequences
    assert sequences.instants is not None
    learnable = dataset.learnable_events
    events = np.sort(sequences.instants[learnable])
    fit_rows, stop_rows = stopping_rows(
        train.instants,
        dataset.next_state_at[dataset.train_rows],
        events,
        train.users,
        config.stopping.by,
        config.stopping.share,
    )
    labelled, converted = train.labels >= 0, ~np.isnan(train.conversions)
    fit, stop = labelled & fit_rows, labelled & stop_rows
    if not fit.any():
        report("too few training rows to hold some out: all are learned from, for every epoch")
        fit, stop = labelled, np.zeros_like(stop)
    # How often users convert changes with the season: the last weeks alone are no measure of how
    # sure to be, and users of the whole part are.
    held_out = users_held_out(train.users, config.stopping.share)[:, None]
    conversion_fit, conversion_stop = converted & ~held_out, converted & held_out
    # So too with waits: of the last weeks' the long ones have not ended yet.
    watched = train.watched > 0
    return Training(
        examples=train,
        fit=fit,
        stop=stop,
        known_events=learnable
        & (sequences.instants <= dataset.cuts.train_end - dataset.cuts.train_purge),
        transition_counts=transition_counts,
        states=dataset.taxonomy.states,
        session_gap=dataset.taxonomy.session_gap,
        conversion_fit=conversion_fit,
        conversion_stop=conversion_stop,
        wait_fit=watched & ~held_out[:, 0],
        wait_stop=watched & held_out[:, 0],
        horizons=dataset.taxonomy.horizons,
        report=report,
        rankings=tuple(
            ranking_training(ranking, config.stopping.share, report)
            for ranking in dataset.rankings.values()
            if ranking.parts.train.any()
        ),
    )


def with_rankings(dataset: Dataset, home: Path) -> Dataset:
    """The same with which item, and which category, comes next, where the log has them.

    Not where users are held out: how popular a value is counts everybody's events, theirs too.
    """
    if dataset.held_out is not None:
        return dataset
    logs = read_target_logs(labels_dir(home), features_dir(home))
    return replace(dataset, rankings=make_rankings(dataset, logs))


def split_record(dataset: Dataset, training: Training, config: FitConfig) -> dict[str, Any]:
    """What the run was learned from: cuts, rows, seed, threads and a hash of the log."""
    return {
        "seed": config.seed,
        "threads": config.threads,
        "data": dataset.examples.sequences.digest(),
        "cuts": dataset.cuts.to_json(),
        "held_out": {
            "by": config.split.by,
            "users": 0 if dataset.held_out is None else int(dataset.held_out.sum()),
        },
        "rows": {
            "fit": int(training.fit.sum()),
            "stop": int(training.stop.sum()),
            "train": len(training.examples),
            "valid": int(dataset.parts.valid.sum()),
            "test": int(dataset.parts.test.sum()),
        },
        "rankings": {
            target: {
                "data": ranking.rows.log.digest(),
                "values": ranking.rows.log.values,
                "train": int(ranking.parts.train.sum()),
                "valid": int(ranking.parts.valid.sum()),
                "test": int(ranking.parts.test.sum()),
            }
            for target, ranking in dataset.rankings.items()
        },
    }


def read_dataset(home: Path, run: Run, rankings: bool = False) -> Dataset:
    """The examples of a home with the features, the cuts, tasks and users of a fitted run.

    Parameters
    ----------
    home
        Home of the run.
    run
        What was fitted.
    rankings
        Whether to say which item and which category comes next too, where one of its models does.
    """
    config = run.config
    store = open_checked_store(home, run.features, run.name)

    def fetch(users: NDArray, instants: Instants) -> pa.Table:
        return features_at(store, users, instants, run.features)

    with one_publication(home):
        taxonomy = Taxonomy.from_vars(dataset_vars(home))
        labels = read_labels(labels_dir(home), config.landmark_weight > 0, taxonomy.horizons)
        hold_out = holder(labels_dir(home), config.split)
        waits = config.tasks.next_time > 0
        scratch = home / FOLDER
        dataset = build_examples(labels, taxonomy, fetch, run.cuts, waits, hold_out, scratch)
        return with_rankings(dataset, home) if rankings and is_ranking(config) else dataset
