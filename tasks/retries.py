"""How tasks are tried again: a few times, with growing and jittered waits, and only what may heal.

No task is answered from a cache when a flow run is retried: the world has moved on since the first try (files
arrived, rows were mended). Each task finds out for itself what is done already, by content.
"""

from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State, TaskRun
from prefect.tasks import exponential_backoff

from blocks.errors import may_heal


def heals(_task: Task[Any, Any], _run: TaskRun, state: State) -> bool:
    """Decide for Prefect whether a failed task run is worth a retry; `blocks.errors.may_heal` decides."""
    try:
        state.result()
    except Exception as error:
        return may_heal(error)
    return False


RETRY: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": heals,
    "cache_policy": NO_CACHE,
}
