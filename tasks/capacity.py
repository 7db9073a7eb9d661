"""Capacity: how fast storage grows into its budget, how far the sink is behind, what waits and what is slow."""

from collections.abc import Iterable, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks import names
from blocks.kafka import KafkaCluster
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.findings import Finding
from tasks.kafka import group_lag
from tasks.slos import Slos, judge, read_slos

# Metadata only. Clones (MARTS and what is kept of publications) share the storage of their originals.
TABLES = """
select table_schema || '.' || table_name as name, row_count as table_rows, bytes as table_bytes
from information_schema.tables
where table_type = 'BASE TABLE' and table_schema in ('RAW', 'STAGING', 'INTERMEDIATE', 'MARTS_CANDIDATE', 'MONITORING')
order by row_count desc
"""
SIZES_BEFORE = """
select details:rows::number(38, 0) as total_rows, details:bytes::number(38, 0) as total_bytes,
    datediff(second, looked_at, sysdate()) as age
from MONITORING.PIPELINE_HEALTH
where check_name = 'capacity storage' and looked_at >= dateadd(day, -7, sysdate())
qualify row_number() over (order by looked_at) = 1
"""
# The table function covers seven days and tells nothing of spilling.
# https://docs.snowflake.com/en/sql-reference/functions/query_history
QUERIES = """
select query_tag, query_id, total_elapsed_time / 1000 as elapsed, transaction_blocked_time / 1000 as blocked,
    (queued_overload_time + queued_provisioning_time) / 1000 as queued
from table(information_schema.query_history(
    end_time_range_start => dateadd(second, -%(seconds)s, current_timestamp()), result_limit => 10000)) history
"""
DAY = 86_400
NEVER = 3650.0  # days: further than anybody plans
TAGS_SHOWN = 5


def days_left(before: float, now: float, seconds: float, budget: float) -> float:
    """Give the days until the budget is full at the pace since `before`; ten years where nothing grows."""
    if now >= budget:
        return 0.0
    pace = (now - before) / max(seconds, 1.0) * DAY
    return min(NEVER, (budget - now) / pace) if pace > 0 else NEVER


def judge_storage(tables: list[dict[str, Any]], before: dict[str, Any] | None, slos: Slos) -> Finding:
    """Judge by the budget, rows or bytes, that is full first; a pace over less than an hour is not believed."""
    total = {
        unit: float(sum(int(table[f"table_{unit}"] or 0) for table in tables)) for unit in ("rows", "bytes")
    }
    known = before if before and before["age"] >= 3600 else None
    left = min(
        days_left(float(known[f"total_{unit}"] or 0) if known else now, now, float(known["age"]) if known else 1.0,
                  slos.budget[unit])
        for unit, now in total.items()
    )  # fmt: skip
    largest = ", ".join(f"{table['name']} {int(table['table_rows'] or 0):,}" for table in tables[:3])
    value = (
        f"{total['rows']:,.0f} rows, {total['bytes']:,.0f} bytes, {left:,.0f} days left (rows: {largest})."
    )
    advice = "Storage outgrows its budget: keep less, or raise it."
    found = judge("capacity storage", round(left, 1), value, slos.of("capacity storage"), " days", advice)
    found.details.update(total)
    return found


def judge_queries(queries: Sequence[dict[str, Any]], slos: Slos) -> list[Finding]:
    """Judge how long statements waited in all and the slowest one, and tell the time by query tag (first word)."""
    queued = sum(float(query["queued"]) for query in queries)
    blocked = sum(float(query["blocked"]) for query in queries)
    slowest = max(queries, key=lambda query: float(query["elapsed"]), default=None)
    elapsed = float(slowest["elapsed"]) if slowest else 0.0
    named = f" ({slowest['query_tag'] or 'no tag'}, {slowest['query_id']})" if slowest else ""
    advice = {
        "queue": "Statements wait: a larger warehouse, more clusters, or fewer at once.",
        "slow": "Look at its profile; prune what it reads, or give it more warehouse.",
    }
    waited = f"{queued:.1f} s queued, {blocked:.1f} s blocked by others, over {len(queries):,} statements."
    return [
        judge("queue warehouse", round(queued + blocked, 3), waited, slos.of("queue warehouse"), " s", advice["queue"]),
        judge("slow warehouse", elapsed, f"The slowest took {elapsed:.1f} s{named}.", slos.of("slow warehouse"),
              " s", advice["slow"]),
        Finding("spill warehouse", "ok", "Not told by INFORMATION_SCHEMA; ACCOUNT_USAGE.QUERY_HISTORY has it.", ""),
        *by_tag(queries),
    ]  # fmt: skip


def by_tag(queries: Iterable[dict[str, Any]]) -> list[Finding]:
    """Add up the seconds of each query tag; the largest few, for a chart: none of them is judged."""
    seconds: dict[str, list[float]] = {}
    for query in queries:
        tag = (query["query_tag"] or "untagged").split(":")[0].replace(" ", "_")
        seconds.setdefault(tag, []).append(float(query["elapsed"]))
    largest = sorted(seconds.items(), key=lambda each: -sum(each[1]))[:TAGS_SHOWN]
    return [
        Finding(
            f"time {tag}",
            "ok",
            f"{sum(took):.1f} s in {len(took):,} statements.",
            "",
            "",
            round(sum(took), 3),
        )
        for tag, took in largest
    ]


def judge_backlog(lag: dict[int, int], slos: Slos) -> list[Finding]:
    """Judge how far the sink is behind (its trend is judged by watch-streaming), and tell of the brokers' disks."""
    total, slo = sum(lag.values()), slos.of(f"lag {names.TOPIC}")
    value, advice = f"{total:,} events behind.", "See `sales connector status`."
    return [
        judge(slo.name, total, value, slo, " events", advice),
        Finding(
            "disk kafka", "ok", "Not told by Kafka's client; on MSK, CloudWatch's KafkaDataLogsDiskUsed.", ""
        ),
    ]


@task(name="check capacity", cache_policy=NO_CACHE)
def check_capacity(slos: Slos | None = None) -> list[Finding]:
    """See how storage grows, and how the warehouse's statements wait and take."""
    declared, warehouse = slos or read_slos(), load_block(SalesWarehouse, names.WAREHOUSE)
    before = next(iter(warehouse.rows(SIZES_BEFORE)), None)
    storage = judge_storage(warehouse.rows(TABLES), before, declared)
    queries = warehouse.rows(QUERIES, {"seconds": declared.windows["look_seconds"]})
    return [storage, *judge_queries(queries, declared)]


@task(name="check the backlog", cache_policy=NO_CACHE)
def check_backlog(slos: Slos | None = None) -> list[Finding]:
    """See how many events wait to be landed."""
    lag = group_lag(load_block(KafkaCluster, names.KAFKA), names.CONSUMER_GROUP, names.TOPIC)
    return judge_backlog(lag, slos or read_slos())
