"""Landing: files move from the drop to raw storage by content, and each is written down.

The drop is an inbox that landing empties; raw storage is the archive. The order of steps (copy to raw,
write the manifest, note in LANDED_FILES, remove from the drop) makes every interruption harmless: the next
run goes on.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from prefect import get_run_logger, task

from blocks import names
from blocks.feeds import Feed, load_feed
from blocks.load import load_block
from blocks.storage import Storage, StoredFile, delete, download, list_files, load_storage, look, upload
from blocks.warehouse import SalesWarehouse
from tasks.arrival import settled_files
from tasks.file_check import header_fault
from tasks.retries import RETRY
from tasks.unpacking import Unpacked, unpack

COPIES_AT_A_TIME = 8
REFUSED_FOLDER = "refused"
# Bytes of a file name: folders allow 255, of which storage and Spark want a few for files of their own.
LONGEST_NAME = 200


@dataclass(frozen=True)
class LandedFile:
    """A file in raw storage: the name it came under, hash (SHA-256) and size as it came, where it lies.

    A member of an archive is a file of its own, named `<archive>/<member>`.
    """

    name: str
    checksum: str
    size: int
    path: str


@dataclass(frozen=True)
class RefusedFile:
    """A file that could not be read at all, with the reason; what it came in lies in the drop's `refused` folder."""

    name: str
    checksum: str
    size: int
    reason: str


Outcome = LandedFile | RefusedFile


@dataclass(frozen=True)
class Landing:
    """What one landing found.

    Files landed and not loaded yet, files refused, files known already, names of files still being written.
    """

    pending: list[LandedFile]
    refused: list[RefusedFile]
    known: int
    waiting: list[str]


def raw_name(name: str) -> str:
    """Give the name under which a file lies in raw storage: its own, if every file system can have it.

    Hadoop takes a colon for the end of a scheme and a backslash for a slash, and Spark passes over what starts
    with a dot or an underscore. The end of a name that is too long says most: what it is packed as.
    """
    plain = re.sub(r"[:\\\x00-\x1f\x7f]", "-", name)
    return plain.encode()[-LONGEST_NAME:].decode(errors="ignore").lstrip("._") or "file"


class Lander:
    """Copies files of one feed from the drop to raw storage, several at a time."""

    def __init__(self, drop: Storage, raw: Storage, feed: Feed) -> None:
        self._drop, self._raw, self._feed = drop, raw, feed
        self._contents: dict[str, Lock] = {}

    def land(self, file: StoredFile) -> list[Outcome]:
        """Copy a file, or each file in an archive, to raw storage under its content's hash, or refuse it as a whole.

        Content that is in raw storage already, under whatever name, is not copied again. Nothing if the file
        was written to meanwhile. It stays in the drop until `clear`.
        """
        name = self._name(file)
        with tempfile.TemporaryDirectory(prefix="landing-") as folder:
            local = download(self._drop, file.path, Path(folder) / Path(name).name)
            if look(self._drop, file.path) != file:
                return []
            return [self._land(found) for found in unpack(local, name, self._feed.encoding)]

    def _land(self, found: Unpacked) -> Outcome:
        if reason := found.fault or header_fault(self._feed, found.path):
            return RefusedFile(found.name, found.checksum, found.size, reason)
        return LandedFile(found.name, found.checksum, found.size, self._store(found.path, found.checksum))

    def _store(self, local: Path, checksum: str) -> str:
        home = f"{self._feed.name}/{checksum[:16]}"
        # Two files of one content that arrive together are one file too.
        with self._contents.setdefault(home, Lock()):
            if known := next(list_files(self._raw, home), None):
                return known.path
            path = f"{home}/{raw_name(local.name)}"
            upload(self._raw, local, path)
            return path

    def clear(self, file: StoredFile, outcomes: Sequence[Outcome]) -> None:
        """Empty the drop of a file that is safe elsewhere; one refused, or in part, is set aside with the reasons.

        A file that was written again meanwhile stays: what it holds now has not been landed.
        """
        if look(self._drop, file.path) != file:
            return
        if reasons := [self._reason(file, o) for o in outcomes if isinstance(o, RefusedFile)]:
            with tempfile.TemporaryDirectory(prefix="refused-") as folder:
                aside, note = f"{REFUSED_FOLDER}/{file.path}", Path(folder) / "reason.txt"
                upload(self._drop, download(self._drop, file.path, Path(folder) / "file"), aside)
                note.write_text("".join(f"{reason}\n" for reason in reasons))
                upload(self._drop, note, f"{aside}.reason.txt")
        delete(self._drop, file.path)

    def _reason(self, file: StoredFile, refused: RefusedFile) -> str:
        """Say why, and for a member of an archive, which."""
        is_all = refused.name == self._name(file)
        return refused.reason if is_all else f"{refused.name} {refused.reason}"

    def _name(self, file: StoredFile) -> str:
        return file.path.removeprefix(f"{self._feed.name}/")


