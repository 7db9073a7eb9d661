"""Ending processes for certain: whole groups, and what a killed service has left in a folder."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

TERMINATE_SECONDS, POLL_SECONDS = 3, 0.1


async def end_group(group: int) -> None:
    """End a process group: politely, then for certain."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(group, number)
        if await group_gone(group, TERMINATE_SECONDS):
            return


async def group_gone(group: int, seconds: float) -> bool:
    """Wait until a process group has no living member; tell whether that came about in time."""
    deadline = time.monotonic() + seconds
    while _processes(lambda process: os.getpgid(process.pid) == group):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def kill_in_folder(folder: Path) -> None:
    """Kill every process whose working directory is `folder`, and see it gone."""
    left = _processes(lambda process: process.cwd() == str(folder))
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=TERMINATE_SECONDS)


def _processes(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """List living processes; a zombie, which nobody may be there to reap, does not count."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if wanted(process) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
