"""Arrival: which files in the drop are complete, and the event by which a deployment learns of them."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from uuid import UUID

from prefect import get_run_logger, task
from prefect.events import emit_event

from blocks import names
from blocks.feeds import Feed, load_feed
from blocks.storage import Storage, StoredFile, list_files, load_storage
from tasks.retries import RETRY

ARRIVED = "sales.file.arrived"


@dataclass(frozen=True)
class Arrivals:
    """What lies in the drop for a feed: files that are complete, and the names of those still being written."""

    settled: list[StoredFile]
    waiting: list[str]


def arrived_files(drop: Storage, feed: Feed) -> Iterator[StoredFile]:
    """List the files in the drop that are this feed's: in its folder, with a name that its glob matches."""
    return (file for file in list_files(drop, feed.name) if fnmatch(Path(file.path).name, feed.glob))


def settled_files(drop: Storage, feed: Feed, settle_seconds: float) -> Arrivals:
    """Look twice, `settle_seconds` apart: a file that came or changed in between is still being written.

    With 0 one look has to do, which is right where files appear whole (renamed, or put to S3).
    """
    before = set(arrived_files(drop, feed))
    if not (settle_seconds and before):
        return Arrivals(sorted(before, key=lambda file: file.path), [])
    time.sleep(settle_seconds)
    now = list(arrived_files(drop, feed))
    return Arrivals([f for f in now if f in before], [f.path for f in now if f not in before])


@task(name="announce arrivals", **RETRY)
def announce_arrivals(feed_name: str, settle_seconds: float) -> int:
    """Emit `sales.file.arrived` for a feed whose drop holds complete files; give their number.

    The event is named by what has arrived: however often the same files are seen waiting, it is one event,
    and a trigger fires once. Its resource is `sales.drop.<feed>`, its payload {feed, files: [{name, size}]}.
    """
    feed = load_feed(feed_name)
    files = settled_files(load_storage(names.DROP_STORAGE), feed, settle_seconds).settled
    if files:
        emit_event(
            ARRIVED,
            resource={"prefect.resource.id": f"sales.drop.{feed.name}", "prefect.resource.name": feed.name},
            payload={
                "feed": feed.name,
                "files": [{"name": Path(file.path).name, "size": file.size} for file in files],
            },
            id=UUID(hashlib.sha256(repr(files).encode()).hexdigest()[:32]),
        )
        get_run_logger().info("%s: %d files have arrived", feed.name, len(files))
    return len(files)
