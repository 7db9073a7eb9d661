"""The sales API as a source of events: polled page by page, from a cursor that is kept.

    GET {url}/v1/sales?cursor=…&limit=…   Authorization: Bearer …
    200 {"sales": [{"id": uuid, …the contract's columns…}], "next_cursor": "…", "has_more": bool}

A cursor is written only after every event of its page is confirmed by the cluster or durable in the spill, so a
producer that is killed anywhere goes on with the page it was at: nothing is left out, and what comes again has the
same event_id.
"""

import json
import os
import random
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from blocks.errors import HEALING_STATUSES, MayHeal, SalesError, WillNotHeal
from streaming.generator import sale_event
from streaming.producer import Checkpoint, Event, Rejected

PAGE_SALES = 500
TIMEOUT_SECONDS = 10
IDLE_SECONDS = 0.2
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0


@dataclass(frozen=True)
class Cursor:
    """Where in the API's sales the producer is, in a file."""

    file: Path

    def read(self) -> str | None:
        """Give the cursor; None before the first page."""
        return self.file.read_text().strip() or None if self.file.exists() else None

    def write(self, cursor: str) -> None:
        """Replace the cursor in one durable step."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        with partial.open("w") as text:
            text.write(cursor)
            text.flush()
            os.fsync(text.fileno())
        partial.replace(self.file)


class SalesApi:
    """A client of the API."""

    def __init__(self, url: str, token: SecretStr) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS)

    def page(self, cursor: str | None) -> dict[str, Any]:
        """Ask once for the page after a cursor; None is the first one.

        Raises ApiSilence for 429, 5xx and no answer, WillNotHeal for any other answer than a page.
        """
        query = {"limit": str(PAGE_SALES)} | ({"cursor": cursor} if cursor else {})
        try:
            answer = self._client.get("/v1/sales", params=query)
        except httpx.TransportError as error:
            raise ApiSilence(f"The sales API at {self.url} does not answer: {error}.") from None
        if answer.status_code != httpx.codes.OK:
            raise self._explained(answer)
        try:
            page = answer.json()
            if isinstance(page["sales"], list) and isinstance(page["next_cursor"], str):
                return page
        except (ValueError, TypeError, KeyError):
            pass
        raise WillNotHeal(
            f"The sales API at {self.url} does not answer with a page of sales.",
            "Set SALES_SALES_API_URL to its base, without /v1/sales.",
        )

    def _explained(self, answer: httpx.Response) -> SalesError:
        what = f"The sales API at {self.url} answers {answer.status_code} {answer.reason_phrase}"
        if answer.status_code in HEALING_STATUSES:
            return ApiSilence(f"{what}.", wait=_seconds(answer.headers.get("retry-after")))
        if answer.status_code in (401, 403):
            return WillNotHeal(f"{what}.", "Set SALES_SALES_API_TOKEN to a token that may read sales.")
        advice = (
            "Check SALES_SALES_API_URL; if it does not know the cursor any more, remove the cursor's file."
        )
        return WillNotHeal(f"{what}: {answer.text[:200]}.", advice)


class ApiSilence(MayHeal):
    """No page for now; `wait` is how many seconds the API asks to wait, if it does."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def api_events(
    api: SalesApi, cursor: Cursor, *, follow: bool = True, poll_seconds: float = 2, patience: float = 300
) -> Iterator[Event]:
    """Yield the sales after the cursor as events, and move the cursor on when those of a page are safe.

    With `follow` it asks for more every `poll_seconds`, else it ends with the last page. An answer that may heal is
    asked for again, with growing waits or as Retry-After says, for `patience` seconds; then ApiSilence is raised.
    """
    while True:
        page = yield from _page(api, cursor.read(), patience)
        for sale in page["sales"]:
            yield _event(sale)
        yield Checkpoint(partial(cursor.write, page["next_cursor"]))
        if not page.get("has_more"):
            if not follow:
                return
            yield from _idle(poll_seconds)


def _page(api: SalesApi, cursor: str | None, patience: float) -> Generator[Event, None, dict[str, Any]]:
    deadline, growing = time.monotonic() + patience, FIRST_WAIT_SECONDS
    while True:
        try:
            return api.page(cursor)
        except ApiSilence as silence:
            # Jitter keeps many producers from asking at once.
            wait = silence.wait if silence.wait is not None else growing * random.uniform(0.5, 1)  # noqa: S311
            if time.monotonic() + wait > deadline:
                raise
        yield from _idle(wait)
        growing = min(growing * 2, LONGEST_WAIT_SECONDS)


def _idle(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    while (ahead := until - time.monotonic()) > 0:
        time.sleep(min(ahead, IDLE_SECONDS))
        yield None


def _event(sale: Any) -> dict[str, Any] | Rejected:
    if not isinstance(sale, dict) or not isinstance(sale.get("id"), str):
        return Rejected(json.dumps(sale).encode(), "no sale: an object with an id is expected")
    return sale_event({name: value for name, value in sale.items() if name != "id"}, sale["id"])
