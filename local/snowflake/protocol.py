"""The server's side of Snowflake's protocol, where stock fakesnow trips the clients."""

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator

import fakesnow.server as server
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.snowflake.persistence import Warehouse

logger = logging.getLogger("local.snowflake")

MAX_ANSWERS = 256
MAX_ANSWER_BYTES = 1 << 20


def application(warehouse: Warehouse) -> Starlette:
    """Make the server's application: upstream's routes, three of them behind our own functions."""
    server.shared_fs = warehouse
    answers = Answers()

    async def query(request: Request) -> Response:
        return await answers.answer_once(request)

    ours = {
        "/session/v1/login-request": login,
        "/session": logout,
        "/queries/v1/query-request": query,
    }

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(warehouse.close)

    routes = [Route(r.path, ours.get(r.path, r.endpoint), methods=sorted(r.methods)) for r in server.routes]
    return Starlette(routes=routes, lifespan=lifespan)


async def login(request: Request) -> Response:
    """Accept any login, hand out a master token, and keep the query tag.

    Stock gives no token; without one the connector never sends the logout, and sessions stay for ever. It forgets
    the tag, by which the query history tells who asked.
    """
    answer = json.loads((await server.login_request(request)).body)
    body = await request.body()
    asked = json.loads(gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body)
    if tag := asked["data"].get("SESSION_PARAMETERS", {}).get("QUERY_TAG"):
        server.sessions[answer["data"]["token"]].parameters["QUERY_TAG"] = tag
    answer["data"].update(
        masterToken=answer["data"]["token"], validityInSeconds=14400, masterValidityInSeconds=14400
    )
    return JSONResponse(answer)


async def logout(request: Request) -> Response:
    """End a session: stock forgets it, but leaves its open transaction and temporary tables behind."""
    session = server.sessions.get(server.to_token(request)) if request.query_params.get("delete") else None
    answer = await server.session(request)
    if session is not None:
        await run_in_threadpool(session.close)
    return answer


class Answers:
    """The statements under way and the latest answers, by request id."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Response]] = {}

    async def answer_once(self, request: Request) -> Response:
        """Run a statement once, however often its request comes.

        The connector sends a request again (same requestId) after 60 s of silence or a broken connection. Stock
        runs it again, beside the first run: an INSERT counts twice.
        """
        request_id = request.query_params.get("requestId", "")
        await request.body()  # now, for the statement runs on when its client hangs up
        if request_id in self._tasks:
            return await asyncio.shield(self._tasks[request_id])
        task = asyncio.create_task(answer(request))
        if request_id:
            self._remember(request_id, task)
        return await asyncio.shield(task)

    def _remember(self, request_id: str, task: asyncio.Task[Response]) -> None:
        """Keep the task while it runs, and the latest small answers: a big SELECT may well run twice."""
        self._tasks[request_id] = task
        finished = [key for key, other in self._tasks.items() if other.done()]
        big = [key for key in finished if len(self._tasks[key].result().body) > MAX_ANSWER_BYTES]
        for key in {*finished[:-MAX_ANSWERS], *big}:
            del self._tasks[key]


async def answer(request: Request) -> Response:
    """Answer a statement; a failure inside the server is an error of the statement.

    Stock answers HTTP 500, which the connector takes for an outage and repeats until its network timeout,
    which is never by default.
    """
    try:
        response = await server.query_request(request)
        if response.status_code < 500:
            return response
        message = json.loads(response.body)["message"]
    except Exception as error:  # any other way out would be an HTTP 500 too
        logger.exception("a statement failed inside the server")
        message = f"{type(error).__name__}: {error}"
    data = {"errorCode": "000603", "sqlState": "XX000"}
    return JSONResponse({"data": data, "code": "000603", "message": message, "success": False})
