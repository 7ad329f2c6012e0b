"""Encodings by hand, and that what training never saw cannot move a prediction."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from trainer.config import EncoderConfig
from trainer.event_inputs import EventEncoder
from trainer.inputs import CALENDAR, FeatureEncoder, calendar, signed_log1p
from trainer.sequences import Sequences

NOW = np.array(["2024-01-01T12:00:00"] * 4, dtype="datetime64[us]")
VALUES = len(CALENDAR)


def encode(values: pa.Array, kind: str, name: str = "x", **fit: int) -> np.ndarray:
    table = pa.table({name: values})
    encoder = FeatureEncoder.fit(table, {name: kind}, NOW[: len(values)], **fit)
    matrix = encoder.transform(table, NOW[: len(values)])
    again = FeatureEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert np.array_equal(again.transform(table, NOW[: len(values)]), matrix)
    assert matrix.shape[1] == len(encoder.columns)
    return matrix[:, :-VALUES]


def test_counts_are_logged_and_standardised() -> None:
    counts = np.array([0, 3, 8, 100])
    logs = np.log1p(counts)
    expected = (logs - logs.mean()) / logs.std()
    assert encode(pa.array(counts), "BIGINT")[:, 0] == pytest.approx(expected, abs=1e-6)


def test_negative_amounts_keep_their_sign() -> None:
    assert signed_log1p(np.array([-3.0, 0.0, 3.0])).tolist() == [-np.log(4), 0.0, np.log(4)]


def test_a_null_is_zero_and_says_so() -> None:
    matrix = encode(pa.array([1.0, None, 5.0, float("nan")]), "DOUBLE")
    assert matrix[1].tolist() == [0.0, 1.0]
    assert matrix[3].tolist() == [0.0, 0.0]  # NaN is a value, only none to learn from
    assert np.isfinite(matrix).all()


def test_probabilities_stay_as_they_are() -> None:
    rows = [[0.2, 0.8], [0.5, 0.5], None, [1.0, 0.0]]
    matrix = encode(pa.array(rows, pa.list_(pa.float64())), "DOUBLE[]", "next_probabilities_7d")
    assert matrix == pytest.approx(
        np.array([[0.2, 0.8, 0], [0.5, 0.5, 0], [0, 0, 1], [1, 0, 0]]), abs=1e-7
    )


def test_an_instant_becomes_the_time_since() -> None:
    since = pa.array(NOW - np.array([0, 1, 60, 3600]) * np.timedelta64(1, "s"))
    logs = np.log1p(np.array([0, 1, 60, 3600]) * 1000)
    expected = (logs - logs.mean()) / logs.std()
    assert encode(since, "TIMESTAMP")[:, 0] == pytest.approx(expected, abs=1e-6)
    aware = since.cast(pa.timestamp("us", "UTC"))
    assert encode(aware, "TIMESTAMP")[:, 0] == pytest.approx(expected, abs=1e-6)


def test_a_constant_column_stays_silent_for_ever() -> None:
    table = pa.table({"x": [7, 7, 7]})
    encoder = FeatureEncoder.fit(table, {"x": "BIGINT"}, NOW[:3])
    assert encoder.transform(pa.table({"x": [900]}), NOW[:1])[0, 0] == 0.0


def test_an_outlier_is_clipped() -> None:
    table = pa.table({"x": [1, 2, 3, 4]})
    encoder = FeatureEncoder.fit(table, {"x": "BIGINT"}, NOW, clip=2.5)
    assert encoder.transform(pa.table({"x": [10**15]}), NOW[:1])[0, 0] == 2.5


def test_an_unknown_text_is_zero_in_every_column() -> None:
    words = pa.array(["a"] * 30 + ["b"] * 25 + ["rare"] * 3)
    when = np.repeat(NOW[:1], len(words))
    encoder = FeatureEncoder.fit(pa.table({"x": words}), {"x": "VARCHAR"}, when)
    assert encoder.columns[:2] == ["x=a", "x=b"]
    asked = pa.table({"x": pa.array(["b", "rare", "never", None])})
    assert encoder.transform(asked, NOW)[:, :2].tolist() == [[0, 1], [0, 0], [0, 0], [0, 0]]


def test_calendar() -> None:
    row = calendar(np.array(["2024-02-29T06:00:00"], dtype="datetime64[us]"))[0]  # a Thursday
    assert row[:7].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert row[7:] == pytest.approx([1.0, 0.0], abs=1e-12)


EVERYTHING = EncoderConfig(items=200, locations=200, calendar=["hour", "weekday"])


def sequences(
    categories: list[str | None],
    items: list[str | None] | None = None,
    locations: list[str | None] | None = None,
) -> Sequences:
    size = len(categories)
    nothing = [None] * size
    return Sequences(
        users=np.array(["u"], dtype=object),
        offsets=np.array([0, size]),
        actions=pa.array(["a", "b"] * (size // 2)),
        items=pa.array(items or nothing, pa.string()),
        categories=pa.array(categories, pa.string()),
        locations=pa.array(locations or nothing, pa.string()),
        gaps_ms=np.array([-1] + [1000] * (size - 1)),
        durations_ms=np.array([-1, 500] * (size // 2)),
        hours=np.array([6] * size),
        weekdays=np.array([0, 1, 2, 3, 4, 5, 6, 0][:size]),
    )


def test_events_are_encoded_with_training_categories_only() -> None:
    log = sequences(["x", "x", "y", "y", "y", "late", "late", None])
    known = np.arange(8) < 5
    encoder = EventEncoder.fit(log, known, ("a", "b"), EVERYTHING)
    assert encoder.categories == ("y", "x")
    assert encoder.items == encoder.locations == ()
    before = encoder.to_json()
    encoded = encoder.transform(log)
    assert encoded.categories.tolist() == [2, 2, 1, 1, 1, 0, 0, 0]
    assert encoded.actions.tolist() == [1, 2] * 4
    assert encoded.numbers[0, :2].tolist() == [0.0, 1.0]  # no gap before the first event
    assert encoded.numbers[0, 2:4].tolist() == [0.0, 1.0]  # and its duration is unknown
    assert encoded.numbers[0, 4:] == pytest.approx([1.0, 0.0, 0.0, 1.0], abs=1e-7)
    turn = 2 * np.pi / 7  # Tuesday is a seventh of a week after Monday
    assert encoded.numbers[1, 6:] == pytest.approx([np.sin(turn), np.cos(turn)], abs=1e-7)
    assert encoded.numbers[7].tolist() == encoded.numbers[7, :6].tolist() + [0.0, 1.0]
    assert encoder.to_json() == before
    assert EventEncoder.from_json(json.loads(json.dumps(before))).to_json() == before


def test_the_vocabulary_keeps_the_most_frequent() -> None:
    log = sequences(["x", "x", "y", "y", "y", "z", "z", "z"])
    every = np.ones(8, dtype=bool)
    encoder = EventEncoder.fit(log, every, ("a", "b"), EncoderConfig(categories=2))
    assert encoder.categories == ("y", "z")
    encoder = EventEncoder.fit(log, every, ("a", "b"), EncoderConfig(categories=0))
    assert encoder.categories == ()


def test_items_and_locations_have_vocabularies_of_the_training_part() -> None:
    log = sequences(
        [None] * 8,
        items=["i", "j", "i", "j", "i", "i", "i", None],
        locations=["n", "n", "s", "s", "w", "late", "late", "n"],
    )
    known = np.arange(8) < 7
    encoder = EventEncoder.fit(log, known, ("a", "b"), EVERYTHING)
    assert encoder.items == ("i",)  # five times; the two of the other are too few to learn from
    assert encoder.transform(log).items.tolist() == [1, 0, 1, 0, 1, 1, 1, 0]
    assert encoder.locations == ("late", "n", "s")
    earlier = EventEncoder.fit(log, np.arange(8) < 5, ("a", "b"), EVERYTHING)
    assert earlier.items == () and earlier.locations == ("n", "s")
    assert earlier.transform(log).locations.tolist() == [1, 1, 2, 2, 0, 0, 0, 1]
    off = EncoderConfig(items=0, locations=0, calendar=[])
    neither = EventEncoder.fit(log, known, ("a", "b"), off)
    assert neither.sizes == {
        **{"actions": 2, "items": 0, "categories": 0, "locations": 0},
        "numbers": 4,
    }
    assert neither.transform(log).items.tolist() == [0] * 8


def test_an_encoder_of_before_items_reads_what_it_read_then() -> None:
    old = {"actions": ["a", "b"], "categories": ["x"], "gap_ms": [6, 1], "duration_ms": [6, 1]}
    encoder = EventEncoder.from_json(old)
    assert encoder.sizes == {
        **{"actions": 2, "items": 0, "categories": 1, "locations": 0},
        "numbers": 6,
    }
    encoded = encoder.transform(sequences(["x"] * 8, items=["i"] * 8, locations=["n"] * 8))
    assert encoded.numbers.shape == (8, 6)
    assert not encoded.items.any() and not encoded.locations.any()


def test_pieces_of_a_table_encode_as_the_whole() -> None:
    instants = np.repeat(np.datetime64("2024-01-05", "us"), 40)
    whole = pa.table(
        {
            "n": pa.array([None if n % 7 == 0 else n for n in range(40)], pa.int64()),
            "open": pa.array([None if n % 5 == 0 else n % 2 == 0 for n in range(40)], pa.bool_()),
            "mean": pa.array([float("nan") if n == 3 else n / 3 for n in range(40)], pa.float64()),
            "word": pa.array(["a" if n % 2 else None for n in range(40)], pa.string()),
            "since": pa.array([n * 86_400_000_000 for n in range(40)], pa.timestamp("us")),
            "row_probabilities": pa.array([[n / 40, 1 - n / 40] for n in range(40)]),
        }
    )
    types = ("BIGINT", "BOOLEAN", "DOUBLE", "VARCHAR", "TIMESTAMP", "DOUBLE[]")
    encoder = FeatureEncoder.fit(whole, dict(zip(whole.column_names, types, strict=True)), instants)
    expected = encoder.transform(whole, instants)
    pieces = pa.concat_tables([whole.slice(0, 11), whole.slice(11, 1), whole.slice(12)])
    assert pieces["n"].num_chunks == 3
    assert np.array_equal(encoder.transform(pieces, instants), expected)
    for row in range(40):
        one = encoder.transform(whole.slice(row, 1), instants[:1])
        assert np.array_equal(one[0], expected[row]), row
    assert encoder.transform(whole.slice(0, 0), instants[:0]).shape == (0, expected.shape[1])
    null, nan = expected[0], expected[3]
    place = encoder.columns.index("n:null")
    assert (null[place], nan[place]) == (1, 0)
    assert "mean:null" not in encoder.columns  # NaN is no null
