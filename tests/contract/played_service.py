"""A real HTTP server on loopback that plays recorded answers and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]


@dataclass
class Asked:
    """One request: method, path with query, and the JSON of its body."""

    method: str
    path: str
    body: Any = None


@dataclass
class Played:
    """The running server; `asked` is what came, in order."""

    url: str
    asked: list[Asked] = field(default_factory=list)

    def changes(self) -> list[str]:
        """Everything asked for that is no mere look."""
        return [f"{a.method} {a.path}" for a in self.asked if a.method != "GET"]


@contextmanager
def play(answer: Callable[[Asked], Answer]) -> Iterator[Played]:
    """Serve `answer` for the time of the `with`; (status, body) by request, body as JSON or, if text, as it is."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length).decode()
            asked = Asked(self.command, self.path, json.loads(text) if text else None)
            played.asked.append(asked)
            status, body = answer(asked)
            content = (
                body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(BrokenPipeError):  # who asked has lost patience
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    played = Played(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield played
    finally:
        server.shutdown()
        server.server_close()
