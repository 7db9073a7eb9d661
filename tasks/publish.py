"""Publishing: checked candidates become the marts that readers see, all tables in one statement.

What was published, and the way back, is in tasks/publications.py.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from blocks import names
from blocks.errors import WillNotHeal
from blocks.load import load_block
from blocks.settings import PROJECT
from blocks.warehouse import SalesWarehouse
from tasks.publications import (
    PREFIX,
    Publication,
    clone_schema,
    finish_interrupted,
    history,
    now,
    prune,
    show,
    withdrawn_fingerprints,
)
from tasks.publishing_switch import why_withheld
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


def publish(warehouse: SalesWarehouse, run_id: str, made_of: str) -> Publication:
    """Freeze MARTS_CANDIDATE as a publication, show it to readers, drop the oldest; give what is shown.

    What an earlier try of the same run has published is not published twice. The rows and checksums are those of
    the frozen tables, whatever becomes of the candidates. Raises WillNotHeal if there are no candidates.
    """
    finish_interrupted(warehouse)
    rows = history(warehouse)
    if rows and (rows[0].kind, rows[0].run_id, rows[0].fingerprint) == ("publish", run_id, made_of):
        return rows[0]
    publication_id, time = now(warehouse)
    clone_schema(warehouse, "MARTS_CANDIDATE", PREFIX + publication_id)
    states = table_states(warehouse, PREFIX + publication_id)
    if not states:
        raise WillNotHeal("There is nothing to publish: MARTS_CANDIDATE is empty. Run dbt first.")
    publication = Publication(
        publication_id=publication_id,
        kind="publish",
        content_id=publication_id,
        previous_id=rows[0].content_id if rows else None,
        run_id=run_id,
        fingerprint=made_of,
        published_by=warehouse.credentials.user,
        published_at=time,
        shown_at=None,
        tables={name: asdict(state) for name, state in states.items()},
    )
    show(warehouse, publication)
    prune(warehouse)
    return publication


def to_publish(warehouse: SalesWarehouse, made_of: str, rebuild: bool = False) -> tuple[bool, str]:
    """Decide whether marts made of this are to be built and published, and say why not.

    Not what readers see already; nor what a rollback took back, until data, models or checks change. `rebuild`
    overrides both.
    """
    rows = history(warehouse)
    if rebuild or not rows:
        return True, ""
    if made_of == rows[0].fingerprint:
        return False, "Nothing new since the last publication: models, checks and marts stand."
    if made_of in withdrawn_fingerprints(rows):
        return False, (
            f"Readers see publication {rows[0].content_id} since {rows[0].published_by} rolled back; what was taken "
            "back is not published again until data, models or checks change, or the run is told to rebuild. If new "
            "data must wait too: sales marts pause."
        )
    return True, ""


@task(name="is there anything new?", **RETRY)
def anything_new(rebuild: bool = False) -> str | None:
    """Give the fingerprint to publish under, or None where there is nothing to build; the log says why.

    Finishes first what a run that was killed while publishing has left.
    """
    warehouse = load_block(SalesWarehouse, names.WAREHOUSE)
    if finished := finish_interrupted(warehouse):
        get_run_logger().warning(
            "A run was ended while it published %s; readers see it now.", finished.publication_id
        )
    made_of = fingerprint(warehouse)
    is_new, why_not = to_publish(warehouse, made_of, rebuild)
    if why_not:
        get_run_logger().info(why_not)
    return made_of if is_new else None


@task(name="publish marts", **RETRY)
def publish_marts(made_of: str) -> str:
    """Show the checked candidates to readers; give why not if something keeps them from that, else nothing."""
    warehouse = load_block(SalesWarehouse, names.WAREHOUSE)
    if withheld := why_withheld(warehouse):
        get_run_logger().warning(
            "%s The candidates are built and checked; readers see what they saw.", withheld
        )
        return withheld
    shown = publish(warehouse, str(flow_run.id), made_of)
    rows = sum(table["rows"] for table in shown.tables.values())
    get_run_logger().info("Published %s: %d tables, %d rows", shown.publication_id, len(shown.tables), rows)
    return ""


@task(name="read published marts", **RETRY)
def published_marts() -> dict[str, TableState]:
    """Give rows and checksum of each table that readers see."""
    return table_states(load_block(SalesWarehouse, names.WAREHOUSE), "MARTS")
