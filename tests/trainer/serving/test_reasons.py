"""Counterfactuals: what is left out is left out, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
import synthetic_log as synthetic
from serving_home import Served as Home

from trainer.examples import Examples
from trainer.feature_rows import as_table
from trainer.models.served import Served
from trainer.prediction import Predictor
from trainer.runs import load_served_run
from trainer.sequences import MISSING
from trainer.serving.reasons import group_columns, without_events, without_groups

USER = "u006"


@pytest.fixture
def model(served: Home) -> Served:
    found = load_served_run(served.home).model
    assert isinstance(found, Served)
    return found


@pytest.fixture
def examples(served: Home) -> Examples:
    return Predictor(served.home, load_served_run(served.home)).examples([USER])


def test_leaving_an_event_out_equals_never_having_had_it(
    served: Home, model: Served, examples: Examples
) -> None:
    """The sequence of a log without the event, with the features of the log with it."""
    history = served.log.users[USER]
    reasons = without_events(model, examples, most=7)
    assert [reason.place for reason in reasons] == [29, 28, 27, 26, 25, 24, 23]
    for reason in reasons:
        place = reason.place
        kept = synthetic.Log(("a", "b"), {USER: [*history[:place], *history[place + 1 :]]})
        sequence = synthetic.features_at(kept, [USER], [served.log.end])
        values = as_table(examples.features)
        for name in (n for n in values.column_names if n.startswith("sequence_")):
            values = values.set_column(values.column_names.index(name), name, sequence[name])
        expected = model.predict_proba(_examples(values, examples, model))
        assert reason.probabilities == pytest.approx(expected[0], abs=1e-6)
    assert len({round(float(reason.probabilities[0]), 5) for reason in reasons}) > 3


def _examples(values, examples: Examples, model: Served) -> Examples:
    from trainer.examples import unlabelled
    from trainer.sequences import Sequences

    sequences = Sequences.from_arrays(np.array([USER], dtype=object), values)
    return unlabelled(sequences, examples.instants, values, model.states)


def test_the_first_event_has_no_gap_to_hand_on(served: Home, model: Served) -> None:
    predictor = Predictor(served.home, load_served_run(served.home))
    first, second, third = served.log.users[USER][:3]
    at = predictor.examples([USER], np.datetime64(third.at, "us"))
    from trainer.serving.reasons import _take

    kept = np.array([[1, 2], [0, 2], [0, 1]])
    shortened = _take(at.sequences, kept, [0, 1, 2])
    whole = (third.at - first.at) / timedelta(milliseconds=1)
    assert shortened.gaps_ms.tolist() == [
        *(MISSING, (third.at - second.at) / timedelta(milliseconds=1)),
        *(MISSING, whole),
        *(MISSING, (second.at - first.at) / timedelta(milliseconds=1)),
    ]
    assert shortened.offsets.tolist() == [0, 2, 4, 6]
    (last,) = without_events(model, at, most=1)
    assert last.place == 2


def test_a_user_of_one_event_without_it_is_unknown(served: Home, model: Served) -> None:
    predictor = Predictor(served.home, load_served_run(served.home))
    one = predictor.examples([USER], np.datetime64(served.log.users[USER][0].at, "us"))
    (reason,) = without_events(model, one, most=10)
    assert reason.probabilities == pytest.approx(model.prior)
    none = predictor.examples(["nobody"])
    assert without_events(model, none, most=10) == []


def test_only_the_columns_of_a_group_are_at_their_mean(model: Served, examples: Examples) -> None:
    groups = group_columns(model)
    assert list(groups) == ["7d", "all", "calendar", "now", "user_row"]
    names = np.array(model.context.columns)
    assert set(names[groups["7d"]]) == {"event_count_7d"}
    assert {name.partition("[")[0] for name in names[groups["all"]]} == {"next_probabilities_all"}
    everything = np.concatenate(list(groups.values()))
    assert len(set(everything.tolist())) == len(everything) == len(names)
    assert len(groups["calendar"]) == 9
    assert names[groups["user_row"]].tolist() == [
        *(f"user_row[{place}]" for place in range(3)),
        "user_row:total",
    ]
    context = model.context.transform(examples)
    reasons = without_groups(model, examples)
    assert [reason.group for reason in reasons] == list(groups)
    for reason in reasons:
        changed = context.copy()
        changed[0, groups[reason.group]] = model.means[groups[reason.group]]
        expected = model.predict_encoded(examples, changed)[0]
        assert reason.probabilities == pytest.approx(expected, abs=1e-6)
    plain = model.predict_proba(examples)[0]
    assert any(np.abs(reason.probabilities - plain).max() > 1e-4 for reason in reasons)
