"""How tasks are tried again: a few times, with growing and jittered waits, and only what may heal.

When a flow run is run again (after a failure, a kill), most tasks find out for themselves what is done already, by
content: the world has moved on since the first try, files arrived, rows were mended, folders were removed. Only
building and judging, long and repeatable, are answered from this run's own results: see `ONCE_PER_RUN`.
"""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import Task, get_client
from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import State, TaskRun
from prefect.client.schemas.filters import (
    TaskRunFilter,
    TaskRunFilterStartTime,
    TaskRunFilterState,
    TaskRunFilterStateType,
    TaskRunFilterTags,
)
from prefect.context import TaskRunContext
from prefect.states import StateType
from prefect.tasks import exponential_backoff

from blocks.errors import may_heal

# The tag of the task by which a run takes its turn, see tasks/turns.py.
TURN = "turn"
# A run that is picked up later than this is better done anew; and servers forget runs after some weeks.
RESULTS_HOLD = timedelta(days=1)


def heals(_task: Task[Any, Any], _run: TaskRun, state: State) -> bool:
    """Decide for Prefect whether a failed task run is worth a retry; `blocks.errors.may_heal` decides."""
    try:
        state.result()
    except Exception as error:
        return may_heal(error)
    return False


def key_within_run(context: TaskRunContext, inputs: dict[str, Any]) -> str | None:
    """Name what a task did in this flow run; None, which is no caching, for a call outside a run's turn.

    The name is made of the run, the task's code, its inputs, and the turns that other runs had since this run began:
    what they did to the candidates makes our results stale. `made_of` among the inputs is the fingerprint of loads,
    events, models and checks, without which nothing tells whether the answer still holds.
    """
    run_id = context.task_run.flow_run_id
    if not run_id or not inputs.get("made_of"):
        return None
    with get_client(sync_client=True) as client:
        others = turns_of_others(client, run_id)
    given = sorted((name, repr(value)) for name, value in inputs.items())
    text = repr((str(run_id), context.task.task_key, given, others))
    return hashlib.sha256(text.encode()).hexdigest()


def turns_of_others(client: SyncPrefectClient, run_id: UUID) -> list[str]:
    """List the turns (ids of their task runs) that other runs took since this run was first started."""
    began = client.read_flow_run(run_id).start_time
    taken = client.read_task_runs(
        task_run_filter=TaskRunFilter(
            tags=TaskRunFilterTags(all_=[TURN]),
            start_time=TaskRunFilterStartTime(after_=began),
            state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.COMPLETED])),
        )
    )
    return sorted(str(turn.id) for turn in taken if turn.flow_run_id != run_id)


RETRY: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": heals,
    "cache_policy": NO_CACHE,
}
ONCE_PER_RUN: dict[str, Any] = RETRY | {
    "cache_policy": CacheKeyFnPolicy(cache_key_fn=key_within_run),
    "cache_expiration": RESULTS_HOLD,
    # Read by a person, and by a later version of our classes.
    "result_serializer": "json",
}
