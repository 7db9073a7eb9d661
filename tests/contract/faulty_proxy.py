"""A proxy before the embedded Snowflake that breaks requests on demand: 500, silence, a lost answer."""

import gzip
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, list[tuple[str, str]], bytes]
Forward = Callable[[], Answer]
# Gets a statement's SQL and the way to Snowflake; gives the answer for the client, None to hang up on it.
Meddle = Callable[[str, Forward], Answer | None]


def forwarded(_sql: str, forward: Forward) -> Answer:
    """Do nothing to a statement."""
    return forward()


INTERNAL_ERROR: Answer = (500, [("Content-Type", "application/json")], b'{"message": "injected fault"}')
NOT_FORWARDED = {"connection", "transfer-encoding", "content-length", "keep-alive", "server", "date"}


class FaultyProxy:
    """Forwards every request, each statement by way of `meddle`, which may do with it what it likes."""

    def __init__(self) -> None:
        self.meddle: Meddle = forwarded
        self.answering = threading.Event()  # while it is cleared, every request waits
        self.answering.set()
        self.port = self.upstream = 0

    @contextmanager
    def serving(self) -> Iterator["FaultyProxy"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(self))
        server.daemon_threads = True
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def before(self, url: str) -> str:
        """Stand before the Snowflake at this URL; give the URL of the proxy."""
        self.upstream = int(url.rsplit(":", 1)[1])
        return f"http://127.0.0.1:{self.port}"


def handler_for(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client was killed
                super().handle()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.answering.wait()

            def forward() -> Answer:
                upstream = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=60)
                kept = {k: v for k, v in self.headers.items() if k.lower() not in NOT_FORWARDED}
                upstream.request(self.command, self.path, body, kept)
                answer = upstream.getresponse()
                headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in NOT_FORWARDED]
                try:
                    return answer.status, headers, answer.read()
                finally:
                    upstream.close()

            sql = statement(body, self.headers) if "query-request" in self.path else ""
            try:
                answer = proxy.meddle(sql, forward) if sql else forward()
            except (OSError, http.client.HTTPException):
                answer = None
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None: ...

    return Handler


def statement(body: bytes, headers: Any) -> str:
    """Read the SQL of a query request."""
    plain = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
    return str(json.loads(plain).get("sqlText", ""))
