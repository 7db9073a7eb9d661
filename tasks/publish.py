"""Publishing: checked candidates become the marts that readers see, all tables in one statement."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from blocks import names
from blocks.errors import WillNotHeal
from blocks.load import load_block
from blocks.settings import PROJECT
from blocks.warehouse import SalesWarehouse
from tasks.retries import RETRY

MADE_BY = (
    "dbt/*.yml",
    "dbt/models/**/*",
    "dbt/seeds/*",
    "dbt/macros/*",
    "dbt/data-tests/*",
    "expectations/*",
)


@dataclass(frozen=True)
class TableState:
    """Rows of a table and the order-independent hash of all of them."""

    rows: int
    checksum: str


def fingerprint(warehouse: SalesWarehouse, project: Path = PROJECT) -> str:
    """Name what the marts would be made of now: the loads, the landed events, the models and the checks.

    All of it is metadata: reading it costs the same however long the history is.
    """
    loads = warehouse.rows(
        "select (select count(*) from RAW.SALES_RAW) as events, "
        "(select count(*) from RAW.SALES_BATCH_RAW) as batch_rows, "
        "count(*) as loads, max(loaded_at) as last_load from MONITORING.LOAD_AUDIT where unit_kind = 'file'"
    )
    digest = hashlib.sha256(json.dumps(loads, default=str, sort_keys=True).encode())
    for path in sorted(path for pattern in MADE_BY for path in project.glob(pattern) if path.is_file()):
        digest.update(path.relative_to(project).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def published_fingerprint(warehouse: SalesWarehouse) -> str | None:
    """Name what the published marts are made of; None before the first publication."""
    rows = warehouse.rows(
        "select fingerprint from MONITORING.PUBLICATIONS "
        "qualify row_number() over (order by published_at desc) = 1"
    )
    return rows[0]["fingerprint"] if rows else None


def table_states(warehouse: SalesWarehouse, schema: str) -> dict[str, TableState]:
    """Count and hash every table of a schema; keys are table names in lower case."""
    tables = warehouse.rows(
        "select table_name from information_schema.tables where table_schema = %s order by table_name",
        (schema,),
    )
    if not tables:
        return {}
    query = " union all ".join(
        f"select '{t['table_name']}' as name, count(*) as table_rows, hash_agg(*) as checksum "  # noqa: S608
        f"from {schema}.{t['table_name']}"
        for t in tables
    )
    return {
        r["name"].lower(): TableState(int(r["table_rows"]), str(r["checksum"])) for r in warehouse.rows(query)
    }


def publish(warehouse: SalesWarehouse, run_id: str, made_of: str) -> dict[str, TableState]:
    """Replace MARTS by a clone of MARTS_CANDIDATE and note it in PUBLICATIONS.

    One statement swaps every table, so a reader sees all of the old or all of the new. The clone is zero-copy
    on Snowflake. Raises WillNotHeal if there are no candidates.
    """
    candidates = table_states(warehouse, "MARTS_CANDIDATE")
    if not candidates:
        raise WillNotHeal("There is nothing to publish: MARTS_CANDIDATE is empty. Run dbt first.")
    facts = {name: {"rows": state.rows, "checksum": state.checksum} for name, state in candidates.items()}
    with warehouse.session(query_tag="sales-publish") as connection, connection.cursor() as cursor:
        database = warehouse.database
        cursor.execute(f"create or replace schema {database}.MARTS clone {database}.MARTS_CANDIDATE")
        cursor.execute(
            "insert into MONITORING.PUBLICATIONS (run_id, fingerprint, tables, published_at) "
            "select %s, %s, parse_json(%s), sysdate()",
            (run_id, made_of, json.dumps(facts)),
        )
    return candidates


@task(name="is there anything new?", **RETRY)
def anything_new(rebuild: bool = False) -> str | None:
    """Give the fingerprint to publish under, or None where the published marts are made of just that."""
    warehouse = load_block(SalesWarehouse, names.WAREHOUSE)
    now = fingerprint(warehouse)
    if now == published_fingerprint(warehouse) and not rebuild:
        get_run_logger().info("Nothing new since the last publication: models, checks and marts stand.")
        return None
    return now


@task(name="publish marts", **RETRY)
def publish_marts(made_of: str) -> dict[str, TableState]:
    """Show the checked candidates to readers; rows and checksum of each table."""
    states = publish(load_block(SalesWarehouse, names.WAREHOUSE), str(flow_run.id), made_of)
    get_run_logger().info("Published %d tables, %d rows", len(states), sum(s.rows for s in states.values()))
    return states


@task(name="read published marts", **RETRY)
def published_marts() -> dict[str, TableState]:
    """Give rows and checksum of each table that readers see."""
    return table_states(load_block(SalesWarehouse, names.WAREHOUSE), "MARTS")
