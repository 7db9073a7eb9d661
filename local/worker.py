"""A Prefect worker for a process pool, as a child of the command line: runs what is deployed, until it is stopped."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.settings import PROJECT, process_environment

STOP_SECONDS = 20
# The default of 15 is for servers that many workers ask.
QUERY_SECONDS = 2


def worker_command(pool: str) -> list[str]:
    """Compose the command line of a worker for this pool."""
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]


def start_worker(pool: str, api: str | None, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a worker; its output goes to `log`, or to this terminal."""
    values = {"PREFECT_WORKER_QUERY_SECONDS": str(QUERY_SECONDS)} | ({"PREFECT_API_URL": api} if api else {})
    target = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            worker_command(pool),
            cwd=PROJECT,
            env=process_environment(values),
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=target,
            start_new_session=log is not None,
            # A shell that starts jobs in the background has them ignore SIGINT, and so would the worker.
            preexec_fn=_heed_interrupts,
        )
    finally:
        if target:
            target.close()


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def working(pool: str, api: str | None, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have a worker for the time of the `with`; SIGINT stops it with the runs it has, then it is killed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    process = start_worker(pool, api, log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
