"""What a look at the stream leaves behind: rows for the next look, a table to read, an event if there is news.

MONITORING.STREAM_HEALTH keeps every look, so that the next one sees what moved. What was told last is in the
artifact, which is there when the warehouse is not.
"""

import json
from typing import cast

from prefect import get_run_logger, task
from prefect.artifacts import Artifact, create_table_artifact
from prefect.events import emit_event
from prefect.runtime import flow_run

from blocks import names
from blocks.errors import SalesError, WillNotHeal
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.findings import Finding, message, news_since, overall
from tasks.retries import RETRY

ARTIFACT = "sales-stream-health"
UNHEALTHY, RECOVERED = "sales.stream.unhealthy", "sales.stream.recovered"
RESOURCE = {"prefect.resource.id": f"sales.stream.{names.TOPIC}", "prefect.resource.name": names.TOPIC}
# Without these no event can land, so there is nothing to wait for.
CARRIERS = frozenset({"brokers", "topics", "connector"})
RECORD = """
insert into MONITORING.STREAM_HEALTH (run_id, check_name, status, observed, threshold, advice, measured, details,
    looked_at)
select %s, f.value:check::varchar, f.value:status::varchar, f.value:value::varchar, f.value:threshold::varchar,
    f.value:advice::varchar, f.value:measured::number(38, 3), f.value:details, sysdate()
from table(flatten(input => parse_json(%s))) f
"""


def record(warehouse: SalesWarehouse, run_id: str, findings: list[Finding]) -> None:
    """Keep a look in MONITORING.STREAM_HEALTH, a row for each finding."""
    data = json.dumps([finding.as_data() for finding in findings])
    with warehouse.session(query_tag="sales-stream-health") as connection, connection.cursor() as cursor:
        cursor.execute(RECORD, (run_id, data))


def announce(findings: list[Finding]) -> None:
    """Emit `sales.stream.unhealthy` if something is worse than when last told, `…recovered` once it is not.

    Both carry {status, subject, message, findings}; an automation turns them into a Slack message. The
    artifact is renewed only after that, so a kill in between tells twice rather than never.
    """
    news = news_since(told_before(), findings)
    facts = {"status": overall(findings), "findings": [finding.as_data() for finding in findings]}
    if news.worse:
        subject = f"Sales stream: {', '.join(f'{f.check} {f.status}' for f in news.worse)}"
        emit_event(UNHEALTHY, RESOURCE, payload=facts | {"subject": subject, "message": message(findings)})
    if news.recovered:
        subject = f"Sales stream: recovered ({', '.join(news.recovered)})"
        said = message(findings) or "All checks are well again; nothing is left to do."
        emit_event(RECOVERED, RESOURCE, payload=facts | {"subject": subject, "message": said})
    create_table_artifact([f.as_row() for f in findings], key=ARTIFACT, description="The stream's health")


def told_before(artifact_key: str = ARTIFACT) -> dict[str, str]:
    """Read the status of each check as it was told last."""
    artifact = cast("Artifact | None", Artifact.get(artifact_key))
    rows = json.loads(str(artifact.data)) if artifact and artifact.data else []
    return {row["check"]: row["status"] for row in rows}


@task(name="tell of the stream", **RETRY)
def tell_of_stream(findings: list[Finding]) -> None:
    """Write a look to MONITORING, show it as an artifact, and emit an event if there is news."""
    announce(findings)
    try:
        record(load_block(SalesWarehouse, names.WAREHOUSE), str(flow_run.id), findings)
    except SalesError as error:
        get_run_logger().warning("This look is not kept: %s", error)


def why_left_out(findings: list[Finding], required: bool) -> str:
    """Say why the stream cannot deliver, empty if it can. Raises WillNotHeal with it if the stream is required."""
    broken = [f for f in findings if f.check in CARRIERS and f.status == "fail"]
    reason = message(broken)
    if broken and required:
        raise WillNotHeal(f"The stream cannot deliver, and this run requires it (require_stream).\n{reason}")
    return reason
