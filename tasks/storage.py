"""Landing: files move from the drop to raw storage by content, and each is written down.

The drop is an inbox that landing empties; raw storage is the archive. The order of steps (copy to raw,
note in LANDED_FILES, remove from the drop) makes every interruption harmless: the next run goes on.
"""

import hashlib
import tempfile
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from prefect import get_run_logger, task

from blocks import names
from blocks.feeds import Feed, load_feed
from blocks.load import load_block
from blocks.storage import Storage, StoredFile, delete, download, list_files, load_storage, upload
from blocks.warehouse import SalesWarehouse
from tasks.file_check import header_fault
from tasks.retries import RETRY

CHUNK_BYTES = 1 << 20
REFUSED_FOLDER = "refused"


@dataclass(frozen=True)
class LandedFile:
    """A file in raw storage: the name it came under, the hash of its bytes (SHA-256), where it lies."""

    name: str
    checksum: str
    size: int
    path: str


@dataclass(frozen=True)
class RefusedFile:
    """A file that could not be read at all, with the reason; it lies in the drop's `refused` folder."""

    name: str
    checksum: str
    size: int
    reason: str


def checksum_of(path: Path) -> str:
    """Hash a file's bytes with SHA-256, in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def land_file(drop: Storage, raw: Storage, feed: Feed, file: StoredFile) -> LandedFile | RefusedFile:
    """Copy one file to raw storage under its content's hash, or refuse it as a whole.

    A file whose content is in raw storage already, under whatever name, is not copied again. The file stays
    in the drop until `clear_from_drop`.
    """
    name = file.path.removeprefix(f"{feed.name}/")
    with tempfile.TemporaryDirectory(prefix="landing-") as folder:
        local = download(drop, file.path, Path(folder) / Path(name).name)
        checksum = checksum_of(local)
        if reason := header_fault(feed, local):
            return RefusedFile(name, checksum, file.size, reason)
        home = f"{feed.name}/{checksum[:16]}"
        known = next(list_files(raw, home), None)
        if known:
            return LandedFile(Path(known.path).name, checksum, file.size, known.path)
        upload(raw, local, f"{home}/{local.name}")
        return LandedFile(name, checksum, file.size, f"{home}/{local.name}")


def clear_from_drop(drop: Storage, file: StoredFile, outcome: LandedFile | RefusedFile) -> None:
    """Empty the inbox of a file that is safe elsewhere; a refused one is set aside with its reason."""
    if isinstance(outcome, RefusedFile):
        with tempfile.TemporaryDirectory(prefix="refused-") as folder:
            aside = f"{REFUSED_FOLDER}/{file.path}"
            upload(drop, download(drop, file.path, Path(folder) / "file"), aside)
            note = Path(folder) / "reason.txt"
            note.write_text(outcome.reason + "\n")
            upload(drop, note, f"{aside}.reason.txt")
    delete(drop, file.path)


def record_landing(warehouse: SalesWarehouse, feed: Feed, outcome: LandedFile | RefusedFile) -> None:
    """Write the file to MONITORING.LANDED_FILES once; the same content again changes nothing."""
    facts = asdict(outcome)
    with warehouse.session(query_tag="sales-land") as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into MONITORING.LANDED_FILES (feed, checksum, file_name, path, size_bytes, refusal, landed_at) "
            "select %(feed)s, %(checksum)s, %(name)s, %(path)s, %(size)s, %(reason)s, sysdate() "
            "where not exists (select 1 from MONITORING.LANDED_FILES "
            "where feed = %(feed)s and checksum = %(checksum)s)",
            {"path": None, "reason": None, **facts, "feed": feed.name},
        )


def pending_files(warehouse: SalesWarehouse, feed: Feed) -> list[LandedFile]:
    """List the landed files that no load has accounted for yet, in order of name."""
    rows = warehouse.rows(
        "select file_name, checksum, size_bytes, path from MONITORING.LANDED_FILES landed "
        "where feed = %s and refusal is null and not exists (select 1 from MONITORING.LOAD_AUDIT audit "
        "where audit.unit_kind = 'file' and audit.source = landed.feed and audit.checksum = landed.checksum) "
        "order by file_name, checksum",
        (feed.name,),
    )
    return [LandedFile(r["file_name"], r["checksum"], int(r["size_bytes"]), r["path"]) for r in rows]


@dataclass(frozen=True)
class Landing:
    """What one landing found: files landed and waiting to be loaded, files refused, files known already."""

    pending: list[LandedFile]
    refused: list[RefusedFile]
    known: int


@task(name="land files", **RETRY)
def land_files(feed_name: str) -> Landing:
    """Land everything that waits in the drop for this feed; tell which files are to be loaded.

    A file that cannot be read as this feed is refused with its reason and never stops the others.
    """
    logger = get_run_logger()
    feed = load_feed(feed_name)
    drop, raw = load_storage(names.DROP_STORAGE), load_storage(names.RAW_STORAGE)
    warehouse = load_block(SalesWarehouse, names.WAREHOUSE)
    waiting = [file for file in list_files(drop, feed.name) if fnmatch(Path(file.path).name, feed.glob)]
    outcomes = []
    for file in waiting:
        outcome = land_file(drop, raw, feed, file)
        record_landing(warehouse, feed, outcome)
        clear_from_drop(drop, file, outcome)
        outcomes.append(outcome)
        if isinstance(outcome, RefusedFile):
            logger.error("Refused %s: %s", outcome.name, outcome.reason)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedFile)]
    pending = pending_files(warehouse, feed)
    fresh = {file.checksum for file in pending}
    known = sum(isinstance(o, LandedFile) and o.checksum not in fresh for o in outcomes)
    logger.info(
        "%d files waited: %d to load, %d refused, %d known already",
        len(waiting),
        len(pending),
        len(refused),
        known,
    )
    return Landing(pending, refused, known)
