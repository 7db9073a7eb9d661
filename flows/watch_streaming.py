"""Watching the stream: every few minutes it is looked at, healed where a restart can, and told of if it got worse."""

from typing import Any

from prefect import flow

from tasks.alerts import HOOKS
from tasks.connector_healing import heal_connector
from tasks.findings import Finding, overall
from tasks.stream_limits import LIMITS, StreamLimits
from tasks.stream_news import tell_of_stream
from tasks.stream_watch import check_flow, check_topics


@flow(
    name="watch-streaming",
    **HOOKS,
    persist_result=True,
)
def watch_streaming(limits: StreamLimits = LIMITS) -> dict[str, Any]:
    """Look at the stream once; give the worst status and every finding.

    limits: what the checks hold it against, see tasks/stream_limits.py.

    A stream that is not well does not fail the run: the look was made. It is told by the event
    `sales.stream.unhealthy`, once until something gets worse, and by `sales.stream.recovered`.
    """
    findings = look_at_stream(limits)
    return {"status": overall(findings), "findings": [finding.as_data() for finding in findings]}


def look_at_stream(limits: StreamLimits) -> list[Finding]:
    """Check the brokers and topics, heal the connector, check how events flow, and tell what is new."""
    findings = check_topics()
    findings = [*findings, heal_connector(limits)]
    if all(finding.status != "fail" for finding in findings if finding.check in ("brokers", "topics")):
        findings += check_flow(limits)
    tell_of_stream(findings)
    return findings
