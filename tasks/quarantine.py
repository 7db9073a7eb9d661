"""Quarantine: what was rejected and why, and which batches to reprocess once a rule or a feed is mended.

A batch is named by its files and by the rules they were judged under. Under mended rules the same files are
another batch; its load takes the old one's place in one transaction (`tasks.warehouse.load_batch`), so every
file is accounted for by its newest load alone.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from prefect import get_run_logger, task
from snowflake.connector import DictCursor

from blocks import names
from blocks.errors import WillNotHeal
from blocks.feeds import feed_names, load_contract, load_feed
from blocks.load import load_block
from blocks.warehouse import STATEMENT_TIMEOUT_SECONDS, SalesWarehouse
from tasks.databricks import batch_id_of
from tasks.landing import LandedFile
from tasks.retries import RETRY

REJECTS = """
from (
    select audit.feed, rejects.*
    from RAW.SALES_QUARANTINE rejects
    inner join (
        select distinct load_id, source as feed from MONITORING.LOAD_AUDIT where unit_kind = 'file'
    ) audit on rejects.batch_id = audit.load_id
) quarantined
where (%(feed)s is null or feed = %(feed)s)
    and (%(file)s is null or file_name = %(file)s)
    and (%(rule)s is null or contains(',' || rule_ids || ',', ',' || %(rule)s || ','))
    and (%(since)s is null or loaded_at >= %(since)s::timestamp_ntz)
"""
COUNTED = f"select feed, file_name, rule_ids, count(*) as n {REJECTS} group by feed, file_name, rule_ids"
LISTED = f"""
select feed, file_name, file_line, rule_ids, raw_line, batch_id, loaded_at {REJECTS}
order by feed, file_name, file_line
"""
FILES_OF_BATCHES = f"""
select audit.load_id, landed.file_name, audit.checksum, landed.size_bytes, landed.path
from MONITORING.LOAD_AUDIT audit
left join MONITORING.LANDED_FILES landed on audit.source = landed.feed and audit.checksum = landed.checksum
where audit.unit_kind = 'file' and audit.load_id in (select batch_id {REJECTS})
order by audit.load_id, landed.file_name, audit.checksum
"""  # noqa: S608


@dataclass(frozen=True)
class Selection:
    """Which quarantined rows are meant: those of a feed, a file, broken by a rule, loaded since (UTC)."""

    feed: str | None = None
    rule: str | None = None
    file: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class RejectCount:
    """How many rows of a file broke a rule; a row that broke two rules counts under both."""

    feed: str
    rule: str
    file: str
    rows: int


@dataclass(frozen=True)
class LoadedBatch:
    """A batch in the warehouse: the name it was loaded under, its files in raw storage."""

    batch_id: str
    files: list[LandedFile]


def count_rejects(warehouse: SalesWarehouse, selection: Selection) -> list[RejectCount]:
    """Count quarantined rows by feed, rule and file."""
    counts = Counter[tuple[str, str, str]]()
    for row in warehouse.rows(COUNTED, asdict(selection)):
        for rule in row["rule_ids"].split(","):
            if selection.rule in (None, rule):
                counts[row["feed"], rule, row["file_name"]] += int(row["n"])
    return [RejectCount(*key, rows) for key, rows in sorted(counts.items())]


def read_rejects(
    warehouse: SalesWarehouse, selection: Selection, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Read quarantined rows in order of feed, file and line, as many at a time as the server sends.

    Keys: feed, file_name, file_line, rule_ids, reason, raw_line, batch_id, loaded_at.
    """
    rules: dict[str, dict[str, str]] = {}
    query = LISTED + (f" limit {int(limit)}" if limit is not None else "")
    with (
        warehouse.session(query_tag="sales-quarantine") as connection,
        connection.cursor(DictCursor) as cursor,
    ):
        cursor.execute(query, asdict(selection), timeout=STATEMENT_TIMEOUT_SECONDS)
        for found in cursor:
            row = {name.lower(): value for name, value in found.items()}
            told = rules.setdefault(row["feed"], rule_descriptions(row["feed"]))
            reason = "; ".join(told.get(rule, rule) for rule in row["rule_ids"].split(","))
            yield row | {"reason": reason}


def rule_descriptions(feed: str) -> dict[str, str]:
    """Say in words what each rule of a feed asks for; rules that follow from the columns' types included."""
    contract = load_contract()
    said = {"malformed_row": "The line cannot be split into the feed's columns."}
    for name, column in contract.columns.items():
        said[f"{name}_missing"] = f"{name} has no value."
        said[f"{name}_invalid"] = f"{name} cannot be read as {column.type}."
    rules = contract.rules + (load_feed(feed).rules if feed in feed_names() else ())
    return said | {rule.id: rule.description for rule in rules if rule.description}


def batches_with_rejects(warehouse: SalesWarehouse, selection: Selection) -> list[LoadedBatch]:
    """List the batches that hold selected rows, each with all of its files. Raises WillNotHeal if one is lost."""
    batches: dict[str, list[LandedFile]] = {}
    for row in warehouse.rows(FILES_OF_BATCHES, asdict(selection)):
        if row["path"] is None:
            raise WillNotHeal(
                f"Batch {row['load_id']} cannot be replayed: MONITORING.LANDED_FILES does not say where the file "
                f"with checksum {row['checksum']} lies. Put the file into the drop again."
            )
        file = LandedFile(row["file_name"], row["checksum"], int(row["size_bytes"]), row["path"])
        batches.setdefault(row["load_id"], []).append(file)
    return [LoadedBatch(batch_id, files) for batch_id, files in batches.items()]


@task(name="choose batches to replay", **RETRY)
def batches_to_replay(selection: Selection) -> list[LoadedBatch]:
    """Choose the batches whose rules have changed since they were loaded; others would come out the same.

    Raises WillNotHeal if no feed is given.
    """
    logger = get_run_logger()
    if not selection.feed:
        raise WillNotHeal("Say which feed is to be replayed: a replay takes one feed's rules.")
    load_feed(selection.feed)
    found = batches_with_rejects(load_block(SalesWarehouse, names.WAREHOUSE), selection)
    chosen = [batch for batch in found if batch_id_of(selection.feed, batch.files) != batch.batch_id]
    logger.info("%d batches hold such rows, %d of them under other rules", len(found), len(chosen))
    if len(chosen) < len(found):
        logger.warning(
            "%d batches were judged by the rules as they are: mend the feed first.", len(found) - len(chosen)
        )
    return chosen


@task(name="which replays ask for a rebuild?", **RETRY)
def replays_to_rebuild() -> list[str]:
    """Name the loads that were replaced and whose withdrawn lines the models may still hold."""
    rows = load_block(SalesWarehouse, names.WAREHOUSE).rows(
        "select distinct replaced_load_id from MONITORING.REPLAYS where rows_withdrawn > 0 and rebuilt_at is null"
    )
    return [row["replaced_load_id"] for row in rows]


@task(name="note the rebuild", **RETRY)
def note_rebuild(replaced_load_ids: list[str]) -> None:
    """Note that the models were built in full after these loads were replaced."""
    warehouse = load_block(SalesWarehouse, names.WAREHOUSE)
    with warehouse.session(query_tag="sales-replay") as connection, connection.cursor() as cursor:
        cursor.executemany(
            "update MONITORING.REPLAYS set rebuilt_at = sysdate() where rebuilt_at is null and replaced_load_id = %s",
            [(load_id,) for load_id in replaced_load_ids],
        )
