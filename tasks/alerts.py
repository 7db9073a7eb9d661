"""Alerts: a run that ended badly, or well again, tells it by one event; automations turn events into messages.

Crashes are not told here: where the process is gone no hook runs, so the server tells of them all, in
monitoring/automations.yml.
"""

import traceback
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from prefect import Flow, Task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun, State
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import emit_event

from blocks.errors import SalesError
from tasks.automations import late_after
from tasks.expectations import check_layer

FAILED, GATE_FAILED, RECOVERED = "sales.run.failed", "sales.gate.failed", "sales.run.recovered"
# The first line says what failed, the next ones which checks or models.
REASON_LINES = 10
# Runs of a flow with other parameters lie between two with the same.
RUNS_LOOKED_AT = 50
BAD_ENDS = ("FAILED", "CRASHED")


def tell_of_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Emit `sales.run.failed`, or `sales.gate.failed` if the quality gate stopped the run; a flow's failure hook.

    The payload is that of `failure`. A run inside another is left to the outer one, so that it is told once.
    """
    if flow_run.parent_task_run_id is None:
        error = state.result(raise_on_failure=False)
        told = failure(
            flow.name, flow_run.name, error if isinstance(error, Exception) else None, state.message
        )
        _emit(GATE_FAILED if told["failing_task"] == check_layer.name else FAILED, flow, flow_run, told)


def tell_of_recovery(flow: Flow[..., Any], flow_run: FlowRun, _state: State[Any]) -> None:
    """Emit `sales.run.recovered` if the run is the first good one after a bad one or a late time; a completion hook.

    The server is asked what went before, so it is told once, by whichever machine the run is on.
    """
    if flow_run.parent_task_run_id is None:
        with get_client(sync_client=True) as client:
            tries = [state.type.value for state in client.read_flow_run_states(flow_run.id)]
            before = _runs_before(client, flow_run)
        if since := recovered_from(flow_run, tries, before, late_after(flow.name)):
            told = {
                "subject": f"{flow.name} recovered: {flow_run.name}",
                "message": f"It completed, after {since}.",
            }
            _emit(RECOVERED, flow, flow_run, told)


HOOKS: dict[str, Any] = {"on_failure": [tell_of_failure], "on_completion": [tell_of_recovery]}


def failure(flow: str, run: str, error: Exception | None, state_message: str | None) -> dict[str, str]:
    """Compose what is told of a failed run: {flow, run, failing_task, error, subject, message}.

    `error` is the first line, `message` has the next ones too, for they say which checks or models.
    """
    lines = reason(error, state_message)
    task = failing_task(error) or ""
    return {
        "flow": flow,
        "run": run,
        "failing_task": task,
        "error": lines[0],
        "subject": f"{flow} Failed: {run}",
        "message": "\n".join(
            [f"Failing task: {task or 'none, it is the flow itself'}", f"Error: {lines[0]}", *lines[1:]]
        ),
    }


def reason(error: Exception | None, state_message: str | None) -> list[str]:
    """Give the first lines of why; the class is named where the text was not written for people."""
    text = (
        str(error) if isinstance(error, SalesError) else f"{type(error).__name__}: {error}" if error else ""
    )
    return (text or state_message or "no message").strip().splitlines()[:REASON_LINES]


def failing_task(error: BaseException | None) -> str | None:
    """Name the innermost task that an error came through, or the error behind it; None if it was in none.

    The traceback knows at once, while the server learns of a task's end some time after the flow's.
    """
    names = [name for each in _behind(error) for name in _tasks_in(each)]
    return names[-1] if names else None


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _tasks_in(error: BaseException) -> Iterator[str]:
    for frame, _line in traceback.walk_tb(error.__traceback__):
        found = frame.f_globals.get(frame.f_code.co_name)
        if isinstance(found, Task) and found.fn.__code__ is frame.f_code:
            yield found.name


def recovered_from(
    run: FlowRun, tries: Sequence[str], before: Sequence[FlowRun], late: timedelta | None
) -> str | None:
    """Say what a completed run recovers from; None if all was well.

    tries: types of the states the run itself has had; a failed one that was retried is among them.
    before: runs of the flow that ended earlier, newest first.
    late: how long the flow may be without a success; only what is scheduled can be late.
    """
    if bad := next((each for each in tries if each in BAD_ENDS), None):
        return f"the same run had {bad.lower()}"
    alike = next((each for each in before if each.parameters == run.parameters), None)
    if alike and alike.state_type and alike.state_type.value in BAD_ENDS:
        return f"run {alike.name} had {alike.state_type.value.lower()} at {alike.end_time:%Y-%m-%d %H:%M} UTC"
    good = next((each for each in before if each.state_type and each.state_type.value == "COMPLETED"), None)
    if run.auto_scheduled and late and good and good.end_time and run.start_time:
        waited = run.start_time - good.end_time
        return f"{waited.total_seconds() / 3600:.1f} hours without a success" if waited > late else None
    return None


def _runs_before(client: SyncPrefectClient, run: FlowRun) -> list[FlowRun]:
    ended = {"type": {"any_": [*BAD_ENDS, "COMPLETED"]}}
    wanted = {"state": ended, "parent_task_run_id": {"is_null_": True}}
    runs = client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"id": {"any_": [run.flow_id]}}),
        flow_run_filter=FlowRunFilter.model_validate(wanted),
        sort=FlowRunSort.END_TIME_DESC,
        limit=RUNS_LOOKED_AT,
    )
    return [each for each in runs if each.id != run.id]


def _emit(event: str, flow: Flow[..., Any], run: FlowRun, payload: dict[str, str]) -> None:
    """Emit an event that belongs to the run, so that the server can make its link and shows it with the run."""
    emit_event(
        event,
        resource={"prefect.resource.id": f"sales.run.{flow.name}", "prefect.resource.name": flow.name},
        related=[
            {
                "prefect.resource.id": f"prefect.flow-run.{run.id}",
                "prefect.resource.name": run.name,
                "prefect.resource.role": "flow-run",
            }
        ],
        payload=payload,
    )
