"""Monitoring the pipeline: once an hour it is looked at, held against its objectives, and told of if it changed."""

from typing import Any

from prefect import flow

from tasks.alerts import HOOKS
from tasks.capacity import check_backlog, check_capacity
from tasks.error_rates import check_error_rates
from tasks.findings import Finding, overall
from tasks.freshness import check_freshness
from tasks.metrics import write_metrics
from tasks.pipeline_news import tell_of_pipeline
from tasks.probes import probe_services
from tasks.slos import Slos


@flow(name="monitor-pipeline", **HOOKS, persist_result=True)
def monitor_pipeline(slos: Slos | None = None) -> dict[str, Any]:
    """Look at the whole pipeline once; give the worst status, every finding, and where metrics went.

    slos: thresholds and objectives; those of monitoring/slos.yml if not given.

    A pipeline that is not well does not fail the run: the look was made. Each check is told by the event
    `sales.pipeline.unhealthy` when it got worse, and by `sales.pipeline.recovered` when it is well again.
    """
    findings = tell_of_pipeline(look_at_pipeline(slos))
    metrics = write_metrics(findings)
    data = [finding.as_data() for finding in findings]
    return {"status": overall(findings), "findings": data, "metrics": metrics}


def look_at_pipeline(slos: Slos | None = None) -> list[Finding]:
    """Probe the services, then look side by side at what those that answer can tell."""
    findings = probe_services(slos)
    away = {finding.check for finding in findings if finding.status == "fail"}
    looks = []
    if "available warehouse" not in away:
        looks += [check.submit(slos) for check in (check_freshness, check_error_rates, check_capacity)]
    if "available kafka" not in away:
        looks.append(check_backlog.submit(slos))
    return findings + [finding for look in looks for finding in look.result()]
