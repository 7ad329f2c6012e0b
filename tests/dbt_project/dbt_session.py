"""Many dbt commands in one process: the start of dbt costs more than most builds of a test.

The session is a process beside pytest's, so that dbt's imports, environment and connections stay
out of the tests'. What depends on the process (the host's time zone, readers in parallel) is tested
with `dbt_runner.dbt` instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dbt_runner import ROOT, Build

PROJECT = ROOT / "dbt_project"
TESTS = Path(__file__).resolve().parent.parent


class DbtSession:
    """A dbt process that runs one command after the other; call it like `dbt_runner.dbt`."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "dbt.log"
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS), "TZ": "UTC"},
        )

    def __call__(
        self,
        home: Path,
        variables: dict[str, Any] | None,
        *arguments: str,
        command: str = "run",
        project: Path = PROJECT,
        env: dict[str, str] | None = None,
    ) -> Build:
        """Run ``dbt <command>`` with ``home`` as SCALESPACE_HOME; without variables, plain dbt.

        ``env`` is what dbt itself looks at while it runs; a variable that a process reads at its
        start, as TZ is, needs `dbt_runner.dbt`.
        """
        request = {
            "env": {"SCALESPACE_HOME": str(home), **(env or {})},
            "log": str(self.log),
            "arguments": [
                *(*command.split(), "--no-use-colors"),
                *("--project-dir", str(project), "--profiles-dir", str(project)),
                *(() if variables is None else ("--vars", json.dumps(variables))),
                *arguments,
            ],
        }
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        assert reply, "the dbt process died: " + self.log.read_text(errors="replace")[-2000:]
        return Build(home, json.loads(reply), self.log.read_text(encoding="utf-8"))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def parse_each_macro_once() -> None:
    """Keep Jinja's trees of the macros, which dbt only looks at.

    Half of a short command is the parsing of dbt's own 500 macros, the same ones every time.
    """
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    parse, trees = MacroFuzzEnvironment.parse, {}

    def parse_once(self: Any, source: str, *names: Any) -> Any:
        if source not in trees:
            trees[source] = parse(self, source, *names)
        return trees[source]

    MacroFuzzEnvironment.parse = parse_once


def keep_types() -> None:
    """Keep the types that dbt tries on a column of a result, and makes anew for each statement."""
    from dbt_common.clients import agate_helper

    build, made = agate_helper.build_type_tester, {}

    def build_once(text_columns: Any, string_null_values: Any = ("null", "")) -> Any:
        key = (tuple(text_columns), tuple(string_null_values or ()))
        if key not in made:
            made[key] = build(text_columns, string_null_values)
        return made[key]

    agate_helper.build_type_tester = build_once


def leave_out_debug_lines() -> None:
    """Make nothing of what dbt says to its debug log alone: no test reads that."""
    from dbt_common.events.base_types import BaseEvent, EventLevel
    from dbt_common.events.event_manager import EventManager

    make, fire = BaseEvent.__init__, EventManager.fire_event

    def make_later(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self).level_tag(self) == EventLevel.DEBUG:
            object.__setattr__(self, "arguments", (args, kwargs))
        else:
            make(self, *args, **kwargs)

    def of_message(self: Any, name: str) -> Any:
        if "pb_msg" not in vars(self):
            args, kwargs = vars(self)["arguments"]
            make(self, *args, **kwargs)
        return self.pb_msg if name == "pb_msg" else getattr(self.pb_msg, name)

    def fire_others(self: Any, e: Any, level: Any = None, *args: Any, **kwargs: Any) -> None:
        if level is not None or e.level_tag() != EventLevel.DEBUG:
            fire(self, e, level, *args, **kwargs)

    BaseEvent.__init__, BaseEvent.__getattr__ = make_later, of_message
    EventManager.fire_event = fire_others


def serve() -> None:
    """Answer requests on stdin, one a line, with dbt's exit code."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    parse_each_macro_once()
    keep_types()
    leave_out_debug_lines()
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.environ.update(request["env"])
        result = dbtRunner().invoke(request["arguments"])
        # As dbt's command line does: 1 for failed nodes, 2 for everything else.
        code = 0 if result.success else 2 if result.exception else 1
        # What the end of a process does: let go of the warehouse.
        if DuckDBConnectionManager._ENV is not None:
            DuckDBConnectionManager._ENV.close()
            DuckDBConnectionManager._ENV = None
        for name in request["env"]:
            del os.environ[name]
        sys.stdout.flush()
        sys.stderr.flush()
        print(code, file=replies, flush=True)


if __name__ == "__main__":
    serve()
