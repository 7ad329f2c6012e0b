"""Items that training never saw, read and recommended by what they are like."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_log as synthetic
from ranking_logs import START, Event, instant, item_log

from feature_repo.errors import BadInput
from trainer.ranking.content import ItemContent, read_item_content
from trainer.ranking.log import TargetLog, read_target_logs
from trainer.ranking.neural import LAST, PRIOR, Projection, TiedEmbeddings
from trainer.ranking.neural_training import train_embeddings
from trainer.ranking.rows import RankingRows
from trainer.training import reproducible

ALWAYS, NEVER = np.datetime64("1970-01-01", "us"), np.datetime64("NaT")


def rows_at(log: TargetLog, user: str, after: float, target: int = -1) -> RankingRows:
    """One row of a user at an instant, so many hours after the start."""
    owner = log.users.tolist().index(user)
    own = log.instants[log.offsets[owner] : log.offsets[owner + 1]]
    end = log.offsets[owner] + int((own <= instant(after)).sum())
    return RankingRows(
        log, np.array([owner]), np.array([end]), np.array([instant(after)]), np.array([target])
    )


def given(log: TargetLog, **vectors: list[float]) -> TargetLog:
    """A log that knows what some of its items are like, always."""
    width = len(next(iter(vectors.values())))
    table, since = np.zeros((log.values, width)), np.full(log.values, NEVER, "datetime64[us]")
    for place, name in enumerate(log.names):
        if name in vectors:
            table[place], since[place] = vectors[name], ALWAYS
    return replace(log, content=ItemContent(table, since))


# a and b are learned from; c, d and e come later. c and d have vectors, e has none.
LOG = given(
    item_log(u=[(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "e")], v=[(5, "c")], w=[(5, "e")]),
    a=[1, 0],
    c=[3, 1],
    d=[-1, 1],
)
BY_HAND = TiedEmbeddings(
    vectors=np.array([[1.0], [2.0]]),
    bias=np.array([0.0, 0.5]),
    decay=np.zeros(LAST),
    query=np.array([[1.0]]),
    query_bias=np.array([0.25]),
    projection=Projection(
        weights=np.array([[0.5], [1.0]]),
        tilt=np.array([0.1, 0.0]),
        center=np.array([1.0, 0.0]),
        size=2.0,
        base=-1.0,
        read=np.array([True, False]),
    ),
)
# a: ([1, 0] - [1, 0]) / 2 = 0. c: [2, 1] / 2 = [1, .5]: vector .5 + .5 = 1, bias -1 + .1.
# d: [-2, 1] / 2 = [-1, .5]: vector -.5 + .5 = 0, bias -1 - .1.
VECTORS = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 0.0}
BIASES = {"a": 0.0, "b": 0.5, "c": -0.9, "d": -1.1}


def softmax_by_hand(asked: float, items: str, c: int = 0, d: int = 0) -> list[float]:
    """Of c and d one event each was seen among so many from theirs on: 1 + 50 p of 50 and these."""
    biases = BIASES | {
        item: np.log((1 + PRIOR * np.exp(BIASES[item])) / (among + PRIOR))
        for item, among in (("c", c), ("d", d))
    }
    powers = [np.exp(asked * VECTORS[item] + biases[item]) for item in items]
    return (np.array(powers) / sum(powers)).tolist()


def test_a_new_item_is_read_in_a_history_and_scored() -> None:
    (found,) = BY_HAND.probabilities(rows_at(LOG, "v", 5))
    # v had c alone, so 1 + .25 is asked; e, of which nothing is known, is left out, and not 0.
    # Until the hour that has closed, c was seen once of c, d and e, and d of d and e.
    assert found[:4] == pytest.approx(softmax_by_hand(1.25, "abcd", c=3, d=2))
    assert found[4] == 0


def test_an_item_without_a_vector_is_not_read() -> None:
    assert not BY_HAND.probabilities(rows_at(LOG, "w", 5)).any()
    (found,) = BY_HAND.probabilities(rows_at(LOG, "u", 4))
    # Of a, b, c, d and e the first four are read: the mean of 1, 2, 1 and 0, and .25.
    assert found[:4] == pytest.approx(softmax_by_hand(1.25, "abcd", c=2, d=1))


def test_nothing_is_known_before_it_is() -> None:
    (found,) = BY_HAND.probabilities(rows_at(LOG, "u", 1))
    assert found[:2] == pytest.approx(softmax_by_hand(1.75, "ab"))
    assert not found[2:].any()  # c and d were not in the catalogue
    content = LOG.content
    assert content is not None
    late = content.since.copy()
    late[2] = instant(9)
    later = replace(LOG, content=ItemContent(content.vectors, late))
    (found,) = BY_HAND.probabilities(rows_at(later, "u", 4))
    assert found[2] == 0 and found[3] > 0
    assert not BY_HAND.probabilities(rows_at(later, "v", 5)).any()


def test_without_content_only_what_was_learned_counts() -> None:
    (found,) = BY_HAND.probabilities(rows_at(replace(LOG, content=None), "u", 4))
    assert len(found) == 2
    again = TiedEmbeddings.from_json(BY_HAND.to_json())
    rows = rows_at(LOG, "u", 4)
    assert np.array_equal(again.probabilities(rows), BY_HAND.probabilities(rows))


# ---- learned -------------------------------------------------------------------------------------


def taste_log(users: int = 60) -> tuple[TargetLog, dict[str, list[float]]]:
    """Users like one of two kinds of items; half of the items appear in the last quarter alone."""
    rng = random.Random(0)
    kinds = {f"{kind}{n}": [side, rng.gauss(0, 0.3)] for kind, side in (("x", 1.0), ("y", -1.0))
             for n in range(16)}  # fmt: skip
    log = synthetic.Log(("a",))
    for number in range(users):
        kind, at, history = "xy"[number % 2], START + timedelta(minutes=number), []
        for step in range(40):
            first = 8 if step >= 30 else 0
            place = rng.randrange(first, first + 8)
            history.append(Event(at, "a", item=f"{kind}{place}"))
            at += timedelta(hours=24)
        log.users[f"u{number}"] = history
    return TargetLog.from_events(synthetic.events_table(log), "item_id"), kinds


def test_what_items_are_like_recommends_those_that_nobody_had() -> None:
    plain, kinds = taste_log()
    log = given(plain, **kinds)
    steps = np.arange(len(log)) - log.offsets[log.owners]
    asked = np.flatnonzero((steps > 2) & (steps < 38))
    rows = RankingRows(log, log.owners[asked], asked, log.instants[asked - 1], log.codes[asked])
    learned = rows.take(steps[asked] < 30)
    stop = steps[asked[steps[asked] < 30]] >= 26
    with reproducible(0, 1):
        reading = train_embeddings(learned, stop, 0, 8, 6, content=True)
        blind = train_embeddings(learned, stop, 0, 8, 6)
    assert reading is not None and blind is not None
    assert len(blind.bias) == 16
    new = rows.take((rows.targets >= 16) & (rows.targets < rows.known) & (steps[asked] > 33))
    assert len(new) > 100
    chances = reading.probabilities(new)
    own = chances[np.arange(len(new)), new.targets]
    higher = (chances > own[:, None]).sum(axis=1)
    # Of 32 items the 16 of the user's kind are alike, so that at least half are among the first 16.
    assert (higher < 16).mean() > 0.9
    assert blind.probabilities(new).shape[1] == 16  # none of them has a score
    # The kinds: what is like an x is scored for who likes x, far above what is like a y.
    likes_x = np.array([log.names[code].startswith("x") for code in new.targets])
    is_x = np.array([name.startswith("x") for name in log.names])
    shares = chances[:, is_x].sum(axis=1)
    assert shares[likes_x].mean() > 0.9 > 0.1 > shares[~likes_x].mean()


def test_what_becomes_known_later_moves_no_weight() -> None:
    plain, kinds = taste_log(20)
    log = given(plain, **kinds)
    content = log.content
    assert content is not None
    asked = np.flatnonzero(np.arange(len(log)) - log.offsets[log.owners] == 20)
    rows = RankingRows(log, log.owners[asked], asked, log.instants[asked - 1], log.codes[asked])
    stop = np.arange(len(rows)) >= 15
    since = content.since.copy()
    since[3] = rows.instants.max() + np.timedelta64(1, "D")
    other = content.vectors.copy()
    other[3] = 99.0
    found = []
    for vectors in (content.vectors, other):
        late = replace(rows, log=replace(log, content=ItemContent(vectors, since)))
        with reproducible(0, 1):
            fitted = train_embeddings(late, stop, 0, 4, 2, content=True)
        assert fitted is not None and fitted.projection is not None
        assert not fitted.projection.read[3] and fitted.projection.read[0]
        found.append(fitted.to_json())
    assert found[0] == found[1]


# ---- the view ------------------------------------------------------------------------------------


def write(path: Path, items: list[str], vectors: list[list[float]]) -> None:
    at = pa.array([ALWAYS.item()] * len(items), pa.timestamp("us"))
    pq.write_table(
        pa.table({"item_id": items, "event_timestamp": at, "item_vector": vectors}), path
    )


def test_the_view_is_read_in_the_order_of_the_log(tmp_path: Path) -> None:
    names = np.array(["b", "a", "c"], dtype=object)
    path = tmp_path / "item_content.parquet"
    assert read_item_content(tmp_path, names) is None
    write(path, ["a", "x", "b"], [[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    content = read_item_content(tmp_path, names)
    assert content is not None
    assert content.vectors[:2].tolist() == [[0.0, 0.0], [1.0, 2.0]]
    assert np.isnat(content.since).tolist() == [False, False, True]
    assert content.known_at(instant(0)).tolist() == [True, True, False]
    write(path, ["a", "b"], [[1.0, 2.0], [3.0]])
    with pytest.raises(BadInput, match=r"vectors of \[1, 2\] numbers"):
        read_item_content(tmp_path, names)
    path.write_text("no Parquet")
    with pytest.raises(BadInput, match="run trainer build again"):
        read_item_content(tmp_path, names)


def test_items_alone_have_content(tmp_path: Path) -> None:
    log = synthetic.Log(("a",))
    log.users["u"] = [Event(START, "a", category="k", item="i")]
    home = synthetic.publish(log, tmp_path)
    write(home / "features" / "item_content.parquet", ["i", "k"], [[1.0], [2.0]])
    logs = read_target_logs(home / "labels", home / "features")
    assert logs["item"].content is not None and logs["category"].content is None
    assert read_target_logs(home / "labels")["item"].content is None
