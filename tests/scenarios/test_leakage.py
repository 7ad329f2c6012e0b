"""No value knows its future: delete or scramble it, and nothing before changes by a bit."""

from __future__ import annotations

import csv
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import yaml

from dbt_runner import ROOT, Build
from dbt_session import DbtSession
from streaming_replay import home_beside

CUT = datetime(2024, 4, 1)  # train_end of data/shop.yml
FUTURES = ("kept", "deleted", "scrambled")


def instant(row: dict[str, str]) -> datetime | None:
    try:
        return datetime.fromisoformat(row["time_stamp"])
    except ValueError:
        return None


def scrambled(rows: list[dict[str, str]], rng: random.Random) -> list[dict[str, str]]:
    """The same rows with what the later ones say mixed up, at other times and of new users."""
    later = [row for row in rows if (at := instant(row)) is not None and at > CUT]
    for column in ("user_id", "action_type", "item_id", "category_id", "duration_ms"):
        values = [row[column] for row in later]
        rng.shuffle(values)
        for row, value in zip(later, values, strict=True):
            row[column] = value
    for row in later:
        at = CUT + timedelta(microseconds=rng.randrange(1, 40 * 86_400_000_000))
        row["time_stamp"] = row["ingested_at"] = at.isoformat()
        if rng.random() < 0.05:
            row["user_id"] = f"new-{row['user_id']}"
    return rows


@pytest.fixture(scope="module")
def builds(dbt_session: DbtSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    """Half of the bundled log's users, with their own future, without it, and with another one."""
    variables = yaml.safe_load((ROOT / "data" / "shop.yml").read_text())
    found = {}
    for future in FUTURES:
        with (ROOT / "data" / "shop.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["user_id"][-1:] in "02468"]
        if future == "deleted":
            rows = [row for row in rows if (at := instant(row)) is None or at <= CUT]
        elif future == "scrambled":
            rows = scrambled(rows, random.Random(7))
        folder = tmp_path_factory.mktemp(future)
        with (folder / "log.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        build = dbt_session(folder / "home", {**variables, "events_path": str(folder / "log.csv")})
        assert build.returncode == 0, build.output
        found[future] = build
    return found


@pytest.mark.parametrize("future", ["deleted", "scrambled"])
def test_every_feature_up_to_the_cut_is_bit_equal(builds: dict[str, Build], future: str) -> None:
    """A view is a step function: equal rows up to T are equal values at every instant up to T."""
    views = sorted(path.name for path in (builds["kept"].home / "features").iterdir())
    assert len(views) == 36
    for view in views:
        # When a row was computed is no value: it is the clock of the log that the build read.
        a, b = (
            f"(select * exclude (computed_at) from '{builds[f].home}/features/{view}')"
            for f in ("kept", future)
        )
        until = f"where event_timestamp <= timestamp '{CUT}'"
        ((differing, rows),) = duckdb.sql(f"""
            select
                (select count(*) from (from {a} {until} except all from {b} {until}))
                + (select count(*) from (from {b} {until} except all from {a} {until})),
                (select count(*) from {a} {until})
        """).fetchall()
        assert rows > (5_000 if view.startswith("user") else 100), view
        assert differing == 0, view


def fitted(build: Build) -> tuple[Any, Any, list[str]]:
    """Training part, the network's weights and the baselines' files of a short fit."""
    import torch

    from feature_repo.store import apply
    from trainer.config import load_config
    from trainer.fitting import fit, read_dataset
    from trainer.runs import load_run

    apply(build.home)
    config = load_config(None, ["epochs=2", "encoder.hidden=16"])
    folder = fit(build.home, config, lambda _line: None)
    run = load_run(build.home)
    data = read_dataset(build.home, run)
    texts = [(folder / f"{name}.json").read_text() for name in ("marginal", "markov_1")]
    return data.train, torch.load(folder / "weights.pt", weights_only=True), texts


@pytest.fixture(scope="module")
def fits(builds: dict[str, Build]) -> dict[str, Any]:
    return {future: fitted(build) for future, build in builds.items()}


@pytest.mark.parametrize("future", ["deleted", "scrambled"])
def test_every_training_row_is_bit_equal(fits: dict[str, Any], future: str) -> None:
    train, other = fits["kept"][0], fits[future][0]
    assert len(train) > 5_000
    assert train.users.tolist() == other.users.tolist()
    assert (train.instants == other.instants).all()
    assert (train.labels == other.labels).all()
    assert (train.lengths == other.lengths).all()
    assert train.features.equals(other.features)
    # The events that each row may read.
    numbers = ("gaps_ms", "durations_ms", "hours", "weekdays")
    for values in (*numbers, "actions", "items", "categories", "locations"):
        for row in np.linspace(0, len(train) - 1, 500).astype(int):
            a, b = (
                getattr(rows.sequences, values)[int(rows.first[row]) : int(rows.ends[row])]
                for rows in (train, other)
            )
            assert (a == b).all() if values in numbers else a.equals(b)


@pytest.mark.parametrize("future", ["deleted", "scrambled"])
def test_the_weights_are_bit_identical(fits: dict[str, Any], future: str) -> None:
    weights, other = fits["kept"][1], fits[future][1]
    assert weights.keys() == other.keys()
    for name, value in weights.items():
        assert value.equal(other[name]), name
    assert fits["kept"][2] == fits[future][2]


def test_noise_cannot_be_predicted(shop_home: Path, tmp_path: Path) -> None:
    """Labels of coin flips on the real rows: the AUC on the test part stays at one half."""
    from dataclasses import replace

    from feature_repo.manifest import dataset_vars
    from feature_repo.store import apply
    from trainer.config import load_config
    from trainer.dataset import Taxonomy
    from trainer.examples import build_examples
    from trainer.features import (
        choose_features,
        features_at,
        open_checked_store,
        published_features,
    )
    from trainer.fitting import make_training
    from trainer.labels import read_labels
    from trainer.models.recurrent import Recurrent

    home = home_beside(shop_home, tmp_path)
    apply(home)
    config = load_config(None, ["epochs=3", "encoder.hidden=16"])
    chosen = choose_features(published_features(home), config.features)
    store = open_checked_store(home, chosen)
    taxonomy = Taxonomy.from_vars(dataset_vars(home))
    data = build_examples(
        read_labels(home / "labels", landmarks=True, horizons=taxonomy.horizons),
        taxonomy,
        lambda users, instants: features_at(store, users, instants, chosen),
    )
    coins = np.random.default_rng(5).integers(0, 2, len(data.examples))
    data = replace(data, examples=replace(data.examples, labels=coins))
    counts = np.ones((len(taxonomy.states), len(taxonomy.states)), dtype=np.int64)
    model = Recurrent(config, chosen)
    model.fit(make_training(data, counts, config, lambda _line: None))
    test = data.test
    chances = model.predict_proba(test)[:, :2]
    heads = chances[:, 1] / chances.sum(axis=1)
    ranks = heads.argsort().argsort() + 1
    ones = test.labels == 1
    auc = (ranks[ones].sum() - ones.sum() * (ones.sum() + 1) / 2) / (ones.sum() * (~ones).sum())
    assert len(test) > 5_000
    assert auc == pytest.approx(0.5, abs=0.02)
