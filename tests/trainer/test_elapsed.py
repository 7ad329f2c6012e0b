"""The trainer's elapsed inputs and the store's on-demand view are one value."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo.on_demand import elapsed_name, seconds_since
from trainer.inputs import FeatureEncoder

ASKED = np.datetime64("2024-03-10T12:00:00.750000", "us")


def test_they_differ_by_less_than_a_second_and_only_in_the_time_of_asking() -> None:
    rng = np.random.default_rng(1)
    back = np.concatenate([[0, 1, 999_999, 1_000_000], rng.integers(0, 10**14, 500)])
    since = ASKED - back.astype("timedelta64[us]")
    since[5] = ASKED + np.timedelta64(5, "s")
    column = pa.array(since).take(pa.array([*range(len(since)), None], pa.int64()))
    asked = np.full(len(column), ASKED)

    frame = pd.DataFrame({"asked_at": asked, "last_action_at": column.to_pandas()})
    name = elapsed_name("last_action_at")
    on_demand = seconds_since(frame, {name: "last_action_at"})[name]

    table = pa.table({"last_action_at": column})
    encoder = FeatureEncoder.fit(table, {"last_action_at": "TIMESTAMP"}, asked, clip=1e9)
    (code,) = encoder.codes
    encoded = encoder.transform(table, asked).astype(np.float64)
    logs = encoded[:-1, 0] / code.scale[0] + code.mean[0]
    trained = np.log1p(on_demand[:-1].to_numpy(np.float64) * 1000 + 750)
    trained[5] = 0.0  # what lies after the time of asking is 0 in both
    assert np.abs(logs - trained).max() < 1e-4
    assert pd.isna(on_demand.iloc[-1]) and encoded[-1, 1] == 1.0
    assert on_demand[:6].tolist() == [0, 0, 1, 1, on_demand[4], 0]
