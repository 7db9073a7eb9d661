"""Findings as metrics: to CloudWatch in batches, and to a file that Prometheus reads."""

import time
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prometheus_client.core import GaugeMetricFamily, Metric

from blocks import names
from blocks.errors import MayHeal, SalesError
from blocks.load import load_block
from blocks.monitoring import MetricsTarget
from streaming.exposition import write_snapshot
from tasks.findings import RANK, Finding

# PutMetricData takes at most 1,000 metrics at once.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
BATCH = 1000


def data_points(findings: list[Finding], environment: str) -> list[dict[str, Any]]:
    """Give PutMetricData's data: for each check <Kind>Status (0 ok, 1 warn, 2 fail), and <Kind> where it has a number.

    Dimensions are Environment and Component.
    """
    points = []
    for finding in findings:
        kind, component = finding.check.split(" ", 1)
        dimensions = [
            {"Name": "Environment", "Value": environment},
            {"Name": "Component", "Value": component},
        ]
        values = {f"{kind.capitalize()}Status": float(RANK[finding.status])}
        if finding.measured is not None and isfinite(finding.measured):
            values[kind.capitalize()] = float(finding.measured)
        points += [{"MetricName": n, "Value": v, "Dimensions": dimensions} for n, v in values.items()]
    return points


def put_metrics(target: MetricsTarget, findings: list[Finding]) -> int:
    """Send findings to CloudWatch; give the number of metrics, 0 if no namespace is configured. Raises MayHeal."""
    if not target.cloudwatch_namespace:
        return 0
    points = data_points(findings, target.environment)
    quick = Config(connect_timeout=3, read_timeout=5, retries={"max_attempts": 2, "mode": "standard"})
    try:
        parameters = target.aws.aws_client_parameters.get_params_override()
        parameters["config"] = quick.merge(parameters["config"]) if parameters.get("config") else quick
        client = target.aws.get_boto3_session().client("cloudwatch", **parameters)
        for batch in _batches(points):
            client.put_metric_data(Namespace=target.cloudwatch_namespace, MetricData=batch)
    except (BotoCoreError, ClientError) as error:
        raise MayHeal(
            f"CloudWatch did not take the metrics: {error}",
            f"The identity of the block {names.METRICS} needs cloudwatch:PutMetricData.",
        ) from error
    return len(points)


def _batches(points: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(points), BATCH):
        yield points[start : start + BATCH]


def as_gauges(findings: list[Finding], environment: str) -> list[Metric]:
    """Give findings as Prometheus's gauges, labelled by environment, kind and component."""
    labels = ["environment", "kind", "component"]
    status = GaugeMetricFamily("sales_check_status", "0 ok, 1 warn, 2 fail.", labels=labels)
    value = GaugeMetricFamily("sales_check_value", "The number behind a check, in its unit.", labels=labels)
    looked = GaugeMetricFamily(
        "sales_pipeline_looked_at_seconds", "Unix time of the look.", value=time.time()
    )
    for finding in findings:
        where = [environment, *finding.check.split(" ", 1)]
        status.add_metric(where, RANK[finding.status])
        if finding.measured is not None and isfinite(finding.measured):
            value.add_metric(where, finding.measured)
    return [status, value, looked]


@task(name="write metrics", cache_policy=NO_CACHE)
def write_metrics(findings: list[Finding]) -> dict[str, str]:
    """Write the findings where metrics are configured to go; say for each place what became of them."""
    target = load_block(MetricsTarget, names.METRICS)
    if target.file:
        write_snapshot(Path(target.file), as_gauges(findings, target.environment))
    try:
        sent = put_metrics(target, findings)
    except SalesError as error:
        get_run_logger().warning("%s", error)
        return {"cloudwatch": str(error), "file": target.file or "not configured"}
    cloudwatch = f"{sent} metrics sent" if target.cloudwatch_namespace else "not configured"
    get_run_logger().info("CloudWatch: %s; file: %s", cloudwatch, target.file or "not configured")
    return {"cloudwatch": cloudwatch, "file": target.file or "not configured"}
