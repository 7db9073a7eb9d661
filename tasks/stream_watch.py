"""The look at the stream: what is measured on the cluster and in the warehouse, for the checks to judge."""

import json
import time
from collections.abc import Iterator
from typing import Any

from prefect import task

from blocks import names
from blocks.errors import SalesError
from blocks.kafka import KafkaCluster
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.findings import Finding, failed_check
from tasks.kafka import committed_offsets, topic_offsets, topic_partitions
from tasks.retries import RETRY
from tasks.stream_audit import within
from tasks.stream_checks import (
    judge_dead_letters,
    judge_lag,
    judge_landing,
    judge_schema,
    judge_topics,
)
from tasks.stream_limits import StreamLimits
from tasks.stream_trend import Progress, trends

# Kafka Connect commits a sink's offsets every 60 s (offset.flush.interval.ms): a trend over less shows nothing.
KEPT_LOOK_SECONDS = (60, 7200)
NEWEST_OFFSETS, SAMPLED_OFFSETS = 1000, 25
POLL_SECONDS = 0.3

LAST_LOOKS = """
select check_name, details from MONITORING.STREAM_HEALTH where check_name in ('lag', 'dead letters')
qualify row_number() over (partition by check_name order by looked_at desc) = 1
"""


def look_at_topics(cluster: KafkaCluster) -> list[Finding]:
    """See whether the brokers answer and the topics are as declared."""
    try:
        partitions = topic_partitions(cluster)
    except SalesError as error:
        return [failed_check("brokers", "reachable", error)]
    reached = Finding("brokers", "ok", f"{cluster.bootstrap_servers} answers.", "reachable")
    return [reached, judge_topics(partitions, cluster.topic_partitions)]


def look_at_flow(cluster: KafkaCluster, warehouse: SalesWarehouse, limits: StreamLimits) -> Iterator[Finding]:
    """See how the events move: behind by how much, landed how lately, dead letters, fields."""
    now = progress(cluster)
    try:
        kept = last_looks(warehouse)
    except SalesError as error:
        yield failed_check("warehouse", "reachable", error)
        kept = None
    now, before = _two_looks(cluster, now, (kept or {}).get("lag"), limits)
    yield judge_lag(now, trends(before, now), limits)
    if kept is None:
        return
    landed = newest_landed(warehouse, now)
    yield judge_landing(*landed, lag=sum(now.lag.values()), now=time.time(), limits=limits)
    yield judge_schema(newest_events(warehouse, now), limits)
    letters = kept.get("dead letters")
    ends = {int(p): int(end) for p, end in letters["ends"].items()} if letters else None
    yield judge_dead_letters(topic_offsets(cluster, names.DEAD_LETTER_TOPIC), ends, limits)


def progress(cluster: KafkaCluster) -> Progress:
    """See where the sink's group stands on the topic now."""
    ends = {p: end for p, (_start, end) in topic_offsets(cluster, names.TOPIC).items()}
    return Progress(time.time(), committed_offsets(cluster, names.CONSUMER_GROUP, names.TOPIC), ends)


def _two_looks(
    cluster: KafkaCluster, now: Progress, kept: dict[str, Any] | None, limits: StreamLimits
) -> tuple[Progress, Progress]:
    """Give the newest look and one before it: the kept one if its age suits, else look again a little later."""
    least, most = KEPT_LOOK_SECONDS
    if kept and least <= now.at - (before := Progress.from_details(kept)).at <= most:
        return now, before
    first = now
    while any(now.lag.values()) and now.at - first.at < limits.trend_seconds:
        time.sleep(POLL_SECONDS)
        now = progress(cluster)
    return now, first


def last_looks(warehouse: SalesWarehouse) -> dict[str, dict[str, Any]]:
    """Read what the newest look at each check kept for the next one."""
    rows = warehouse.rows(LAST_LOOKS)
    return {row["check_name"]: json.loads(row["details"]) for row in rows if row["details"]}


def newest_landed(warehouse: SalesWarehouse, now: Progress) -> tuple[float | None, float | None]:
    """Read when the newest landed event was made and when it was pushed (Unix seconds), None if there is none.

    Only the newest offsets are looked at, so it costs the same however long the history is.
    """
    row = warehouse.rows(
        "select max(coalesce(record_metadata:CreateTime, record_metadata:LogAppendTime)::number) as created, "  # noqa: S608
        "max(record_metadata:SnowflakeConnectorPushTime::number) as pushed "
        f"from RAW.SALES_RAW where {within(_newest(now, NEWEST_OFFSETS))}"
    )[0]
    created, pushed = (int(at) / 1000 if at is not None else None for at in (row["created"], row["pushed"]))
    return created, pushed


def newest_events(warehouse: SalesWarehouse, now: Progress) -> list[Any]:
    """Read the newest landed events of each partition, parsed; tombstones are left out."""
    rows = warehouse.rows(
        f"select record_content from RAW.SALES_RAW where {within(_newest(now, SAMPLED_OFFSETS))}"  # noqa: S608
    )
    parsed = (json.loads(row["record_content"]) for row in rows if row["record_content"] is not None)
    return [event for event in parsed if event is not None]  # a tombstone is NULL, or JSON's null


def _newest(now: Progress, count: int) -> dict[int, tuple[int, int]]:
    return {p: (max(0, passed - count), passed) for p, passed in now.passed.items()}


@task(name="check the topics", **RETRY)
def check_topics() -> list[Finding]:
    """See whether the brokers answer and the topics are as declared."""
    return look_at_topics(load_block(KafkaCluster, names.KAFKA))


@task(name="check the flow of events", **RETRY)
def check_flow(limits: StreamLimits) -> list[Finding]:
    """See how far the sink is behind, how fresh what landed is, how many dead letters came, what fields changed."""
    cluster, warehouse = load_block(KafkaCluster, names.KAFKA), load_block(SalesWarehouse, names.WAREHOUSE)
    return list(look_at_flow(cluster, warehouse, limits))
