"""The features that models read by name."""

from __future__ import annotations

import pytest

from feature_repo.errors import BadInput
from trainer.features import SEQUENCE, Feature, sequence_features


def test_a_build_without_the_weekdays_of_events_is_refused_in_one_line() -> None:
    published = [Feature("user_sequence", name, "VARCHAR[]") for name in SEQUENCE]
    assert [feature.name for feature in sequence_features(published)] == list(SEQUENCE)
    before = [feature for feature in published if feature.name != "sequence_weekdays"]
    with pytest.raises(BadInput, match="no feature sequence_weekdays.*run trainer build") as error:
        sequence_features(before)
    assert "\n" not in str(error.value)
