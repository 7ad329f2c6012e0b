"""The dataset files of public logs, on a few hand-written rows in each log's exact form."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbt_runner import ROOT, Build

FORMS = ROOT / "tests" / "data" / "forms"
EXPECTED: dict[str, Any] = yaml.safe_load((FORMS / "expected.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_dataset_file_reads_the_log_as_it_is_downloaded(
    name: str, stage: Callable[..., Build], warehouse: Callable[..., Any], tmp_path: Path
) -> None:
    variables = yaml.safe_load((ROOT / "data" / f"{name}.yml").read_text(encoding="utf-8"))
    build = stage(tmp_path / "home", {**variables, "events_path": str(FORMS / f"{name}.csv")})
    assert build.returncode == 0, build.output

    assert build.accounting == EXPECTED[name]["accounting"]
    accepted = warehouse(
        build, "select user_id, action_type, event_timestamp from stg_events order by all"
    )
    assert accepted == sorted(
        (user, action, datetime.fromisoformat(instant))
        for user, action, instant in EXPECTED[name]["accepted"]
    )
    reasons = warehouse(
        build, "select reason, count(*) from stg_events__rejected group by reason order by reason"
    )
    assert dict(reasons) == EXPECTED[name]["accounting"]["rejected"]
