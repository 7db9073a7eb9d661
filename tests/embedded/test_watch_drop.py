"""What arrives becomes one event, which the Prefect server keeps and triggers can listen to."""

import time
from datetime import timedelta
from uuid import UUID

import httpx

from blocks.feeds import feed_names
from flows.watch_drop import watch_drop
from tasks.arrival import ARRIVED


def events_of(pipeline, feed: str) -> list[dict]:
    from prefect.types._datetime import now

    since = (now("UTC") - timedelta(hours=1)).isoformat()
    wanted = {
        "occurred": {"since": since},
        "event": {"name": [ARRIVED]},
        "resource": {"id": [f"sales.drop.{feed}"]},
    }
    answer = httpx.post(
        f"{pipeline.settings.prefect_api_url}/events/filter", json={"filter": wanted, "limit": 50}
    )
    return answer.raise_for_status().json()["events"]


def wait_for_events(pipeline, feed: str, count: int) -> list[dict]:
    deadline = time.monotonic() + 30
    while len(found := events_of(pipeline, feed)) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def test_files_that_arrive_are_one_event_until_something_changes(pipeline):
    drop = pipeline.drop("online_retail")
    try:
        (drop / "a.csv").write_text("InvoiceNo\n")
        (drop / "notes.txt").write_text("no file of this feed")
        for _ in range(2):
            assert watch_drop(settle_seconds=0.2) == dict.fromkeys(feed_names(), 0) | {"online_retail": 1}
        (event,) = wait_for_events(pipeline, "online_retail", 1)
        assert event["payload"] == {"feed": "online_retail", "files": [{"name": "a.csv", "size": 10}]}
        assert event["resource"]["prefect.resource.name"] == "online_retail"
        (drop / "b.csv").write_text("InvoiceNo,StockCode\n")
        assert watch_drop(["online_retail"], settle_seconds=0) == {"online_retail": 2}
        found = wait_for_events(pipeline, "online_retail", 2)
        assert sorted(len(event["payload"]["files"]) for event in found) == [1, 2]
        assert len({UUID(event["id"]) for event in found}) == 2
        assert events_of(pipeline, "store_sales") == []
    finally:
        for file in drop.iterdir():
            file.unlink()
