"""Many dbt commands in one process: the start of dbt costs more than most builds of a test.

The session is a process beside pytest's, so that dbt's imports, environment and connections stay
out of the tests'. What depends on the process (the host's time zone, readers in parallel) is tested
with `dbt_runner.dbt` instead.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bare_project import PROJECT, bare_project
from dbt_runner import Build

TESTS = Path(__file__).resolve().parent.parent


class Started:
    """A dbt command in a process of its own, a fork of the session's, which may be killed."""

    def __init__(self, ask: Callable[[dict[str, Any]], int], request: dict[str, Any]) -> None:
        self._ask, self._log = ask, Path(request["log"])
        self.pid = ask({**request, "fork": True})

    @property
    def output(self) -> str:
        """What it has said until now."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until it says something."""
        end = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < end, self.output
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code; minus the signal that ended it."""
        return self._ask({"wait": self.pid})


class DbtSession:
    """A dbt process that runs one command after the other; call it like `dbt_runner.dbt`."""

    def __init__(self, folder: Path) -> None:
        self.log, self._numbers = folder / "dbt.log", itertools.count()
        self._bare = bare_project(folder)
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS / 'dbt_project'}", "TZ": "UTC"},
        )

    def __call__(
        self,
        home: Path,
        variables: dict[str, Any] | None,
        *arguments: str,
        command: str = "run",
        project: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> Build:
        """Run ``dbt <command>`` with ``home`` as SCALESPACE_HOME; without variables, plain dbt.

        ``dbt run`` is given the project without its tests, which it only parses.

        ``env`` is what dbt itself looks at while it runs; a variable that a process reads at its
        start, as TZ is, needs `dbt_runner.dbt`.
        """
        project = project or (self._bare if command == "run" else PROJECT)
        options = ("--vars", json.dumps(variables)) if variables is not None else ()
        code = self._ask(
            {
                "env": {"SCALESPACE_HOME": str(home), **(env or {})},
                "log": str(self.log),
                "arguments": _arguments(command, project, *options, *arguments),
            }
        )
        return Build(home, code, self.log.read_text(encoding="utf-8"))

    def start(self, home: Path, variables: dict[str, Any], project: Path) -> Started:
        """Begin ``dbt run``, and go on beside it."""
        request = {
            "env": {"SCALESPACE_HOME": str(home)},
            "log": str(self.log.with_name(f"started-{next(self._numbers)}.log")),
            # dbt's static parser has threads, which a fork leaves behind.
            "arguments": _arguments(
                "run", project, "--no-static-parser", "--vars", json.dumps(variables)
            ),
        }
        return Started(self._ask, request)

    def _ask(self, request: dict[str, Any]) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        assert reply, "the dbt process died: " + self.log.read_text(errors="replace")[-2000:]
        return json.loads(reply)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def _arguments(command: str, project: Path, *more: str) -> list[str]:
    places = ("--project-dir", str(project), "--profiles-dir", str(project))
    return [*command.split(), "--no-use-colors", *places, *more]


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


def compile_each_template_once() -> None:
    """Keep the code that Jinja makes of a text: macros and models are the same ones every time."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    compile_template, made = MacroFuzzEnvironment.compile, {}

    def compile_once(self: Any, source: Any, *names: Any, **options: Any) -> Any:
        if not isinstance(source, str) or names or options:
            return compile_template(self, source, *names, **options)
        # Of the environments dbt makes one a text; those of a class differ in nothing but
        # what an undefined name is, which the code asks them for.
        key = (type(self), source)
        if key not in made:
            made[key] = compile_template(self, source)
        return made[key]

    MacroFuzzEnvironment.compile = compile_once


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


def write_json_at_once() -> None:
    """Let the encoder in C make the manifest a text; to a file, the one in Python writes."""
    json.dump = lambda content, file, **options: file.write(json.dumps(content, **options))


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
    import dbt.cli.main  # noqa: F401 - before the patches

    # The first project's plugins serve all: they find a log beside the project that is ours.
    sys.path.append(str(PROJECT / "plugins"))
    importlib.import_module("scalespace_files")
    parse_each_macro_once()
    compile_each_template_once()
    keep_types()
    write_json_at_once()
    leave_out_debug_lines()
    # The search for garbage is a quarter of a build, and finds next to nothing while it runs.
    gc.disable()
    replies = os.fdopen(os.dup(1), "w")
    for number, line in enumerate(sys.stdin):
        if number % 3 == 2:
            gc.collect()
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), file=replies, flush=True)
        elif "fork" not in request:
            print(run(request), file=replies, flush=True)
        elif child := os.fork():
            print(child, file=replies, flush=True)
        else:
            os._exit(run(request))


def run(request: dict[str, Any]) -> int:
    """Run one command of dbt, and return its exit code."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

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
    return code


if __name__ == "__main__":
    serve()
