"""Every published value against the naive oracle, on random logs with every nastiness."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from dbt_session import DbtSession
from oracle import OracleConfig, account
from parity import feature_differences, label_differences
from strategies import random_log, write_log

# The seeds draw settings that ask for different code; `test_the_logs_differ` says which.
LOGS = [
    (7, "csv", "offset"),
    (9, "csv", "epoch_us"),
    (19, "parquet", "naive"),
    (38, "parquet", "epoch_us"),
]

# Actions and measures that are called like what the models count inside.
CALLED_ALIKE = OracleConfig(
    actions=["conversion", "gap", "duration_known", "gaps", "measure_amount", "transition"],
    action_roles={"gap": "conversion", "transition": "intent"},
    measures={"conversion": 2, "conversion_known": 0, "conversions": 1},
    horizons={"1h": 3_600_000_000},
)
# More cells than are counted one by one.
WIDE = OracleConfig(
    actions=[f"kind_{number}" for number in range(12)],
    action_roles={"kind_3": "search", "kind_7": "conversion"},
    horizons={"1d": 86_400_000_000},
)


@pytest.mark.parametrize(
    ("seed", "form", "timestamps", "config"),
    [*((*log, None) for log in LOGS), (3, "csv", "naive", CALLED_ALIKE), (4, "csv", "naive", WIDE)],
    ids=[*(f"seed {seed}" for seed, *_ in LOGS), "called alike", "wide"],
)
def test_every_published_value_is_the_oracles(
    seed: int,
    form: str,
    timestamps: str,
    config: OracleConfig | None,
    dbt_session: DbtSession,
    tmp_path: Path,
) -> None:
    rows, config = random_log(seed, config=config)
    _, variables = write_log(rows, tmp_path, config, form=form, timestamps=timestamps)
    build = dbt_session(tmp_path / "home", variables)
    assert build.returncode == 0, build.output

    events, duplicates, rejected = account(rows, config, int(time.time() * 1e6))
    assert build.accounting == {
        "raw": len(rows),
        "accepted": len(events),
        "duplicates": duplicates,
        "rejected": {reason: count for reason, count in rejected.items() if count},
    }
    cells, found = feature_differences(build, events, config, random.Random(seed))
    assert found == []
    assert cells > 20_000
    assert label_differences(build, events, config) == []


def test_the_logs_differ() -> None:
    logs = [random_log(seed) for seed, *_ in LOGS]
    configs = [config for _, config in logs]
    assert any(config.count_simultaneous for config in configs)
    assert any(not config.count_simultaneous for config in configs)
    assert any(config.tie_order == [("file_position", True)] for config in configs)
    assert any(config.tie_order == [("batch", True)] for config in configs)
    assert {tuple(config.measures) for config in configs} >= {("amount",), ("amount", "score")}
    assert any(config.unknown_actions != "reject" for config in configs)
    assert {len(config.actions) for config in configs} == {2, 5}
    assert any("ingested_at" in rows[0] for rows, _ in logs)
    assert any("event_id" not in rows[0] and "item_id" not in rows[0] for rows, _ in logs)
