"""The way out of quarantine: batches are judged again under mended rules, and the marts follow."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from prefect import flow

from flows.run_sales_pipeline import run_sales_pipeline
from tasks.alerts import HOOKS
from tasks.databricks import run_spark_batch
from tasks.quarantine import Selection, batches_to_replay
from tasks.warehouse import load_batch_into_warehouse


@flow(
    name="replay-quarantine",
    flow_run_name="{feed}",
    **HOOKS,
    persist_result=True,
)
def replay_quarantine(
    feed: str,
    rule: str | None = None,
    file: str | None = None,
    since: datetime | None = None,
    settle_seconds: float = 10,
) -> dict[str, Any]:
    """Reprocess the batches that hold quarantined rows of a feed, then run the pipeline as always.

    A batch is reprocessed whole, from raw storage: what is valid now appears, the rest stays quarantined, and
    the new load takes the old one's place. Running it again changes nothing, nor does a run under rules
    that are unchanged.

    feed: the feed whose rules were mended.
    rule, file, since: only batches with rows that broke this rule, of this file, loaded since then (UTC).
    settle_seconds: as for the pipeline, which lands new files too.
    """
    replayed = []
    for batch in batches_to_replay(Selection(feed, rule, file, since)):
        metrics = run_spark_batch(feed, batch.files)
        result = load_batch_into_warehouse(feed, metrics, replaces=batch.batch_id)
        replayed.append({"replaced": batch.batch_id, "batch_id": metrics["batch_id"], **asdict(result)})
    summary = run_sales_pipeline(feed, settle_seconds=settle_seconds)
    return {"feed": feed, "replayed": replayed, "pipeline": summary}
