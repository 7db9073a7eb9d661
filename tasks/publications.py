"""Publications: what readers saw and see, each kept as a schema of its own for as long as one may go back to it.

The tables of a publication are frozen in `MARTS_PUBLICATION_<id>` before readers see them; MARTS is a clone of
one of these. So to show a publication, to go back to one and to finish what a killed run began are one and the
same statement, which can be repeated. See docs/decisions/0015-publications.md.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocks.errors import WillNotHeal
from blocks.warehouse import SalesWarehouse

# How many publications can be gone back to, besides the one that is shown.
KEEP = 3
PREFIX = "MARTS_PUBLICATION_"
HISTORY = """
select publication_id, kind, content_id, previous_id, run_id, fingerprint, published_by, published_at, shown_at,
    tables
from MONITORING.PUBLICATIONS {condition}
order by published_at desc, publication_id desc
"""
NOTE = """
insert into MONITORING.PUBLICATIONS (publication_id, kind, content_id, previous_id, run_id, fingerprint,
    published_by, tables, published_at)
select %s, %s, %s, %s, %s, %s, %s, parse_json(%s), %s
"""


@dataclass(frozen=True)
class Publication:
    """A row of MONITORING.PUBLICATIONS; tables has rows and checksum by table."""

    publication_id: str
    kind: str
    content_id: str
    previous_id: str | None
    run_id: str
    fingerprint: str
    published_by: str | None
    published_at: datetime
    shown_at: datetime | None
    tables: dict[str, dict[str, Any]]


def history(warehouse: SalesWarehouse) -> list[Publication]:
    """List all publications and rollbacks, the newest first."""
    return _read(warehouse, "")


def _read(warehouse: SalesWarehouse, condition: str) -> list[Publication]:
    rows = warehouse.rows(HISTORY.format(condition=condition))
    return [Publication(**row | {"tables": json.loads(row["tables"] or "{}")}) for row in rows]


def kept(warehouse: SalesWarehouse) -> list[str]:
    """List the ids of the publications whose tables are still there, the newest first."""
    schemas = warehouse.rows(
        "select schema_name from information_schema.schemata where catalog_name = %s "
        "and startswith(schema_name, %s) order by schema_name desc",
        (warehouse.database.upper(), PREFIX),
    )
    return [row["schema_name"].removeprefix(PREFIX) for row in schemas]


def now(warehouse: SalesWarehouse) -> tuple[str, datetime]:
    """Give the warehouse's time, UTC, as the id of a publication and as itself."""
    time: datetime = warehouse.rows("select sysdate() as now")[0]["now"]
    return f"{time:%Y%m%dT%H%M%S}{time.microsecond // 1000:03}", time


def clone_schema(warehouse: SalesWarehouse, source: str, target: str) -> None:
    """Make one schema a clone of another, in one statement: readers see all of the old tables or all of the new.

    Metadata only on Snowflake, where the clone shares the data until either changes.
    """
    with warehouse.session(query_tag="sales-publish") as connection, connection.cursor() as cursor:
        database = warehouse.database
        cursor.execute(f"create or replace schema {database}.{target} clone {database}.{source}")


def show(warehouse: SalesWarehouse, publication: Publication) -> None:
    """Note a publication, show its tables to readers, note that they see it.

    Killed after the first note, `finish_interrupted` does the rest.
    """
    with warehouse.session(query_tag="sales-publish") as connection, connection.cursor() as cursor:
        cursor.execute(
            NOTE,
            (
                publication.publication_id,
                publication.kind,
                publication.content_id,
                publication.previous_id,
                publication.run_id,
                publication.fingerprint,
                publication.published_by,
                json.dumps(publication.tables),
                publication.published_at,
            ),
        )
    finish_interrupted(warehouse)


def finish_interrupted(warehouse: SalesWarehouse) -> Publication | None:
    """Show the newest publication that was noted and not shown yet; give it, or None if there is none.

    Right whether or not readers see it already: its tables were frozen before it was noted.
    """
    pending = _read(warehouse, "where shown_at is null")
    if not pending:
        return None
    clone_schema(warehouse, PREFIX + pending[0].content_id, "MARTS")
    with warehouse.session(query_tag="sales-publish") as connection, connection.cursor() as cursor:
        cursor.executemany(
            "update MONITORING.PUBLICATIONS set shown_at = sysdate() where publication_id = %s",
            [(found.publication_id,) for found in pending],
        )
    return pending[0]


def target_of_rollback(warehouse: SalesWarehouse, to: str | None = None) -> Publication | None:
    """Choose the publication to go back to: `to`, or the one before the current; None if readers see it already.

    Without `to` a rollback takes back one publication once: after a rollback there is nothing left to take back.
    Raises WillNotHeal if there is none, or its tables are no longer kept.
    """
    rows = history(warehouse)
    if not rows:
        raise WillNotHeal("Nothing has been published yet: there is nothing to go back to.")
    if not to and rows[0].kind == "rollback":
        return None
    wanted = (
        next((row.content_id for row in rows if to == row.publication_id), None)
        if to
        else rows[0].previous_id
    )
    there = kept(warehouse)
    if wanted not in there:
        raise WillNotHeal(
            (f"There is no publication {to}" if to else "The publication before the current one is not there")
            + f" to go back to. Kept are {', '.join(there) or 'none'}: see `sales marts list`."
        )
    target = next(row for row in rows if row.publication_id == wanted)
    return None if rows[0].content_id == wanted else target


def roll_back(warehouse: SalesWarehouse, target: Publication, by: str) -> Publication:
    """Show an earlier publication's tables again, and note who did that; give the note."""
    current = history(warehouse)[0]
    publication_id, time = now(warehouse)
    rollback = Publication(
        publication_id=publication_id,
        kind="rollback",
        content_id=target.content_id,
        previous_id=current.content_id,
        run_id=target.run_id,
        fingerprint=target.fingerprint,
        published_by=by,
        published_at=time,
        shown_at=None,
        tables=target.tables,
    )
    show(warehouse, rollback)
    return rollback


def withdrawn_fingerprints(rows: list[Publication]) -> set[str]:
    """Give what the publications were made of that the last rollback took back; empty once a newer one is shown."""
    if not rows or rows[0].kind != "rollback":
        return set()
    return {
        row.fingerprint for row in rows if row.kind == "publish" and row.publication_id > rows[0].content_id
    }


def prune(warehouse: SalesWarehouse, keep: int = KEEP) -> list[str]:
    """Drop the tables of publications beyond the shown one and the `keep` others shown last; give their ids.

    Tables newer than the last note are left alone: another run is about to note them.
    """
    rows = history(warehouse)
    shown_last = list(dict.fromkeys(row.content_id for row in rows))[: keep + 1]
    dropped = [
        found for found in kept(warehouse) if found not in shown_last and found < rows[0].publication_id
    ]
    with warehouse.session(query_tag="sales-publish") as connection, connection.cursor() as cursor:
        for publication_id in dropped:
            cursor.execute(f"drop schema if exists {warehouse.database}.{PREFIX}{publication_id} cascade")
    return dropped
