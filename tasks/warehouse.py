"""Loading: a batch's Parquet replaces that batch's rows, in one transaction that readers see whole."""

import json
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


@dataclass(frozen=True)
class LoadResult:
    """Rows of one batch, as the warehouse counted them after the load."""

    rows_loaded: int
    rows_quarantined: int


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


def load_batch(warehouse: SalesWarehouse, feed: str, metrics: dict[str, Any]) -> LoadResult:
    """Replace the batch's rows by its Parquet and write its LOAD_AUDIT rows, all or nothing.

    `metrics` is the Spark job's `_metrics.json`. FORCE, because the delete makes the load history moot.
    Raises WillNotHeal if the warehouse counts other rows than Spark wrote.
    """
    batch_id, counted = metrics["batch_id"], {}
    with warehouse.session(query_tag="sales-load") as connection, transaction(connection) as cursor:
        for folder, table in TABLES.items():
            cursor.execute(f"delete from {table} where batch_id = %s", (batch_id,))  # noqa: S608
            cursor.execute(copy_statement(table, batch_id, folder), timeout=STATEMENT_TIMEOUT_SECONDS)
            cursor.execute(f"select count(*) from {table} where batch_id = %s", (batch_id,))  # noqa: S608
            counted[folder] = int(cursor.fetchone()[0])
        result = LoadResult(counted["valid"], counted["quarantine"])
        _check_counts(result, metrics)
        _write_audit(cursor, feed, metrics)
    return result


def copy_statement(table: str, batch_id: str, folder: str) -> str:
    """Give the COPY INTO of one folder of a batch's output; columns match by name."""
    return (
        f"copy into {table} from @RAW.PROCESSED_STAGE/sales_batch/{batch_id}/{folder}/ "
        "pattern = '.*[.]parquet' file_format = (type = parquet) match_by_column_name = case_insensitive "
        "include_metadata = (loaded_at = METADATA$START_SCAN_TIME) force = true"
    )


def _check_counts(result: LoadResult, metrics: dict[str, Any]) -> None:
    totals = metrics["totals"]
    expected = LoadResult(totals["rows_valid"], totals["rows_quarantined"])
    if result != expected:
        raise WillNotHeal(
            f"Batch {metrics['batch_id']}: Spark wrote {expected}, the warehouse counts {result}. Nothing was "
            "loaded. Delete the batch's folder in processed storage and run again."
        )


def _write_audit(cursor: SnowflakeCursor, feed: str, metrics: dict[str, Any]) -> None:
    """Write one LOAD_AUDIT row per file, in one statement however many files there are."""
    cursor.execute("delete from MONITORING.LOAD_AUDIT where load_id = %s", (metrics["batch_id"],))
    cursor.execute(
        "insert into MONITORING.LOAD_AUDIT (load_id, unit_kind, unit_name, source, checksum, rows_read, "
        "rows_loaded, rows_quarantined, rows_duplicate, loaded_at) "
        "select %s, 'file', f.value:name::varchar, %s, f.value:checksum::varchar, f.value:rows_read::number, "
        "f.value:rows_valid::number, f.value:rows_quarantined::number, f.value:rows_duplicate::number, sysdate() "
        "from table(flatten(input => parse_json(%s))) f",
        (metrics["batch_id"], feed, json.dumps(metrics["files"])),
    )


@task(name="load batch", **RETRY)
def load_batch_into_warehouse(feed: str, metrics: dict[str, Any]) -> LoadResult:
    """Load a batch that Spark has finished; loading it again gives the same rows."""
    result = load_batch(load_block(SalesWarehouse, names.WAREHOUSE), feed, metrics)
    get_run_logger().info("Batch %s: %s", metrics["batch_id"], result)
    return result
