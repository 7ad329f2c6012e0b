"""What `build` says of dbt's output; the build itself is tested with the dbt project."""

from __future__ import annotations

from trainer.build import accounting_line, explain_failure

REFUSED = """\
scalespace: nothing was published, what was published before stays in force: 117 nodes failed
Completed with 1 error, 0 partial successes, and 0 warnings:
Failure in model base_events (models/staging/base_events.sql)
  Compilation Error in model base_events (models/staging/base_events.sql)
  scalespace: data/c.csv: no column 'time_stamp'; it has user_id, action_type, ts

  > in macro bad_input (macros/dataset/literals.sql)
Done. PASS=2 WARN=0 ERROR=1 SKIP=116 NO-OP=0 TOTAL=119
""".splitlines()

BROKEN = """\
Running with dbt=1.11.16
Runtime Error in model stg_events (models/staging/stg_events.sql)
  Out of Memory Error: could not allocate block

Done. PASS=2 WARN=0 ERROR=1
""".splitlines()


def test_the_project_s_own_line_is_shown() -> None:
    line = explain_failure(REFUSED, "data/c.yml")
    assert line == "data/c.yml: data/c.csv: no column 'time_stamp'; it has user_id, action_type, ts"


def test_any_other_failure_is_one_line() -> None:
    line = explain_failure(BROKEN, "data/c.yml")
    assert line.startswith("data/c.yml: dbt build failed: Runtime Error in model stg_events")
    assert "could not allocate block" in line
    assert "\n" not in line
    assert explain_failure([], "data/c.yml") == "data/c.yml: dbt build failed: it said nothing"


def test_the_accounting_adds_up() -> None:
    rejected = {"null_user": 2, "bad_timestamp": 0, "unknown_action": 1}
    line = accounting_line({"raw": 1010, "accepted": 1000, "duplicates": 7, "rejected": rejected})
    assert line == (
        "raw 1,010 = accepted 1,000 + duplicates 7 + rejected 3 (null_user 2, unknown_action 1)"
    )
