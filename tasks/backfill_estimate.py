"""What a backfill will take: files, rows, seconds, DBU and money, before anything is started."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from blocks import names
from blocks.databricks import DatabricksCluster
from blocks.load import load_block
from blocks.settings import PROJECT
from blocks.warehouse import SalesWarehouse
from tasks.backfill import Chunk
from tasks.retries import RETRY

SUMMED = ("batches", "files", "bytes", "rows", "seconds", "dbu", "cost")
PRICES = PROJECT / "monitoring" / "databricks_prices.yml"
# Each run of the pipeline that started Spark did one batch of its feed.
MEASURED = """
select count(*) as batches, avg(summary:seconds:spark::float) as seconds
from MONITORING.PIPELINE_RUNS
where summary:feed::varchar = %s and summary:seconds:spark is not null
"""


@dataclass(frozen=True)
class Measured:
    """Mean seconds of a feed's earlier batches, from submission to end, and how many there were."""

    batches: int
    seconds: float


def read_prices(file: Path = PRICES) -> dict[str, Any]:
    """Read the price list."""
    prices: dict[str, Any] = yaml.safe_load(file.read_text())
    return prices


def seconds_of_batch(size_bytes: int, measured: Measured, prices: dict[str, Any]) -> float:
    """Estimate a batch's Spark run: the mean of the feed's earlier batches, else the price list's assumption."""
    if measured.batches:
        return measured.seconds
    return float(prices["assumed_start_seconds"] + size_bytes / 1e9 * prices["assumed_seconds_per_gb"])


def dbu_per_hour(cluster: DatabricksCluster, prices: dict[str, Any]) -> float | None:
    """Add up the nodes of a cluster that has grown to its most workers; None if a node's type has no price."""
    per_node = prices["dbu_per_node_hour"]
    driver = per_node.get(cluster.driver_node_type_id or cluster.node_type_id)
    worker = per_node.get(cluster.node_type_id)
    return None if driver is None or worker is None else driver + cluster.max_workers * worker


def estimate(
    chunks: list[Chunk],
    parallel_runs: int,
    measured: Measured,
    cluster: DatabricksCluster,
    prices: dict[str, Any],
) -> dict[str, Any]:
    """Give files, bytes, rows, seconds, dbu and cost of each chunk that is not done, and of all.

    seconds = runs one after the other (batches / parallel runs, rounded up) x seconds of the longest batch;
    dbu = Spark seconds of all batches / 3600 x DBU per hour of the grown cluster: an upper bound;
    cost = dbu x price per DBU. The load into the warehouse and the build of the marts come on top.
    """
    rate, lines = dbu_per_hour(cluster, prices), []
    for chunk in (chunk for chunk in chunks if chunk.status != "done"):
        sizes = [sum(file.size for file in batch.files) for batch in chunk.batches]
        spark = [seconds_of_batch(size, measured, prices) for size in sizes]
        dbu = None if rate is None else sum(spark) / 3600 * rate
        lines.append(
            {
                "chunk": chunk.number,
                "batches": len(chunk.batches),
                "files": sum(len(batch.files) for batch in chunk.batches),
                "bytes": sum(sizes),
                "rows": sum(batch.rows_read for batch in chunk.batches),
                "seconds": round(math.ceil(len(spark) / parallel_runs) * max(spark), 1),
                "dbu": None if dbu is None else round(dbu, 3),
                "cost": None if dbu is None else round(dbu * prices["price_per_dbu"], 4),
            }
        )
    total = {name: _sum([line[name] for line in lines]) for name in SUMMED}
    return {"chunks": lines, "total": total, "currency": prices["currency"]}


def _sum(values: list[Any]) -> float | None:
    return None if None in values else round(sum(values), 4)


@task(name="show backfill plan", **RETRY)
def show_plan(
    feed: str, chunks: list[Chunk], unchanged: int, parallel_runs: int, dry_run: bool
) -> dict[str, Any]:
    """Estimate the plan and show it as an artifact; give it as data.

    Keys: backfill_id (None if there is nothing to do), feed, dry_run, parallel_runs, unchanged_batches,
    done_chunks, estimated_from, and those of `estimate`.
    """
    rows = load_block(SalesWarehouse, names.WAREHOUSE).rows(MEASURED, (feed,))
    measured = Measured(int(rows[0]["batches"]), float(rows[0]["seconds"] or 0))
    prices, cluster = read_prices(), load_block(DatabricksCluster, names.DATABRICKS_CLUSTER)
    basis = f"{measured.batches} earlier batches" if measured.batches else "assumptions of the price list"
    plan = {
        "backfill_id": chunks[0].backfill_id if chunks else None,
        "feed": feed,
        "dry_run": dry_run,
        "parallel_runs": parallel_runs,
        "unchanged_batches": unchanged,
        "done_chunks": [chunk.number for chunk in chunks if chunk.status == "done"],
        "estimated_from": basis,
    } | estimate(chunks, parallel_runs, measured, cluster, prices)
    create_markdown_artifact(as_markdown(plan), key="sales-backfill-plan", description=f"Backfill of {feed}")
    get_run_logger().info("Backfill of %s: %s", feed, plan["total"])
    return plan


def as_markdown(plan: dict[str, Any]) -> str:
    """Give the plan as a table, a line per chunk."""
    head = ("chunk", *SUMMED)
    lines = [*plan["chunks"], plan["total"] | {"chunk": "all"}]
    cells = [" | ".join("?" if line[name] is None else str(line[name]) for name in head) for line in lines]
    return "\n".join(
        [
            f"# Backfill of {plan['feed']}{': dry run' * plan['dry_run']}",
            f"\n{plan['unchanged_batches']} batches are judged by today's rules already. Seconds from "
            f"{plan['estimated_from']}, cost in {plan['currency']}, machines not included.\n",
            f"| {' | '.join(head)} |",
            "|---" * len(head) + "|",
            *(f"| {line} |" for line in cells),
        ]
    )
