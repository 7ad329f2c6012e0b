"""Put the results into README.md and peers.md: ``python -m benchmarks.report``.

No figure there is typed by hand: each part between ``<!-- begin NAME -->`` and its end is made from
``results/NAME.json``, which only a run at full size writes.
"""

import json
import re
from pathlib import Path

from benchmarks.measurement import RESULTS
from benchmarks.tables import render

PAGES = (RESULTS.parent / "README.md", RESULTS.parent / "peers.md")
_PART = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def fill(text: str, results: Path) -> str:
    """Return `text` with each part made from the JSON in the folder `results`."""

    def part(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        path = results / f"{name}.json"
        if path.exists():
            return f"{begin}{render(json.loads(path.read_text()))}\n{end}"
        return f"{begin}**Not generated yet**: there is no `results/{name}.json`.\n{end}"

    return _PART.sub(part, text)


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(fill(page.read_text(), RESULTS))


if __name__ == "__main__":
    main()
