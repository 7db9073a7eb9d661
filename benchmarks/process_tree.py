"""What a process and all its descendants cost: time, CPU seconds, peak memory."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    """What one run has cost; `load` is the machine's one-minute load average as it ended."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    load: float


class Failed(Exception):
    """A measured process ended badly; the text has the end of what it said."""


def measure(
    command: list[str], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Cost:
    """Run a command to its end and say what it and its descendants cost; its output goes to `log`.

    Memory is the resident set, summed over the processes, so that pages they share count twice. Both it and
    CPU time are sampled ten times a second: what a process does in its last tenth is missed. A process counts
    from the second look on: until a child of Java runs its own program, its memory is Java's, counted again.
    """
    cpu: dict[int, float] = {}
    start, peak = time.monotonic(), 0
    with log.open("wb") as output:
        process = psutil.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT, cwd=cwd)
        while process.poll() is None:
            peak = max(peak, _sample(process, cpu))
            time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - start
    if process.returncode:
        raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return Cost(seconds, sum(cpu.values()), peak, os.getloadavg()[0])


def _sample(root: psutil.Process, cpu: dict[int, float]) -> int:
    """Note every process's CPU seconds so far and give the bytes resident in all of them."""
    resident = 0
    try:
        for process in (root, *root.children(recursive=True)):
            with process.oneshot():
                times, is_known = process.cpu_times(), process.pid in cpu
                cpu[process.pid] = times.user + times.system
                resident += process.memory_info().rss if is_known else 0
    except psutil.NoSuchProcess:  # ended while we looked
        pass
    return resident
