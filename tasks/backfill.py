"""Backfill: batches that were judged under other rules than today's are judged again, chunk by chunk.

A chunk is some batches; its plan and progress are rows of MONITORING.BACKFILLS, so that a killed backfill goes on
with what is not done. While one is unfinished nothing is published: the marts are built of all of it or none.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from prefect import task
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blocks import names
from blocks.errors import WillNotHeal
from blocks.feeds import load_feed
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.databricks import batch_id_of
from tasks.landing import LandedFile
from tasks.quarantine import LoadedBatch
from tasks.retries import RETRY

UNFINISHED = "status in ('planned', 'failed')"
LOADED = """
select audit.load_id, landed.file_name, audit.checksum, landed.size_bytes, landed.path, landed.landed_at,
    audit.rows_read, audit.rows_loaded
from MONITORING.LOAD_AUDIT audit
left join MONITORING.LANDED_FILES landed on audit.source = landed.feed and audit.checksum = landed.checksum
where audit.unit_kind = 'file' and audit.source = %s
order by audit.load_id, landed.file_name, audit.checksum
"""
INSERT = """
insert into MONITORING.BACKFILLS (backfill_id, chunk, feed, request, rules_version, batches, status, rows_before,
    planned_at, noted_at)
select f.value:backfill_id::varchar, f.value:chunk::number, f.value:feed::varchar, f.value:request::varchar,
    f.value:rules_version::varchar, f.value:batches::varchar, 'planned', f.value:rows_before::number, sysdate(),
    sysdate()
from table(flatten(input => parse_json(%s))) f
"""


class Request(BaseModel):
    """What is to be backfilled: a feed's batches with a file landed within these days (UTC), or these batches."""

    model_config = ConfigDict(frozen=True)

    feed: str
    from_date: date | None = None
    to_date: date | None = None
    batches: tuple[str, ...] = ()
    chunk_size: int = Field(default=10, ge=1, le=1000)

    @model_validator(mode="after")
    def _range(self) -> "Request":
        if self.from_date and self.to_date and self.from_date > self.to_date:
            raise ValueError(f"from {self.from_date} is after to {self.to_date}")
        if not (self.batches or (self.from_date and self.to_date)):
            raise ValueError("give both a from and a to date, or the ids of batches")
        return self

    def key(self) -> str:
        """Give the request as text; chunks of another size are the same request."""
        return self.model_dump_json(exclude={"chunk_size"})


@dataclass(frozen=True)
class Batch(LoadedBatch):
    """A loaded batch with what is known of it: rows read, valid rows."""

    rows_read: int
    rows_valid: int


@dataclass(frozen=True)
class Chunk:
    """Some batches and how far they are."""

    backfill_id: str
    number: int
    batches: list[Batch]
    status: str = "planned"


def request_for(
    feed: str,
    from_date: date | None = None,
    to_date: date | None = None,
    batches: tuple[str, ...] = (),
    chunk_size: int = 10,
) -> Request:
    """Check what was asked for. Raises WillNotHeal for an unknown feed, an empty or a reversed range."""
    load_feed(feed)
    try:
        return Request(
            feed=feed, from_date=from_date, to_date=to_date, batches=batches, chunk_size=chunk_size
        )
    except ValueError as error:
        told = "; ".join(str(each["msg"]) for each in error.errors())  # type: ignore[attr-defined]
        raise WillNotHeal(f"This cannot be backfilled: {told}.") from None


def rules_version(feed: str) -> str:
    """Name the rules of today: the job's code, the contract and the feed."""
    return batch_id_of(feed, [])


def chosen_batches(warehouse: SalesWarehouse, request: Request) -> tuple[list[Batch], int]:
    """List the batches in the range that were judged under other rules, and count those that were not.

    Batches are whole: exact duplicates are dropped within one. Raises WillNotHeal if a file is lost, or a batch
    that is asked for by its id is not loaded.
    """
    loaded: dict[str, list[dict[str, Any]]] = {}
    for row in warehouse.rows(LOADED, (request.feed,)):
        loaded.setdefault(row["load_id"], []).append(row)
    if missing := set(request.batches) - loaded.keys():
        raise WillNotHeal(f"Feed {request.feed} has no loaded batch {', '.join(sorted(missing))}.")
    in_range = [
        _batch(batch_id, rows) for batch_id, rows in loaded.items() if is_meant(request, batch_id, rows)
    ]
    stale = [batch for batch in in_range if batch_id_of(request.feed, batch.files) != batch.batch_id]
    return stale, len(in_range) - len(stale)


def is_meant(request: Request, batch_id: str, rows: list[dict[str, Any]]) -> bool:
    """Tell whether a request takes in a batch; rows are its files, each with landed_at."""
    if request.batches and batch_id not in request.batches:
        return False
    if not (request.from_date and request.to_date):
        return True
    return any(r["landed_at"] and request.from_date <= r["landed_at"].date() <= request.to_date for r in rows)


def _batch(batch_id: str, rows: list[dict[str, Any]]) -> Batch:
    if lost := [row["checksum"] for row in rows if row["path"] is None]:
        raise WillNotHeal(
            f"Batch {batch_id} cannot be backfilled: MONITORING.LANDED_FILES does not say where the file with "
            f"checksum {lost[0]} lies. Put the file into the drop again."
        )
    files = [LandedFile(r["file_name"], r["checksum"], int(r["size_bytes"]), r["path"]) for r in rows]
    read, valid = (sum(int(row[name]) for row in rows) for name in ("rows_read", "rows_loaded"))
    return Batch(batch_id, files, read, valid)


