"""Databricks stand-in: the Jobs API 2.1 over TLS, which really runs spark_python_task scripts, here.

    python -m local.databricks --home DIR --port N --token-file FILE [--slots 1]

Serves /api/2.1/jobs/runs/{submit,get,get-output,cancel,list}. `POST /_standin/faults [503, 429, …]` makes the
next calls fail with these statuses. Written from the public API reference; the shapes of 401 and 403 as in
reports of the Databricks SDK's users.
"""

import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from blocks.errors import WillNotHeal
from local.certificates import issue_certificate
from local.databricks_runs import Json, Refused, Runs
from local.java import find_java
from local.service import parse_options, serve_app, service_parser
from local.spark_runtime import SparkRuntime

BASE = "/api/2.1/jobs/runs"
FAULTS = {429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"}
PAGE_BYTES = 20_000
Answer = Callable[[Runs, Json, Request], Json]


class JobsApi:
    """The HTTP side: who may call, how calls and errors are shaped."""

    def __init__(self, home: Path, runtime: SparkRuntime, token: str, slots: int) -> None:
        self._home, self._runtime, self._token, self._slots = home, runtime, token, slots
        self._faults: list[int] = []

    def app(self) -> Starlette:
        """Give the ASGI application."""
        return Starlette(
            routes=[
                self._route(
                    "submit", "POST", lambda runs, given, request: runs.submit(given, str(request.base_url))
                ),
                self._route("get", "GET", lambda runs, given, _: runs.get(given.get("run_id"))),
                self._route("get-output", "GET", lambda runs, given, _: runs.output(given.get("run_id"))),
                self._route("cancel", "POST", lambda runs, given, _: runs.cancel(given.get("run_id"))),
                self._route("list", "GET", lambda runs, given, _: runs.list(given)),
                Route("/runs/{run_id:int}", self._page),
                Route("/_standin/faults", self._inject, methods=["POST"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._runs = Runs(self._home, self._runtime, self._slots)
        yield
        await self._runs.stop()

    def _route(self, name: str, method: str, answer: Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                self._admit(request)
                given = await _parameters(request)
                return JSONResponse(answer(self._runs, given, request))
            except Refused as refusal:
                headers = {"Retry-After": "1"} if refusal.status == 429 else {}
                body = {"error_code": refusal.code, "message": str(refusal)}
                return JSONResponse(body, refusal.status, headers)

        return Route(f"{BASE}/{name}", endpoint, methods=[method])

    def _admit(self, request: Request) -> None:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not sent:
            raise Refused(401, 401, "Credential was not sent or was of an unsupported type for this API.")
        if not hmac.compare_digest(sent.encode(), self._token.encode()):
            raise Refused(403, 403, "Invalid access token.")
        if self._faults:
            status = self._faults.pop(0)
            raise Refused(status, FAULTS.get(status, "INTERNAL_ERROR"), f"Injected fault {status}.")

    async def _inject(self, request: Request) -> Response:
        self._faults.extend(await request.json())
        return JSONResponse({"faults": self._faults})

    async def _page(self, request: Request) -> Response:
        """Show a run to a person: its record and the end of what it wrote."""
        try:
            run = self._runs.get(request.path_params["run_id"])
        except Refused as refusal:
            return PlainTextResponse(str(refusal), 404)
        parts = [json.dumps(run, indent=1)]
        for task in run["tasks"]:
            for stream in ("stdout", "stderr"):
                text = self._runs.log(task["run_id"], stream)[-PAGE_BYTES:].decode(errors="replace")
                parts.append(f"--- {task['task_key']} {stream} ---\n{text}")
        return PlainTextResponse("\n\n".join(parts))


async def _parameters(request: Request) -> Json:
    if request.method == "GET":
        return dict(request.query_params)
    try:
        given: Any = json.loads(await request.body() or b"{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Refused(400, "MALFORMED_REQUEST", "Could not parse request object.")
    return given


def main() -> None:
    """Serve until stopped; ends at once, saying why, if there is no Java that Spark starts on."""
    parser = service_parser(__doc__ or "")
    parser.add_argument(
        "--token-file", type=Path, required=True, help="file with the token callers must send"
    )
    parser.add_argument("--slots", type=int, default=1, help="how many runs may go at a time")
    options = parse_options(parser)
    try:
        java_home = find_java(options.home)
    except WillNotHeal as error:
        raise SystemExit(str(error)) from error
    server, ca = issue_certificate(options.home)
    runtime = SparkRuntime(options.home, java_home)
    api = JobsApi(options.home, runtime, options.token_file.read_text().strip(), options.slots)
    serve_app(api.app(), options, certificate=server, ca=str(ca))


if __name__ == "__main__":
    main()
