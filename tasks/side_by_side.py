"""Work done side by side for a limited time: what has not ended by then is left behind, not waited for."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import TypeVar

Answer = TypeVar("Answer")


def within(seconds: float, work: Mapping[str, Callable[[], Answer]]) -> dict[str, Answer]:
    """Do every piece of work at once; give the answers that came within so many seconds, by name.

    The work answers whatever happens: an error that it lets through is as good as no answer.
    """
    done: queue.Queue[tuple[str, Answer]] = queue.Queue()

    def answer(name: str, do: Callable[[], Answer]) -> None:
        done.put((name, do()))

    for name, do in work.items():
        # Each in a context of its own, since Prefect's settings are context variables; daemons, since what hangs
        # must not keep the process from ending.
        threading.Thread(target=copy_context().run, args=(answer, name, do), daemon=True).start()
    answers: dict[str, Answer] = {}
    deadline = time.monotonic() + seconds
    while len(answers) < len(work):
        try:
            name, found = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        answers[name] = found
    return answers