def into_chunks(request: Request, rules: str, batches: list[Batch]) -> list[Chunk]:
    """Cut the batches into chunks of the request's size, named by the request, the rules and the batches."""
    text = json.dumps([request.model_dump(mode="json"), rules, [batch.batch_id for batch in batches]])
    backfill_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    size = request.chunk_size
    cuts = [batches[start : start + size] for start in range(0, len(batches), size)]
    return [Chunk(backfill_id, number, cut) for number, cut in enumerate(cuts, start=1)]


def unfinished_chunks(warehouse: SalesWarehouse, request: Request, rules: str) -> list[Chunk]:
    """List all chunks, done ones too, of this request's backfill if it was begun under these rules and not ended."""
    rows = warehouse.rows(
        "select backfill_id, chunk, batches, status from MONITORING.BACKFILLS where backfill_id in ("  # noqa: S608
        "select backfill_id from MONITORING.BACKFILLS where request = %s and rules_version = %s "
        f"and {UNFINISHED}) order by chunk",
        (request.key(), rules),
    )
    return [Chunk(r["backfill_id"], int(r["chunk"]), read_batches(r["batches"]), r["status"]) for r in rows]


def read_batches(text: str) -> list[Batch]:
    """Read what `asdict` wrote."""
    return [
        Batch(**each | {"files": [LandedFile(**file) for file in each["files"]]}) for each in json.loads(text)
    ]


def write_chunks(warehouse: SalesWarehouse, request: Request, rules: str, chunks: list[Chunk]) -> None:
    """Note the plan before its first chunk; an unfinished one of the same request under other rules is superseded.

    Raises WillNotHeal if another backfill of the feed is unfinished.
    """
    others = warehouse.rows(
        "select distinct backfill_id from MONITORING.BACKFILLS where feed = %s and request <> %s "  # noqa: S608
        f"and {UNFINISHED}",
        (request.feed, request.key()),
    )
    if others:
        ids = ", ".join(row["backfill_id"] for row in others)
        raise WillNotHeal(
            f"Backfill {ids} of {request.feed} is unfinished. Give its request again to finish it, or give it up: "
            f"sales backfill --abandon {others[0]['backfill_id']}"
        )
    lines = [
        {
            "backfill_id": chunk.backfill_id,
            "chunk": chunk.number,
            "feed": request.feed,
            "request": request.key(),
            "rules_version": rules,
            "batches": json.dumps([asdict(batch) for batch in chunk.batches]),
            "rows_before": sum(batch.rows_valid for batch in chunk.batches),
        }
        for chunk in chunks
    ]
    with warehouse.session(query_tag="sales-backfill") as connection, connection.cursor() as cursor:
        cursor.execute(
            "update MONITORING.BACKFILLS set status = 'superseded', noted_at = sysdate() "  # noqa: S608
            f"where request = %s and {UNFINISHED}",
            (request.key(),),
        )
        cursor.execute(INSERT, (json.dumps(lines),))


def note_chunk(warehouse: SalesWarehouse, chunk: Chunk, status: str, **facts: Any) -> None:
    """Note how a chunk ended; facts are rows_after, spark_seconds, error."""
    with warehouse.session(query_tag="sales-backfill") as connection, connection.cursor() as cursor:
        cursor.execute(
            "update MONITORING.BACKFILLS set status = %s, rows_after = %s, spark_seconds = %s, error = %s, "
            "noted_at = sysdate() where backfill_id = %s and chunk = %s",
            (
                status,
                facts.get("rows_after"),
                facts.get("spark_seconds"),
                facts.get("error"),
                chunk.backfill_id,
                chunk.number,
            ),
        )


def abandon(warehouse: SalesWarehouse, backfill_id: str) -> int:
    """Give up what is left of a backfill, so that runs publish again; give the chunks that were not done."""
    with warehouse.session(query_tag="sales-backfill") as connection, connection.cursor() as cursor:
        cursor.execute(
            "update MONITORING.BACKFILLS set status = 'abandoned', noted_at = sysdate() "  # noqa: S608
            f"where backfill_id = %s and {UNFINISHED}",
            (backfill_id,),
        )
        return int(cursor.rowcount or 0)


@task(name="plan backfill", **RETRY)
def plan_chunks(request: Request, dry_run: bool) -> tuple[list[Chunk], int]:
    """Give the chunks of a request, those of a killed backfill as they were planned, and the batches to leave alone.

    Unless it is a dry run the plan is noted, from when on nothing is published until all of it is done.
    """
    warehouse, rules = load_block(SalesWarehouse, names.WAREHOUSE), rules_version(request.feed)
    batches, unchanged = chosen_batches(warehouse, request)
    if begun := unfinished_chunks(warehouse, request, rules):
        return begun, unchanged
    chunks = into_chunks(request, rules, batches)
    if chunks and not dry_run:
        write_chunks(warehouse, request, rules, chunks)
    return chunks, unchanged


@task(name="note chunk", **RETRY)
def note_chunk_ended(chunk: Chunk, status: str, **facts: Any) -> None:
    """Note in MONITORING.BACKFILLS how a chunk ended."""
    note_chunk(load_block(SalesWarehouse, names.WAREHOUSE), chunk, status, **facts)
