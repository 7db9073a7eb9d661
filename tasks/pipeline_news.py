"""What a look at the pipeline leaves behind: rows with their trend, a table, an event for each check that changed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run
from snowflake.connector.errors import Error

from blocks import names
from blocks.errors import SalesError
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.findings import Finding, message, worse_than
from tasks.stream_news import told_before

ARTIFACT = "sales-pipeline-health"
UNHEALTHY, RECOVERED = "sales.pipeline.unhealthy", "sales.pipeline.recovered"
LOOKS = 24
EARLIER = f"""
select check_name, measured from MONITORING.PIPELINE_HEALTH
where looked_at >= dateadd(day, -7, sysdate()) and measured is not null
qualify row_number() over (partition by check_name order by looked_at desc) <= {LOOKS}
"""  # noqa: S608
RECORD = """
insert into MONITORING.PIPELINE_HEALTH (run_id, check_name, status, observed, threshold, trend, advice, measured,
    details, looked_at)
select %s, f.value:check::varchar, f.value:status::varchar, f.value:value::varchar, f.value:threshold::varchar,
    f.value:trend::varchar, f.value:advice::varchar, f.value:measured::number(38, 6), f.value:details, sysdate()
from table(flatten(input => parse_json(%s))) f
"""


@dataclass(frozen=True)
class Changes:
    """The checks that are worse than when last told, and those that are well again."""

    worse: list[Finding]
    recovered: list[Finding]


def changes_since(before: Mapping[str, str], findings: Iterable[Finding]) -> Changes:
    """Compare each check with the status told last; one not told of yet counts as well."""
    found = list(findings)
    recovered = [f for f in found if f.status == "ok" and before.get(f.check, "ok") != "ok"]
    return Changes(worse_than(before, found), recovered)


def with_trend(finding: Finding, earlier: list[float]) -> Finding:
    """Say how the number moves against the median of earlier looks; nothing without a number or a history."""
    if finding.measured is None or not earlier:
        return finding
    usual = median(earlier)
    change = (finding.measured - usual) / abs(usual) if usual else 0.0
    moves = "steady" if abs(change) < 0.1 else f"{'up' if change > 0 else 'down'} {abs(change):.0%}"
    if not usual and finding.measured:
        moves = "up from 0"
    return replace(finding, trend=f"{moves} (median of {len(earlier)}: {usual:g})")


def with_trends(findings: list[Finding], rows: list[dict[str, Any]]) -> list[Finding]:
    """Add the trend to every finding; rows are (check_name, measured) of earlier looks."""
    earlier: dict[str, list[float]] = {}
    for row in rows:
        earlier.setdefault(row["check_name"], []).append(float(row["measured"]))
    return [with_trend(finding, earlier.get(finding.check, [])) for finding in findings]


def announce(findings: list[Finding]) -> None:
    """Emit an event for each check that got worse or is well again, then renew the artifact.

    What this look could not see keeps what was told of it: a service that is away hides no earlier fault.
    """
    before = told_before(ARTIFACT)
    changes = changes_since(before, findings)
    for event, told in ((UNHEALTHY, changes.worse), (RECOVERED, changes.recovered)):
        for finding in told:
            _emit(event, finding)
    seen = {finding.check for finding in findings}
    unseen = [
        Finding(check, status, "Not looked at.", "")  # type: ignore[arg-type]
        for check, status in before.items()
        if check not in seen and status != "ok"
    ]
    rows = [finding.as_row() | {"trend": finding.trend} for finding in [*findings, *unseen]]
    create_table_artifact(rows, key=ARTIFACT, description="The pipeline's health")


def _emit(event: str, finding: Finding) -> None:
    resource = {
        "prefect.resource.id": f"sales.pipeline.{finding.check.replace(' ', '.')}",
        "prefect.resource.name": finding.check,
    }
    state = "recovered" if event == RECOVERED else finding.status
    said = message([finding]) or f"{finding.value} Nothing is left to do."
    payload = {"subject": f"Sales pipeline: {finding.check} {state}", "message": said}
    emit_event(event, resource, payload=payload | {"finding": finding.as_data()})


@task(name="tell of the pipeline", cache_policy=NO_CACHE)
def tell_of_pipeline(findings: list[Finding]) -> list[Finding]:
    """Add trends, emit events for what changed, keep the look in MONITORING; give the findings with their trends."""
    try:
        warehouse = load_block(SalesWarehouse, names.WAREHOUSE)
        findings = with_trends(findings, warehouse.rows(EARLIER))
        data = json.dumps([finding.as_data() for finding in findings])
        with warehouse.session(query_tag="sales-monitor") as connection, connection.cursor() as cursor:
            cursor.execute(RECORD, (str(flow_run.id), data))
    except (SalesError, Error) as error:
        get_run_logger().warning("This look is not kept: %s", error)
    announce(findings)
    return findings
