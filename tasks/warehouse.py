"""Loading: a batch's Parquet replaces that batch's rows, in one transaction that readers see whole."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect import get_run_logger, task
from snowflake.connector import SnowflakeConnection
from snowflake.connector.cursor import SnowflakeCursor

from blocks import names
from blocks.errors import WillNotHeal
from blocks.load import load_block
from blocks.warehouse import STATEMENT_TIMEOUT_SECONDS, SalesWarehouse
from tasks.retries import RETRY

TABLES = {"valid": "RAW.SALES_BATCH_RAW", "quarantine": "RAW.SALES_QUARANTINE"}
# A telling, and what it says that models keep by: told otherwise under the same time, it was withdrawn, too.
TOLD = "order_id, line_number, product_id, product_name, product_category, customer_id, customer_segment, country"
TELLING = (
    f"select source, {TOLD}, currency, ordered_at, updated_at from RAW.SALES_BATCH_RAW where batch_id = %s"  # noqa: S608
)
WITHDRAWN = f"select count(*) from ({TELLING} except {TELLING})"  # noqa: S608
NOTE_REPLAY = """
insert into MONITORING.REPLAYS (feed, replaced_load_id, load_id, rows_quarantined_before,
    rows_quarantined_after, rows_withdrawn, replayed_at)
select source, load_id, %s, sum(rows_quarantined), %s, %s, sysdate()
from MONITORING.LOAD_AUDIT where load_id = %s group by source, load_id
"""


@dataclass(frozen=True)
class LoadResult:
    """Rows of one batch as COPY INTO reported them; withdrawn are the tellings that a replaced batch alone had."""

    rows_loaded: int
    rows_quarantined: int
    rows_withdrawn: int = 0


@contextmanager
def transaction(connection: SnowflakeConnection) -> Iterator[SnowflakeCursor]:
    """Run what is inside as one transaction: committed at the end, rolled back on any error."""
    with connection.cursor() as cursor:
        cursor.execute("begin")
        try:
            yield cursor
        except BaseException:
            cursor.execute("rollback")
            raise
        cursor.execute("commit")


def load_batch(
    warehouse: SalesWarehouse, feed: str, metrics: dict[str, Any], replaces: str | None = None
) -> LoadResult:
    """Replace the batch's rows by its Parquet and write its LOAD_AUDIT rows, all or nothing.

    `metrics` is the Spark job's `_metrics.json`. `replaces` is a batch of the same files under other rules:
    its rows and its audit go in the same transaction. FORCE, because the delete makes the load history moot.
    Raises WillNotHeal if COPY INTO reports other rows than Spark wrote.
    """
    batch_id, withdrawn = metrics["batch_id"], 0
    with warehouse.session(query_tag="sales-load") as connection, transaction(connection) as cursor:
        for table in TABLES.values():
            cursor.execute(f"delete from {table} where batch_id = %s", (batch_id,))  # noqa: S608
        _refuse_loaded_files(cursor, feed, metrics, replaces)
        copied = {folder: _copy(cursor, table, batch_id, folder) for folder, table in TABLES.items()}
        _check_counts(copied, metrics)
        _write_audit(cursor, feed, metrics)
        if replaces and replaces != batch_id:
            withdrawn = _replace(cursor, replaces, metrics)
    return LoadResult(copied["valid"], copied["quarantine"], withdrawn)


def _refuse_loaded_files(
    cursor: SnowflakeCursor, feed: str, metrics: dict[str, Any], replaces: str | None
) -> None:
    """Raise WillNotHeal if another batch has loaded one of these files: a run beside this one took it in."""
    cursor.execute(
        "select distinct load_id from MONITORING.LOAD_AUDIT where unit_kind = 'file' and source = %s "
        "and load_id not in (%s, %s) and checksum in "
        "(select f.value::varchar from table(flatten(input => parse_json(%s))) f)",
        (
            feed,
            metrics["batch_id"],
            replaces or metrics["batch_id"],
            json.dumps([f["checksum"] for f in metrics["files"]]),
        ),
    )
    if others := [row[0] for row in cursor.fetchall()]:
        raise WillNotHeal(
            f"Files of batch {metrics['batch_id']} were loaded meanwhile by {', '.join(others)}; nothing was loaded "
            "twice. Run again: what is left will be taken."
        )


def _copy(cursor: SnowflakeCursor, table: str, batch_id: str, folder: str) -> int:
    """Load one folder of a batch; give the rows that COPY INTO says it has loaded, over all files."""
    cursor.execute(copy_statement(table, batch_id, folder), timeout=STATEMENT_TIMEOUT_SECONDS)
    columns = [column.name.lower() for column in cursor.description]
    # Where there is no file, the only column is a sentence that says so.
    files = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return sum(int(file.get("rows_loaded", 0)) for file in files)


def copy_statement(table: str, batch_id: str, folder: str) -> str:
    """Give the COPY INTO of one folder of a batch's output; columns match by name."""
    return (
        f"copy into {table} from @RAW.PROCESSED_STAGE/sales_batch/{batch_id}/{folder}/ "
        "pattern = '.*[.]parquet' file_format = (type = parquet) match_by_column_name = case_insensitive "
        "include_metadata = (loaded_at = METADATA$START_SCAN_TIME) force = true"
    )


