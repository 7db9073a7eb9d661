"""The main flow: what arrived since the last run, by stream and by file, becomes checked and published marts."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.watch_streaming import look_at_stream
from tasks.alerts import HOOKS
from tasks.databricks import run_spark_batch
from tasks.dbt_build import build_models
from tasks.dbt_freshness import RequireFresh
from tasks.expectations import check_layer
from tasks.kafka import wait_for_stream
from tasks.landing import land_files
from tasks.publish import anything_new, publish_marts, published_marts
from tasks.quarantine import note_rebuild, replays_to_rebuild
from tasks.stream_audit import account_for_stream
from tasks.stream_limits import LIMITS, StreamLimits
from tasks.stream_news import why_left_out
from tasks.summary import Stopwatch, summarise
from tasks.turns import turn
from tasks.warehouse import load_batch_into_warehouse


@flow(
    name="run-sales-pipeline",
    flow_run_name="{feed}",
    **HOOKS,
    persist_result=True,
)
def run_sales_pipeline(
    feed: str = "store_sales",
    allowed_lag: int = 0,
    lag_timeout_seconds: int = 300,
    rebuild: bool = False,
    settle_seconds: float = 10,
    require_stream: bool = False,
    require_fresh: RequireFresh = "any",
    stream_limits: StreamLimits = LIMITS,
) -> dict[str, Any]:
    """Run the pipeline once; running it again with nothing new changes no row.

    feed: which CSV feed's files are taken from the drop.
    allowed_lag: events that may still be on their way into the warehouse when the models are built.
    lag_timeout_seconds: how long to wait for the stream to come that close.
    rebuild: build, check and publish even if nothing arrived, dbt with a full refresh.
    settle_seconds: a file that changes within this time is still being written, and waits for the next run.
    require_stream: fail before the batch if the stream cannot deliver or does not come that close in time; without
        it the run goes on, and its summary says what it was made without.
    require_fresh: which sources must be younger than dbt's error_after for models to be built: all, any of them, or
        none, which a rebuild takes; what is older is told in the log and in the build's artifact.
    stream_limits: what the stream's checks hold it against, see tasks/stream_limits.py.
    """
    watch = Stopwatch()
    with watch.step("check_stream"):
        left_out = why_left_out(look_at_stream(stream_limits), require_stream)
        if not left_out:
            left_out = wait_for_stream(allowed_lag, lag_timeout_seconds, require_stream)
            account_for_stream()
    with turn():
        with watch.step("land"):
            landing = land_files(feed, settle_seconds)
        if landing.pending:
            with watch.step("spark"):
                metrics = run_spark_batch(feed, landing.pending)
            with watch.step("load"):
                load_batch_into_warehouse(feed, metrics)
        made_of = anything_new(rebuild)
        if made_of:
            with watch.step("check_raw"):
                check_layer("raw", made_of)
            with watch.step("dbt"):
                replays = replays_to_rebuild()
                build_models(rebuild or bool(replays), "none" if rebuild else require_fresh, made_of)
                if replays:
                    note_rebuild(replays)
            with watch.step("check_marts"):
                check_layer("marts_candidate", made_of)
            with watch.step("publish"):
                publish_marts(made_of)
    return summarise(str(flow_run.id), feed, landing, published_marts(), watch.seconds, left_out)
