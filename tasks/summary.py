"""What a run tells: its accounting, its marts and its seconds, as data, as an artifact."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact

from blocks import names
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.landing import Landing
from tasks.publications import history
from tasks.publish import TableState
from tasks.publishing_switch import why_withheld
from tasks.retries import RETRY

FILE_TOTALS = """
select count(*) as files,
    coalesce(sum(rows_read), 0) as rows_read,
    coalesce(sum(rows_loaded), 0) as rows_valid,
    coalesce(sum(rows_quarantined), 0) as rows_quarantined,
    coalesce(sum(rows_duplicate), 0) as rows_duplicate
from MONITORING.LOAD_AUDIT
where unit_kind = 'file' and source = %s
"""
STREAM_TOTALS = """
select coalesce(sum(rows_read), 0) as produced,
    coalesce(sum(rows_loaded), 0) as landed,
    coalesce(sum(rows_quarantined), 0) as dead_lettered
from MONITORING.LOAD_AUDIT
where unit_kind = 'partition'
"""


class Stopwatch:
    """Seconds per step of a run, in the order in which the steps were taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is inside the `with` under this name."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - began, 2)


@task(name="summarise", **RETRY)
def summarise(
    run_id: str,
    feed: str,
    landing: Landing,
    marts: dict[str, TableState],
    seconds: dict[str, float],
    stream_left_out: str = "",
) -> dict[str, Any]:
    """Compose the run's summary, write it to MONITORING.PIPELINE_RUNS and show it as an artifact.

    `batch` and `stream` are totals of everything ever loaded for this feed and of the topic, so that they
    add up however often the pipeline ran; `batch.new_files` is what this run loaded,
    `batch.waiting_files` what lies in the drop but is still being written. `stream_left_out` says why events that
    are on the topic are not in it, empty if all are. `publication` is what readers see, and what keeps
    them from seeing more.
    """
    warehouse = load_block(SalesWarehouse, names.WAREHOUSE)
    files, stream = warehouse.rows(FILE_TOTALS, (feed,))[0], warehouse.rows(STREAM_TOTALS)[0]
    publication, withheld = shown_to_readers(warehouse), why_withheld(warehouse)
    refused = [{"file": file.name, "reason": file.reason} for file in landing.refused]
    summary: dict[str, Any] = {
        "run_id": run_id,
        "status": "completed"
        + "_without_stream" * bool(stream_left_out)
        + "_with_refused_files" * bool(refused)
        + "_without_publishing" * bool(withheld),
        "feed": feed,
        "batch": {name: int(value) for name, value in files.items()}
        | {"new_files": len(landing.pending), "refused_files": refused, "waiting_files": landing.waiting},
        "stream": {name: int(value) for name, value in stream.items()},
        "stream_left_out": stream_left_out,
        "publication": publication | {"withheld": withheld},
        "marts": {name: {"rows": state.rows, "checksum": state.checksum} for name, state in marts.items()},
        "seconds": seconds,
    }
    with warehouse.session(query_tag="sales-summary") as connection, connection.cursor() as cursor:
        cursor.execute("delete from MONITORING.PIPELINE_RUNS where run_id = %s", (run_id,))
        cursor.execute(
            "insert into MONITORING.PIPELINE_RUNS (run_id, status, summary, finished_at) "
            "select %s, %s, parse_json(%s), sysdate()",
            (run_id, summary["status"], json.dumps(summary)),
        )
    create_markdown_artifact(as_markdown(summary), key="sales-pipeline-summary", description=f"Run on {feed}")
    return summary


def shown_to_readers(warehouse: SalesWarehouse) -> dict[str, Any]:
    """Tell which publication readers see (content_id), by what (publish, rollback), since when; empty before any."""
    rows = history(warehouse)
    if not rows:
        return {}
    return {
        "content_id": rows[0].content_id,
        "kind": rows[0].kind,
        "since": f"{rows[0].published_at:%Y-%m-%d %H:%M:%S}",
    }


def sections(summary: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Give the summary as titled lists of (label, value), for whoever shows it to people."""
    batch = [(k.replace("_", " "), f"{v:,}") for k, v in summary["batch"].items() if isinstance(v, int)]
    batch += [(f"refused: {r['file']}", r["reason"]) for r in summary["batch"]["refused_files"]]
    batch += [("still being written", path) for path in summary["batch"]["waiting_files"]]
    stream = [(name.replace("_", " "), f"{value:,}") for name, value in summary["stream"].items()]
    stream += [("left out", line) for line in summary["stream_left_out"].splitlines()]
    publication = [(name.replace("_", " "), value) for name, value in summary["publication"].items() if value]
    return [
        (f"Batch ({summary['feed']})", batch),
        ("Stream", stream),
        ("Shown to readers", publication),
        ("Marts", [(name, f"{mart['rows']:,} rows") for name, mart in summary["marts"].items()]),
        ("Seconds", [(name.replace("_", " "), f"{value:.1f}") for name, value in summary["seconds"].items()]),
    ]


def as_markdown(summary: dict[str, Any]) -> str:
    """Give the summary as markdown tables."""
    parts = [f"# Sales pipeline: {summary['status'].replace('_', ' ')}"]
    for title, lines in sections(summary):
        parts += [f"\n## {title}\n\n| | |\n|---|---:|", *(f"| {label} | {value} |" for label, value in lines)]
    return "\n".join(parts)
