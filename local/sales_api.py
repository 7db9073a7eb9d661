"""The embedded sales API: what a shop's own system tells of its sales, page by page, as they happen.

    python -m local.sales_api --home DIR --port N --token-file FILE [--per-second 2] [--backlog 500] [--lifeline]

`GET /v1/sales?cursor=…&limit=…` with the bearer token gives {"sales": […], "next_cursor", "has_more"}; without a
cursor from the beginning. Sales are made up from their number alone, so the same cursor always gives the same ones:
`--backlog` of them are there from the first start, and one more every so often since then, which a restart does not
begin again. `POST /_standin/faults {"status": 429, "count": 2, "retry_after": 1}` makes the next calls fail so.
"""

import base64
import hmac
import time
import uuid
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.service import parse_options, serve_app, service_parser
from streaming.generator import START, sale_lines

SOURCE = "sales_api"
WEEK_SALES = 2_000
LIMIT, MOST = 100, 1_000


def sale(number: int) -> dict[str, Any]:
    """Make up the sale of this number; the first is 0."""
    line = _week(number // WEEK_SALES)[number % WEEK_SALES]
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{SOURCE}-{number}")), **line}


@lru_cache(maxsize=4)
def _week(number: int) -> list[dict[str, Any]]:
    return list(sale_lines(number, WEEK_SALES, START + timedelta(weeks=number), 7, SOURCE))


class Till:
    """Says how many sales there are by now."""

    def __init__(self, home: Path, backlog: int, per_second: float) -> None:
        self.backlog, self.per_second = backlog, per_second
        opened = home / "opened_at"
        if not opened.exists():
            opened.write_text(repr(time.time()))
        self.opened = float(opened.read_text())

    def sales(self) -> int:
        """Count them."""
        return self.backlog + int((time.time() - self.opened) * self.per_second)


def to_cursor(number: int) -> str:
    """Make the cursor after which the sale of this number comes."""
    return base64.urlsafe_b64encode(f"sale:{number}".encode()).decode()


def from_cursor(cursor: str) -> int:
    """Read a cursor. Raises ValueError for what is none."""
    kind, _, number = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode().partition(":")
    if kind != "sale" or not number.isdigit():
        raise ValueError("no cursor")
    return int(number)


def application(till: Till, token: str) -> Starlette:
    """Make the API over a till."""
    faults: list[tuple[int, dict[str, str]]] = []

    async def inject(request: Request) -> Response:
        fault = await request.json()
        after = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
        faults[:] = [(int(fault["status"]), after)] * int(fault.get("count", 1))
        return JSONResponse({"queued": len(faults)})

    async def sales(request: Request) -> Response:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(sent.encode(), token.encode()):
            return _error(401, "unauthorized", {"WWW-Authenticate": "Bearer"})
        if faults:
            status, headers = faults.pop()
            return _error(status, "injected fault", headers)
        query = request.query_params
        try:
            begin = from_cursor(query["cursor"]) if "cursor" in query else 0
            limit = min(int(query.get("limit", LIMIT)), MOST)
        except ValueError:
            return _error(400, "cursor or limit cannot be read")
        there = till.sales()
        end = max(begin, min(begin + max(limit, 1), there))
        page = {"sales": [sale(number) for number in range(begin, end)], "next_cursor": to_cursor(end)}
        return JSONResponse(page | {"has_more": end < there})

    return Starlette(routes=[Route("/v1/sales", sales), Route("/_standin/faults", inject, methods=["POST"])])


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)


def main() -> None:
    """Serve the API until told to stop."""
    parser = service_parser("A shop's sales API")
    parser.add_argument(
        "--token-file", type=Path, required=True, help="file with the token callers must send"
    )
    parser.add_argument("--backlog", type=int, default=500, help="sales that are there from the first start")
    parser.add_argument("--per-second", type=float, default=2.0, help="sales that come every second")
    options = parse_options(parser)
    till = Till(options.home, options.backlog, options.per_second)
    serve_app(application(till, options.token_file.read_text().strip()), options)


if __name__ == "__main__":
    main()