def _check_counts(copied: dict[str, int], metrics: dict[str, Any]) -> None:
    totals = metrics["totals"]
    written = {"valid": totals["rows_valid"], "quarantine": totals["rows_quarantined"]}
    if copied != written:
        raise WillNotHeal(
            f"Batch {metrics['batch_id']}: Spark wrote {written}, the warehouse loaded {copied}. Nothing was "
            "kept. Delete the batch's folder in processed storage and run again."
        )


def _write_audit(cursor: SnowflakeCursor, feed: str, metrics: dict[str, Any]) -> None:
    """Write one LOAD_AUDIT row per file, in one statement however many files there are."""
    cursor.execute("delete from MONITORING.LOAD_AUDIT where load_id = %s", (metrics["batch_id"],))
    cursor.execute(
        "insert into MONITORING.LOAD_AUDIT (load_id, unit_kind, unit_name, source, checksum, rows_read, "
        "rows_loaded, rows_quarantined, rows_duplicate, loaded_at) "
        "select %s, 'file', f.value:unit_name::varchar, %s, f.value:checksum::varchar, f.value:rows_read::number, "
        "f.value:rows_valid::number, f.value:rows_quarantined::number, f.value:rows_duplicate::number, sysdate() "
        "from table(flatten(input => parse_json(%s))) f",
        (metrics["batch_id"], feed, json.dumps(name_units(metrics["files"]))),
    )


def name_units(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add unit_name: the file_name that the job gives a file's rows, which is not its name where two share one."""
    named = Counter(file["name"] for file in files)
    labels = {f["checksum"]: f["name"] for f in files if named[f["name"]] == 1}
    return [
        f | {"unit_name": labels.get(f["checksum"], f"{f['name']} ({f['checksum'][:16]})")} for f in files
    ]


def _replace(cursor: SnowflakeCursor, old: str, metrics: dict[str, Any]) -> int:
    """Take the old batch out and note that in REPLAYS; give the tellings of lines that the new one lacks."""
    new = metrics["batch_id"]
    cursor.execute(WITHDRAWN, (old, new))
    withdrawn = int(cursor.fetchone()[0])
    cursor.execute(NOTE_REPLAY, (new, metrics["totals"]["rows_quarantined"], withdrawn, old))
    for table in TABLES.values():
        cursor.execute(f"delete from {table} where batch_id = %s", (old,))  # noqa: S608
    cursor.execute("delete from MONITORING.LOAD_AUDIT where load_id = %s", (old,))
    return withdrawn


@task(name="load batch", **RETRY)
def load_batch_into_warehouse(feed: str, metrics: dict[str, Any], replaces: str | None = None) -> LoadResult:
    """Load a batch that Spark has finished; loading it again gives the same rows."""
    result = load_batch(load_block(SalesWarehouse, names.WAREHOUSE), feed, metrics, replaces)
    get_run_logger().info("Batch %s: %s", metrics["batch_id"], result)
    return result
