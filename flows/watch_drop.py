"""Watching the drop: files that have arrived become events, to which deployments of the main flow listen."""

from prefect import flow

from blocks.feeds import feed_names
from tasks.alerts import HOOKS
from tasks.arrival import announce_arrivals


@flow(name="watch-drop", persist_result=True, **HOOKS)
def watch_drop(feeds: list[str] | None = None, settle_seconds: float = 10) -> dict[str, int]:
    """Emit one `sales.file.arrived` event per feed with complete files in the drop; give their numbers.

    feeds: which feeds to look for; all of them if not given.
    settle_seconds: a file that changes within this time is still being written, and waits for the next look.

    A deployment listens with a trigger on this event and takes the feed from its payload. The event makes a
    run start sooner; that no file is forgotten rests on the schedule, since an event may be missed.
    """
    looks = {feed: announce_arrivals.submit(feed, settle_seconds) for feed in feeds or feed_names()}
    return {feed: look.result() for feed, look in looks.items()}
