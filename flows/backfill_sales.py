"""Backfill: a range of batches is judged again by today's rules, in chunks; the marts follow once, at the end."""

import time
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

from prefect import flow, get_run_logger
from pydantic import Field

from blocks.errors import WillNotHeal
from flows.run_sales_pipeline import run_sales_pipeline
from tasks.alerts import HOOKS
from tasks.backfill import Chunk, note_chunk_ended, plan_chunks, request_for
from tasks.backfill_estimate import show_plan
from tasks.databricks import run_spark_batch
from tasks.warehouse import load_batch_into_warehouse

MOST_RUNS = 16


@flow(
    name="backfill-sales",
    flow_run_name="{feed} from {from_date} to {to_date}",
    **HOOKS,
    persist_result=True,
)
def backfill_sales(
    feed: str,
    from_date: date | None = None,
    to_date: date | None = None,
    batches: list[str] | None = None,
    chunk_size: Annotated[int, Field(ge=1, le=1000)] = 10,
    parallel_runs: Annotated[int, Field(ge=1, le=MOST_RUNS)] = 2,
    dry_run: bool = True,
    settle_seconds: float = 10,
) -> dict[str, Any]:
    """Reprocess what was judged under other rules than today's, from raw storage; then run the pipeline as always.

    A killed or failed backfill, started again alike, goes on with the chunks that are not done. Until all of
    them are, nothing is published, by this flow or another. Gives {plan, loaded, pipeline}.

    feed: whose batches.
    from_date, to_date: batches with a file that landed on one of these days, UTC, both included.
    batches: these batches only, by the id under which they are loaded.
    chunk_size: batches in a chunk.
    parallel_runs: Spark runs at once, at most.
    dry_run: say what would be done, what that takes and costs, and do nothing.
    settle_seconds: as for the pipeline, which lands new files too.
    """
    request = request_for(feed, from_date, to_date, tuple(batches or ()), chunk_size)
    chunks, unchanged = plan_chunks(request, dry_run)
    plan = show_plan(feed, chunks, unchanged, parallel_runs, dry_run)
    if dry_run:
        return {"plan": plan, "loaded": [], "pipeline": None}
    failed, loaded = {}, []
    for chunk in (chunk for chunk in chunks if chunk.status != "done"):
        try:
            loaded += reprocess(feed, chunk, parallel_runs)
        except Exception as error:
            get_run_logger().error("Chunk %s failed: %s", chunk.number, error)
            note_chunk_ended(chunk, "failed", error=str(error)[:2000])
            failed[chunk.number] = error
    if failed:
        told = "; ".join(f"chunk {number}: {str(error).splitlines()[0]}" for number, error in failed.items())
        raise WillNotHeal(
            f"{len(failed)} of {len(chunks)} chunks of backfill {plan['backfill_id']} failed, and nothing was "
            f"published: {told}. Mend the cause and start the same backfill again: it goes on with these chunks."
        )
    return {
        "plan": plan,
        "loaded": loaded,
        "pipeline": run_sales_pipeline(feed, settle_seconds=settle_seconds),
    }


def reprocess(feed: str, chunk: Chunk, parallel_runs: int) -> list[dict[str, Any]]:
    """Run Spark over a chunk's batches, so many at once, and let each new load take the old one's place."""
    began, metrics = time.monotonic(), []
    for start in range(0, len(chunk.batches), parallel_runs):
        runs = [run_spark_batch.submit(feed, b.files) for b in chunk.batches[start : start + parallel_runs]]
        ended = [run.wait() or run for run in runs]  # all of them, before one's error ends the chunk
        metrics += [run.result() for run in ended]
    seconds, loaded = round(time.monotonic() - began, 3), []
    for batch, counted in zip(chunk.batches, metrics, strict=True):
        result = load_batch_into_warehouse(feed, counted, replaces=batch.batch_id)
        loaded.append({"replaced": batch.batch_id, "batch_id": counted["batch_id"], **asdict(result)})
    rows = sum(each["rows_loaded"] for each in loaded)
    note_chunk_ended(chunk, "done", rows_after=rows, spark_seconds=seconds)
    return loaded
