"""What every embedded service has in common: its command line, its sign of life, and how it ends.

A service is a module run as `python -m local.<name> --home DIR --port N --lifeline`. When it can be used
it writes `DIR/ready.json`; when its owner is gone (end of file on standard input) it stops by itself, so
that a killed owner, SIGKILL included, leaves nothing behind.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
STOP_GRACE_SECONDS = 5


def service_parser(description: str) -> argparse.ArgumentParser:
    """Give the command line that every service understands; a service may add arguments of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--home", type=Path, required=True, help="folder of this service's state")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--lifeline", action="store_true", help="stop when standard input closes")
    return parser


def parse_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, make the home folder and tie the process to its owner if asked to."""
    options = parser.parse_args()
    options.home = options.home.resolve()
    options.home.mkdir(parents=True, exist_ok=True)
    if options.lifeline:
        threading.Thread(target=_stop_with_owner, daemon=True).start()
    return options


def ready_file(home: Path) -> Path:
    """Name the file by which a service says that it can be used."""
    return home / "ready.json"


def announce(home: Path, **facts: Any) -> None:
    """Say that the service can be used, and where (`url=...`); written in one step, never half."""
    partial = home / "ready.json.partial"
    partial.write_text(json.dumps({"pid": os.getpid(), **facts}))
    partial.replace(ready_file(home))


def serve_app(app: Any, options: argparse.Namespace, certificate: Path | None = None, **facts: Any) -> None:
    """Serve an ASGI application until SIGTERM or SIGINT; `certificate` (PEM, key and chain) makes it TLS."""
    import uvicorn

    class AnnouncingServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                port = self.servers[0].sockets[0].getsockname()[1]
                scheme = "https" if certificate else "http"
                announce(options.home, url=f"{scheme}://{HOST}:{port}", port=port, **facts)

    config = uvicorn.Config(
        app,
        host=HOST,
        port=options.port,
        log_level="warning",
        access_log=False,
        ssl_certfile=certificate,
        timeout_graceful_shutdown=STOP_GRACE_SECONDS,
    )
    AnnouncingServer(config).run()


def _stop_with_owner() -> None:
    """Wait for the owner's end of the pipe to close, then stop: politely first, for certain later."""
    while os.read(sys.stdin.fileno(), 64):
        pass
    threading.Timer(STOP_GRACE_SECONDS * 2, lambda: os._exit(1)).start()
    os.kill(os.getpid(), signal.SIGTERM)
