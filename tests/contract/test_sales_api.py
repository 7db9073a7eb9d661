"""The embedded sales API and the producer's client of it: pages, cursors, faults."""

import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.errors import MayHeal, WillNotHeal
from local.sales_api import from_cursor, sale, to_cursor
from streaming.producer import Checkpoint, Rejected
from streaming.sales_api import Cursor, SalesApi, _event, _seconds, api_events
from streaming.schema import event_fault

TOKEN = "a token"


@pytest.fixture(scope="module")
def service(start_service, tmp_path_factory) -> Any:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    return start_service("sales_api", "--token-file", str(file), "--backlog", "1200", "--per-second", "0")


def api_of(service: Any, token: str = TOKEN) -> SalesApi:
    return SalesApi(service.facts["url"], SecretStr(token))


def fail(service: Any, **fault: Any) -> None:
    httpx.post(f"{service.facts['url']}/_standin/faults", json=fault).raise_for_status()


def told(api: SalesApi, cursor: Cursor, **how: Any) -> list[dict[str, Any]]:
    """Take the events as `publish` does, the checkpoints reached at once."""
    events = []
    for event in api_events(api, cursor, follow=False, **how):
        if isinstance(event, Checkpoint):
            event.reached()
        elif event is not None:
            events.append(event)
    return events


def test_every_sale_is_told_once_as_a_good_event(service, tmp_path):
    cursor = Cursor(tmp_path / "deep" / "cursor")
    events = told(api_of(service), cursor)
    assert [event["event_id"] for event in events] == [sale(number)["id"] for number in range(1_200)]
    assert {event["source"] for event in events} == {"sales_api"}
    assert all(event_fault(event) is None for event in events)
    assert from_cursor(cursor.read() or "") == 1_200
    assert told(api_of(service), cursor) == []


def test_a_cursor_moves_on_only_when_its_page_is_safe(service, tmp_path):
    cursor = Cursor(tmp_path / "cursor")
    events = api_events(api_of(service), cursor, follow=False)
    page = [next(events) for _ in range(500)]
    checkpoint = next(events)
    assert cursor.read() is None
    assert isinstance(checkpoint, Checkpoint)
    checkpoint.reached()
    assert from_cursor(cursor.read() or "") == 500
    again = api_events(api_of(service), cursor, follow=False)
    assert next(again)["event_id"] == sale(500)["id"] not in {event["event_id"] for event in page}
    assert [path.name for path in tmp_path.iterdir()] == ["cursor"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_answers_that_may_heal_are_asked_for_again(service, tmp_path, status):
    fail(service, status=status, count=2)
    assert len(told(api_of(service), Cursor(tmp_path / "cursor"))) == 1_200


def test_retry_after_is_kept(service, tmp_path):
    fail(service, status=429, count=1, retry_after=2)
    began = time.monotonic()
    assert len(told(api_of(service), Cursor(tmp_path / "cursor"))) == 1_200
    assert 2 <= time.monotonic() - began < 6
    assert _seconds(None) is None
    assert _seconds("soon") is None
    assert 8 < (_seconds(formatdate(time.time() + 10, usegmt=True)) or 0) <= 10


def test_what_does_not_heal_in_time_is_told(service, tmp_path):
    fail(service, status=503, count=50)
    with pytest.raises(MayHeal, match="answers 503 Service Unavailable"):
        told(api_of(service), Cursor(tmp_path / "cursor"), patience=1)
    fail(service, status=503, count=0)
    with pytest.raises(MayHeal, match="does not answer"):
        told(SalesApi("http://127.0.0.1:1", SecretStr(TOKEN)), Cursor(tmp_path / "cursor"), patience=1)


def test_a_wrong_token_fails_at_once_and_is_not_shown(service, tmp_path):
    began = time.monotonic()
    with pytest.raises(WillNotHeal, match=r"401 Unauthorized\. Set SALES_SALES_API_TOKEN") as caught:
        told(api_of(service, "not the token"), Cursor(tmp_path / "cursor"))
    assert time.monotonic() - began < 2
    assert "not the token" not in str(caught.value)


def test_a_cursor_that_is_none_and_a_page_that_is_none_fail_at_once(service, tmp_path):
    cursor = Cursor(tmp_path / "cursor")
    cursor.write("nonsense")
    with pytest.raises(WillNotHeal, match=r"400 Bad Request.*remove the cursor's file"):
        told(api_of(service), cursor)
    with pytest.raises(WillNotHeal, match="404 Not Found"):
        SalesApi(f"{service.facts['url']}/v1", SecretStr(TOKEN)).page(None)


def test_what_is_no_sale_is_rejected():
    rejected = _event({"order_id": "A1"})
    assert isinstance(rejected, Rejected)
    assert rejected.event == b'{"order_id": "A1"}'
    assert isinstance(_event(None), Rejected)
    assert event_fault(_event({"id": "1"})) is not None  # type: ignore[arg-type]


def test_sales_appear_over_time_and_a_restart_does_not_begin_again(start_service, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    service = start_service("sales_api", "--token-file", str(token), "--backlog", "0", "--per-second", "50")
    api = api_of(service)
    first = from_cursor(api.page(None)["next_cursor"])
    time.sleep(1)
    second = from_cursor(api.page(to_cursor(first))["next_cursor"])
    assert 45 <= second - first <= 100
    service.stop()
    service.start()
    third = from_cursor(api_of(service).page(to_cursor(second))["next_cursor"])
    assert third > second