def write_manifest(raw: Storage, feed: Feed, outcomes: Sequence[Outcome]) -> str:
    """Write what a landing brought to `<feed>/_manifests/<time>-<hash>.json` in raw storage; give that path.

    {feed, landed_at, files: [{name, checksum, size, path}], refused: [{name, checksum, size, reason}]}
    """
    now = datetime.now(UTC)
    manifest = {
        "feed": feed.name,
        "landed_at": now.isoformat(),
        "files": [asdict(outcome) for outcome in outcomes if isinstance(outcome, LandedFile)],
        "refused": [asdict(outcome) for outcome in outcomes if isinstance(outcome, RefusedFile)],
    }
    text = json.dumps(manifest, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    path = f"{feed.name}/_manifests/{now:%Y%m%dT%H%M%SZ}-{digest}.json"
    with tempfile.TemporaryDirectory(prefix="manifest-") as folder:
        local = Path(folder) / "manifest.json"
        local.write_text(text)
        upload(raw, local, path)
    return path


RECORD = """
merge into MONITORING.LANDED_FILES known
using (
    select f.value:checksum::varchar as checksum, f.value:name::varchar as file_name,
        f.value:path::varchar as path, f.value:size::number(38, 0) as size_bytes,
        f.value:reason::varchar as refusal
    from table(flatten(input => parse_json(%(files)s))) f
) came
on known.feed = %(feed)s and known.checksum = came.checksum
when matched and known.refusal is not null then update set
    file_name = came.file_name, path = came.path, refusal = came.refusal, landed_at = sysdate()
when not matched then insert (feed, checksum, file_name, path, size_bytes, refusal, landed_at)
    values (%(feed)s, came.checksum, came.file_name, came.path, came.size_bytes, came.refusal, sysdate())
"""


def record_landing(warehouse: SalesWarehouse, feed: Feed, outcomes: Sequence[Outcome]) -> None:
    """Write the files to MONITORING.LANDED_FILES, each content once; what is there stays as it is.

    Except a refusal: a file that comes again once its feed is mended is a file to load. So is content that was
    refused under one name (a .gz that was not called so) and landed under another.
    """
    by_worth = sorted(outcomes, key=lambda outcome: isinstance(outcome, RefusedFile))
    files = {outcome.checksum: asdict(outcome) for outcome in reversed(by_worth)}
    with warehouse.session(query_tag="sales-land") as connection, connection.cursor() as cursor:
        cursor.execute(RECORD, {"feed": feed.name, "files": json.dumps(list(files.values()))})


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


def land(
    drop: Storage, raw: Storage, warehouse: SalesWarehouse, feed: Feed, settle_seconds: float
) -> Landing:
    """Land everything that lies complete in the drop for a feed; a file that cannot be read stops no other."""
    arrivals, lander = settled_files(drop, feed, settle_seconds), Lander(drop, raw, feed)
    with ThreadPoolExecutor(COPIES_AT_A_TIME) as copies:
        landed = dict(zip(arrivals.settled, copies.map(lander.land, arrivals.settled), strict=True))
        whole = {file: found for file, found in landed.items() if found}
        outcomes = [outcome for found in whole.values() for outcome in found]
        if outcomes:
            write_manifest(raw, feed, outcomes)
            record_landing(warehouse, feed, outcomes)
        list(copies.map(lander.clear, whole.keys(), whole.values()))
    pending = pending_files(warehouse, feed)
    unloaded = {file.checksum for file in pending}
    refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedFile)]
    known = sum(isinstance(o, LandedFile) and o.checksum not in unloaded for o in outcomes)
    changed = [file.path for file in landed if file not in whole]
    return Landing(pending, refused, known, arrivals.waiting + changed)


@task(name="land files", **RETRY)
def land_files(feed_name: str, settle_seconds: float = 0) -> Landing:
    """Land what has arrived for this feed; tell which files are to be loaded, and which still wait."""
    logger = get_run_logger()
    drop, raw = load_storage(names.DROP_STORAGE), load_storage(names.RAW_STORAGE)
    landing = land(
        drop, raw, load_block(SalesWarehouse, names.WAREHOUSE), load_feed(feed_name), settle_seconds
    )
    for file in landing.refused:
        logger.error("Refused %s: %s", file.name, file.reason)
    for path in landing.waiting:
        logger.warning("%s is still being written; the next run looks again.", path)
    counts = len(landing.pending), len(landing.refused), landing.known
    logger.info("%d files to load, %d refused, %d known already", *counts)
    return landing
