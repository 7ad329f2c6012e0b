"""Examples: positions, states, labels, and that both sources of a sequence agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_log as synthetic

from feature_repo.errors import BadInput
from trainer.config import EncoderConfig, load_config
from trainer.event_inputs import EventEncoder
from trainer.examples import Dataset, build_examples, current_states
from trainer.features import Feature, choose_features
from trainer.labels import read_labels
from trainer.sequences import Sequences

AT = [datetime(2024, 1, 1, hour) for hour in range(10)]


@pytest.fixture
def log() -> synthetic.Log:
    event = synthetic.Event
    return synthetic.Log(
        ("a", "b"),
        {
            "u2": [event(AT[0], "a"), event(AT[0], "b"), event(AT[1], "a", "x", 7)],
            "u1": [event(AT[2], "b"), event(AT[9], "a")],
        },
    )


def test_sequences_are_flat_and_in_total_order(log: synthetic.Log) -> None:
    table = synthetic.events_table(log)
    flat = Sequences.from_events(table)
    assert flat.users.tolist() == ["u1", "u2"]
    assert flat.offsets.tolist() == [0, 2, 5]
    assert flat.actions.to_pylist() == ["b", "a", "a", "b", "a"]
    assert flat.gaps_ms.tolist() == [-1, 7 * 3_600_000, -1, 0, 3_600_000]
    assert flat.durations_ms.tolist() == [-1, -1, -1, -1, 7]
    shuffled = table.take(np.random.default_rng(0).permutation(5))
    assert Sequences.from_events(shuffled).digest() == flat.digest()
    assert Sequences.from_events(table.slice(0, 4)).digest() != flat.digest()


def test_examples_end_at_their_instant(
    log: synthetic.Log, make_dataset: Callable[..., Dataset]
) -> None:
    dataset = make_dataset(log, AT[9], AT[9])
    rows = dataset.examples
    found = {
        (user, at.item()): (rows.ends[n] - rows.first[n], rows.states[n], rows.labels[n])
        for n, (user, at) in enumerate(zip(rows.users, rows.instants, strict=True))
    }
    # Two events at one instant are one example, whose state is the last of them. Leaving comes
    # half an hour after each event here; of `u1` at 9 h nothing is known yet.
    assert found == {
        ("u2", AT[0]): (2, 1, 2),
        ("u2", AT[1]): (3, 0, 2),
        ("u1", AT[2]): (1, 1, 2),
    }


def test_the_state_after_a_closed_session_is_leave() -> None:
    table = pa.table(
        {
            "last_action_type": ["a", "b", "a", None, "?"],
            "session_is_open": [True, False, None, None, False],
        }
    )
    assert current_states(table, ("a", "b", "leave")).tolist() == [0, 2, 0, -1, -1]


def test_the_sequence_view_gives_the_log_s_own_encoding() -> None:
    log = synthetic.order_two_log(users=3, events=70)
    for events in log.users.values():
        for place, event in enumerate(events):
            object.__setattr__(event, "item", f"i{place % 4}" if place % 5 else None)
            object.__setattr__(event, "location", f"l{place % 3}" if place % 7 else None)
    flat = Sequences.from_events(synthetic.events_table(log))
    users = sorted(log.users)
    values = synthetic.features_at(log, users, [log.end] * 3)
    stored = Sequences.from_arrays(np.array(users, dtype=object), values)
    every = np.ones(len(flat), dtype=bool)
    config = EncoderConfig(items=200, locations=200, calendar=["hour", "weekday"])
    encoder = EventEncoder.fit(flat, every, log.actions, config)
    assert encoder.sizes["items"] == 4 and encoder.sizes["locations"] == 3
    whole, last = encoder.transform(flat), encoder.transform(stored)
    for user in range(3):
        own = slice(flat.offsets[user + 1] - 50, flat.offsets[user + 1])
        seen = slice(stored.offsets[user], stored.offsets[user + 1])
        for one, other in zip(whole.at(np.r_[own]), last.at(np.r_[seen]), strict=True):
            assert np.array_equal(one, other)


def test_a_null_sequence_is_an_empty_one() -> None:
    nobody = synthetic.features_at(synthetic.Log(("a",), {}), ["x", "y"], [AT[0]] * 2)
    stored = Sequences.from_arrays(np.array(["x", "y"], dtype=object), nobody)
    assert stored.offsets.tolist() == [0, 0, 0]


def test_no_training_row_is_bad_input(log: synthetic.Log, make_dataset: Callable) -> None:
    with pytest.raises(BadInput, match="no training row lies before 2024-01-01 00:00:00 UTC"):
        make_dataset(log, AT[0], AT[1])


def test_missing_and_broken_tables_are_named(log: synthetic.Log, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"spine\.parquet.*trainer build"):
        read_labels(tmp_path)
    synthetic.publish(log, tmp_path)
    (tmp_path / "labels" / "events.parquet").write_bytes(b"half a file")
    with pytest.raises(BadInput, match=r"events\.parquet: not readable"):
        read_labels(tmp_path / "labels")


def test_labels_do_not_depend_on_the_rows_order(log: synthetic.Log, tmp_path: Path) -> None:
    synthetic.publish(log, tmp_path)
    folder = tmp_path / "labels"
    before = read_labels(folder, landmarks=True)
    for name in ("spine", "label_next", "events"):
        table = pq.read_table(folder / f"{name}.parquet")
        order = np.random.default_rng(1).permutation(table.num_rows)
        pq.write_table(table.take(order), folder / f"{name}.parquet")
    after = read_labels(folder, landmarks=True)
    assert (before.users == after.users).all()
    assert (before.instants == after.instants).all()
    assert before.next_actions.equals(after.next_actions)


FEATURES = (
    *synthetic.INPUTS,
    Feature("user_transitions_all", "transition_counts_all", "BIGINT[]", "user_transitions", "all"),
    Feature("user_activity_1h", "event_count_1h", "BIGINT", "user_activity", "1h"),
    Feature("user_sequence", "sequence_actions", "VARCHAR[]", "user_sequence"),
)


def chosen(*overrides: str) -> set[str]:
    config = load_config(None, overrides)
    return {feature.name for feature in choose_features(FEATURES, config.features)}


def test_features_are_chosen_by_view_family_scale_and_name() -> None:
    everything = chosen()
    assert "event_count_1h" in everything
    assert "sequence_actions" not in everything
    assert everything - chosen("features.exclude=['@1h']") == {"event_count_1h"}
    assert everything - chosen("features.exclude=[user_activity]") == {
        "event_count_1h",
        "event_count_7d",
    }
    anchors = {
        "last_action_type",
        "last_action_at",
        "session_is_open",
        "transition_counts_all",
    }
    assert chosen("features.include=['*:event_count_1h']") == {"event_count_1h", *anchors}
    assert chosen("features.exclude=['*']") == anchors


def test_a_pattern_that_matches_nothing_is_named() -> None:
    with pytest.raises(BadInput, match="'@14d' matches no feature"):
        chosen("features.exclude=['@14d']")


def test_a_fetch_of_other_users_is_never_needed(log: synthetic.Log, tmp_path: Path) -> None:
    """Only rows of a part ask for features: a row without a label costs nothing."""
    from trainer.dataset import Taxonomy

    synthetic.publish(log, tmp_path)
    labels = read_labels(tmp_path / "labels")
    asked = []

    def fetch(users: np.ndarray, instants: np.ndarray) -> pa.Table:
        asked.extend(users)
        return synthetic.features_at(log, users.tolist(), instants.tolist())

    gap, none = np.timedelta64(1800_000_000, "us"), np.timedelta64(0, "us")
    end = np.datetime64(AT[9], "us")
    build_examples(labels, Taxonomy("toy", log.actions, gap, none, end, end), fetch)
    assert sorted(asked) == ["u1", "u2", "u2"]
