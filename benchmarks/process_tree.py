"""Time and memory of a process with all that it starts: Spark's work is done in a Java process."""

import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measurement import Failed, Finished, start

EVERY_S = 0.2
TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def run_tree(command: Sequence[str], env: Mapping[str, str] | None = None) -> Finished:
    """Run `command` to its end in the repository's root, as `measurement.run`, and watch its tree.

    The peak is that of the sum over all living processes, looked at five times a second; the CPU
    time that of each process when it was last seen.

    Raises
    ------
    Failed
        If the command fails.
    """
    cpu: dict[int, float] = {}
    peak = 0.0
    ended = threading.Event()

    def watch(root: int) -> None:
        nonlocal peak
        while not ended.wait(EVERY_S):
            resident = 0
            for pid in tree(root):
                seconds, pages = _usage(pid)
                cpu[pid] = max(seconds, cpu.get(pid, 0.0))
                resident += pages
            peak = max(peak, resident * _PAGE / 2**20)

    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = start(command, env, output)
        watcher = threading.Thread(target=watch, args=(process.pid,), daemon=True)
        watcher.start()
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            ended.set()
            watcher.join()
        seconds = time.perf_counter() - started
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code:
        raise Failed.with_end(f"ended with {code}", command, text)
    return Finished(seconds, sum(cpu.values()), peak, text)


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        fields = stat_fields(int(path.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(path.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _usage(pid: int) -> tuple[float, int]:
    """CPU seconds so far, and resident pages; nothing for a process that is gone."""
    fields = stat_fields(pid)
    if not fields:
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21])


def stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third on; none of a process that is gone.

    They follow the program's name, which may hold anything and ends with the last bracket.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
