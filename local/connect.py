"""The embedded Kafka Connect: a worker's REST API, and the Snowflake sink behind it.

    python -m local.connect --home DIR --port N --bootstrap HOST:PORT [--lifeline]

Paths, statuses and bodies are those of Kafka's ConnectorsResource. Configurations are kept in
`connectors.json` and resumed at the next start. `POST /_standin/faults {"status": 409, "count": 2}` makes
the next calls fail so.
"""

import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.connect_offsets import Offsets, OffsetsError, parse_offsets
from local.connect_worker import WORKER_ID, ApiError, Config, Worker, validate
from local.service import parse_options, serve_app, service_parser

FAULT_MESSAGES = {409: "Cannot complete request because of a conflicting operation (e.g. worker rebalance)"}
FAULTY_KEY = re.compile(r'configuration (?:"([\w.]+)"|([\w.]+):)')
PATIENCE_SECONDS = 30
EXIT_SECONDS = 4


def application(worker: Worker) -> Starlette:
    """Make the REST API over a worker; the worker runs while the application does."""
    faults: list[int] = []

    async def inject(request: Request) -> Response:
        fault = await request.json()
        faults[:] = [int(fault["status"])] * int(fault.get("count", 1))
        return JSONResponse({"queued": len(faults)})

    def served(handle: Callable[[Request, bytes], Response]) -> Callable[[Request], Any]:
        """Give the endpoint: faults first, then the handler off the event loop, changes one at a time."""

        def locked(request: Request, body: bytes) -> Response:
            with nullcontext() if request.method == "GET" else worker.lock:
                return handle(request, body)

        async def endpoint(request: Request) -> Response:
            if faults:
                status = faults.pop()
                return _error(status, FAULT_MESSAGES.get(status, "injected fault"))
            try:
                return await run_in_threadpool(locked, request, await request.body())
            except ApiError as error:
                return _error(error.status, error.message)

        return endpoint

    def root(_request: Request, _body: bytes) -> Response:
        return JSONResponse(
            {"version": "4.1.0", "commit": "embedded", "kafka_cluster_id": worker.bootstrap()}
        )

    def connectors(request: Request, _body: bytes) -> Response:
        expand = request.query_params.getlist("expand")
        if not expand:
            return JSONResponse(sorted(worker.connectors))
        views = {
            name: {"status": c.status(WORKER_ID), "info": c.info()}
            for name, c in sorted(worker.connectors.items())
        }
        return JSONResponse({name: {view: both[view] for view in expand} for name, both in views.items()})

    def connector(request: Request, _body: bytes) -> Response:
        if request.method == "DELETE":
            worker.delete(request.path_params["name"])
            return Response(status_code=204)
        return JSONResponse(worker.get(request.path_params["name"]).info())

    def config(request: Request, body: bytes) -> Response:
        name = request.path_params["name"]
        if request.method == "GET":
            return JSONResponse(worker.get(name).config)
        changed, created = worker.put(name, {"name": name} | _flat(body))
        return JSONResponse(
            changed.info(), 201 if created else 200, headers={"Location": f"/connectors/{name}"}
        )

    def status(request: Request, _body: bytes) -> Response:
        name = request.path_params["name"]
        if name not in worker.connectors:
            raise ApiError(404, f"No status found for connector {name}")
        return JSONResponse(worker.get(name).status(WORKER_ID))

    def offsets(request: Request, body: bytes) -> Response:
        found = worker.get(request.path_params["name"])
        if request.method in ("GET", "HEAD"):
            return JSONResponse({"offsets": worker.offsets(found)})
        altered = request.method == "PATCH"
        worker.change_offsets(found, _offsets(body) if altered else None)
        done = "altered" if altered else "reset"
        return JSONResponse({"message": f"The offsets for this connector have been {done} successfully"})

    def restart(request: Request, _body: bytes) -> Response:
        found, query = worker.get(request.path_params["name"]), request.query_params
        if query.get("includeTasks") != "true" and query.get("onlyFailed") != "true":
            return Response(status_code=204)  # the connector instance alone: here it has nothing to restart
        before = found.status(WORKER_ID)
        only_failed = query.get("onlyFailed") == "true"
        if query.get("includeTasks") == "true":
            for task in before["tasks"]:
                if not only_failed or task["state"] == "FAILED":
                    task["state"] = "RESTARTING"
            worker.restart_task(found, only_failed)
        return JSONResponse(before, 202)

    def validated(request: Request, body: bytes) -> Response:
        given = {"connector.class": request.path_params["plugin"]} | _flat(body)
        return JSONResponse(_config_infos(request.path_params["plugin"], given))

    def target(state: str, code: int) -> Callable[[Request, bytes], Response]:
        def handle(request: Request, _body: bytes) -> Response:
            worker.set_target(worker.get(request.path_params["name"]), state)
            return Response(status_code=code)

        return handle

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        worker.resume()
        yield
        for each in worker.connectors.values():
            if each.task:
                await run_in_threadpool(each.task.stop, EXIT_SECONDS)

    named = "/connectors/{name}"
    routes = [
        Route("/", served(root)),
        Route("/connectors", served(connectors)),
        Route(named, served(connector), methods=["GET", "DELETE"]),
        Route(f"{named}/config", served(config), methods=["GET", "PUT"]),
        Route(f"{named}/status", served(status)),
        Route(f"{named}/offsets", served(offsets), methods=["GET", "PATCH", "DELETE"]),
        Route(f"{named}/restart", served(restart), methods=["POST"]),
        Route(f"{named}/pause", served(target("PAUSED", 202)), methods=["PUT"]),
        Route(f"{named}/resume", served(target("RUNNING", 202)), methods=["PUT"]),
        Route(f"{named}/stop", served(target("STOPPED", 204)), methods=["PUT"]),
        Route("/connector-plugins/{plugin}/config/validate", served(validated), methods=["PUT"]),
        Route("/_standin/faults", inject, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error_code": status, "message": message}, status)


def _config_infos(plugin: str, config: Config) -> dict[str, Any]:
    """ConfigInfos: the keys that were given, or are missing, each with what is wrong with it; definitions left out."""
    errors: dict[str, list[str]] = {key: [] for key in config}
    try:
        validate(config.get("name", ""), {"name": ""} | config)
    except ApiError as error:
        if error.status != 400:
            raise
        for line in error.message.splitlines():
            if found := FAULTY_KEY.search(line):
                errors.setdefault(found[1] or found[2], []).append(line)
    values = [
        {"name": key, "value": config.get(key), "recommended_values": [], "errors": found, "visible": True}
        for key, found in sorted(errors.items())
    ]
    count = sum(map(len, errors.values()))
    return {
        "name": plugin,
        "error_count": count,
        "groups": [],
        "configs": [{"value": value} for value in values],
    }


def _flat(body: bytes) -> Config:
    try:
        return {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in json.loads(body).items()
        }
    except (ValueError, AttributeError) as error:
        raise ApiError(400, f"Cannot deserialize a map of strings from the body: {error}") from None


def _offsets(body: bytes) -> Offsets:
    try:
        return parse_offsets(body)
    except OffsetsError as error:
        raise ApiError(400, str(error)) from None


def main() -> None:
    """Serve the API until told to stop."""
    parser = service_parser("Kafka Connect's REST API with the Snowflake sink")
    parser.add_argument("--bootstrap", required=True, help="host:port of Kafka, or the broker's ready.json")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE_SECONDS, help="seconds a task retries an outage"
    )
    options = parse_options(parser)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("snowflake.connector").setLevel(logging.WARNING)

    def bootstrap() -> str:
        # Read anew each time: the embedded broker has another port after every start.
        file = Path(options.bootstrap)
        return str(json.loads(file.read_text())["bootstrap"]) if file.suffix == ".json" else options.bootstrap

    serve_app(application(Worker(options.home, bootstrap, options.patience)), options)


if __name__ == "__main__":
    main()
