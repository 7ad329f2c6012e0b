"""Print what each store passes of Feast's universal tests; fail if ours fails one that applies."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

OURS, STOCK = "ours", "stock"
# Tests that do not apply, by what their name matches, and why.
DO_NOT_APPLY = {
    r"test_non_entity_mode_preserves_multiple_timestamps\[": (
        "expects 0.1 from a column of 32 bits; added rows take the types that are there"
    ),
    r"test_(writing_consecutively|reorder_columns|push_features_and_read).*\[.*:Table:": (
        "adds rows to a table of a database, which is opened read-only"
    ),
}


def outcomes(report: Path) -> dict[str, str]:
    """Return ``passed``, ``failed`` or ``skipped`` of each test in a JUnit report."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        failed, skipped = kinds & {"failure", "error"}, "skipped" in kinds
        name = f"{case.get('classname')}::{case.get('name')}"
        found[name] = "failed" if failed else "skipped" if skipped else "passed"
    return found


def main(home: Path) -> int:
    """Compare the reports in `home`; return 1 if ours fails a test that applies."""
    reports = {
        s: outcomes(home / f"{s}.xml") for s in (OURS, STOCK) if (home / f"{s}.xml").exists()
    }
    if OURS not in reports:
        print("error: no report of our store; the suite did not start", file=sys.stderr)
        return 1
    for store, results in reports.items():
        counts = {
            kind: sum(result == kind for result in results.values())
            for kind in ("passed", "failed", "skipped")
        }
        print(store, " ".join(f"{count} {kind}" for kind, count in counts.items()))
    names = sorted(set().union(*reports.values()))
    wrong = 0
    for name in names:
        results = {store: report[name] for store, report in reports.items() if name in report}
        if set(results.values()) - {"passed", "skipped"}:
            print(f"  {name}: " + ", ".join(f"{s} {result}" for s, result in results.items()))
        excuse = next((why for test, why in DO_NOT_APPLY.items() if re.search(test, name)), None)
        if excuse and results.get(OURS) == "failed":
            print(f"    does not apply: {excuse}")
        elif results.get(OURS) == "failed" or (
            results.get(OURS) != "passed" and results.get(STOCK) == "passed"
        ):
            wrong += 1
    if wrong:
        print(f"error: {wrong} tests that apply do not pass for ours", file=sys.stderr)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
