"""Error rates over windows of time, and how fast they burn the error budgets: runs, loads, validations, freshness."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterEndTime,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

from blocks import names
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.findings import Finding
from tasks.slos import Slo, Slos, judge, judge_burn, read_slos

Counts = dict[tuple[str, int], tuple[float, float]]
BAD, GOOD = [StateType.FAILED, StateType.CRASHED], [StateType.COMPLETED]
# (bad, total) of each component over each window given as JSON; only rows of the widest window are read.
WINDOWS = """
with windows as (
    select f.value::number(38, 0) as seconds from table(flatten(input => parse_json(%(windows)s))) f
),
seen as (
    select iff(unit_kind = 'file', 'errors quarantine', 'errors dead_letters') as component,
        loaded_at as at, rows_quarantined as bad, rows_read as total
    from MONITORING.LOAD_AUDIT where loaded_at >= dateadd(second, -%(widest)s, sysdate())
    union all
    select 'errors validations', judged_at, iff(success or severity = 'warn', 0, 1), 1
    from MONITORING.VALIDATION_RESULTS where judged_at >= dateadd(second, -%(widest)s, sysdate())
    union all
    select check_name, looked_at, iff(status = 'fail', 1, 0), 1
    from MONITORING.PIPELINE_HEALTH
    where looked_at >= dateadd(second, -%(widest)s, sysdate()) and startswith(check_name, 'fresh ')
)
select component, seconds, sum(bad) as bad, sum(total) as total
from seen inner join windows on seen.at >= dateadd(second, -windows.seconds, sysdate())
group by component, seconds
"""


def warehouse_counts(warehouse: SalesWarehouse, windows: Iterable[int]) -> Counts:
    """Count (bad, total) by component and window: lines and events, validations, looks at freshness."""
    given = sorted(set(windows))
    rows = warehouse.rows(WINDOWS, {"windows": str(given), "widest": given[-1]})
    return {(row["component"], int(row["seconds"])): (float(row["bad"]), float(row["total"])) for row in rows}


def run_counts(client: SyncPrefectClient, windows: Iterable[int]) -> Counts:
    """Count (bad, total) of flow and task runs that ended within each window, by the Prefect API."""
    found: Counts = {}
    for seconds in set(windows):
        since = datetime.now(UTC) - timedelta(seconds=seconds)
        flows = [client.count_flow_runs(flow_run_filter=_flow_runs(states, since)) for states in (BAD, GOOD)]
        tasks = [_count_task_runs(client, states, since) for states in (BAD, GOOD)]
        found["errors flow_runs", seconds] = (flows[0], sum(flows))
        found["errors task_runs", seconds] = (tasks[0], sum(tasks))
    return found


def _flow_runs(states: list[StateType], since: datetime) -> FlowRunFilter:
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=states))
    return FlowRunFilter(state=state, end_time=FlowRunFilterEndTime(after_=since))


def _count_task_runs(client: SyncPrefectClient, states: list[StateType], since: datetime) -> int:
    state = TaskRunFilterState(type=TaskRunFilterStateType(any_=states))
    wanted = TaskRunFilter(state=state, end_time=TaskRunFilterEndTime(after_=since))
    # The client has no method for this route of the API.
    answer = client.request("POST", "/task_runs/count", json={"task_runs": wanted.model_dump(mode="json")})
    answer.raise_for_status()
    return int(answer.json())


def judge_share(slo: Slo, bad: float, total: float, seconds: int) -> Finding:
    """Judge the share of bad ones among all; of fewer than `at_least` it says nothing."""
    share = bad / total if total else 0.0
    value = f"{bad:,.0f} of {total:,.0f} ({share:.1%}) over {seconds / 3600:g} h"
    if total < slo.at_least:
        return Finding(slo.name, "ok", f"{value}: too few to judge.", f"under {slo.warn:g} of them", "", 0.0)
    return judge(slo.name, round(share, 6), f"{value}.", slo, "", "More go wrong than is allowed.")


def judge_counts(counts: Counts, slos: Slos) -> list[Finding]:
    """Judge every share over its window, and the burn of every objective over the fast and the slow one."""
    known: Counts = defaultdict(lambda: (0.0, 0.0), counts)
    found = []
    for slo in slos.slos:
        if slo.name.startswith("errors "):
            seconds = slos.windows["look_seconds" if slo.name.endswith("_runs") else "data_seconds"]
            found.append(judge_share(slo, *known[slo.name, seconds], seconds))
        if slo.objective is not None and slo.name != "fresh feeds":
            fast, slow = (known[slo.name, slos.burn[name].seconds] for name in ("fast", "slow"))
            found.append(judge_burn(slo, fast, slow, slos.burn))
    return found


@task(name="check error rates", cache_policy=NO_CACHE)
def check_error_rates(slos: Slos | None = None) -> list[Finding]:
    """See what share of runs, lines, events and validations went wrong, and how fast that burns the budgets."""
    declared = slos or read_slos()
    windows = [*declared.windows.values(), *(burn.seconds for burn in declared.burn.values())]
    with get_client(sync_client=True) as client:
        runs = run_counts(client, windows)
    counts: dict[Any, Any] = runs | warehouse_counts(load_block(SalesWarehouse, names.WAREHOUSE), windows)
    return judge_counts(counts, declared)
