"""The embedded Slack: an incoming webhook that keeps what it is told, and a page to read it.

    python -m local.slack --home DIR --port N [--lifeline]

`POST /services/<anything>` takes what Slack's incoming webhooks take and answers as they do: `ok`, or 400
with `invalid_payload` or `no_text`. `GET /` is the inbox, `GET /messages` the same as JSON. Messages are
lines of `messages.jsonl`.
"""

import html
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from local.service import parse_options, serve_app, service_parser

CONTENT_KEYS = ("text", "blocks", "attachments")
# Slack's mrkdwn, after escaping: <url|label>, <url>, *bold*, _italic_, `code`.
MRKDWN = (
    (re.compile(r"&lt;(https?://[^|&\s]+(?:&amp;[^|&\s]+)*)\|(.+?)&gt;"), r'<a href="\1">\2</a>'),
    (re.compile(r"&lt;(https?://[^|\s]+?)&gt;"), r'<a href="\1">\1</a>'),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+)(?<=\S)\*(?![\w*])"), r"<b>\1</b>"),
    (re.compile(r"(?<![\w/])_(?=\S)([^_\n]+)(?<=\S)_(?!\w)"), r"<i>\1</i>"),
    (re.compile(r"`([^`\n]+)`"), r"<code>\1</code>"),
)
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<title>Slack inbox ({count})</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1d1c1d }}
article {{ border-left: 4px solid #4a154b; padding: .3rem 1rem; margin: 1rem 0; background: #f8f8f8 }}
p {{ white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0 }} time {{ color: #616061; font-size: .85rem }}
</style></head><body><h1>Slack inbox</h1>{articles}</body></html>"""


class Inbox:
    """The messages of one file, oldest first; a line torn by a kill is dropped."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.messages: list[dict[str, Any]] = []
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                self.messages.append(json.loads(line))
            except ValueError:
                continue
        self._write(self.messages, "w")

    def add(self, path: str, payload: dict[str, Any]) -> None:
        """Keep a message, on disk first."""
        message = {"received_at": datetime.now(UTC).isoformat(), "path": path, "payload": payload}
        self._write([message], "a")
        self.messages.append(message)

    def _write(self, messages: list[dict[str, Any]], mode: str) -> None:
        with self.file.open(mode) as file:
            file.write("".join(json.dumps(message) + "\n" for message in messages))


def message_text(payload: dict[str, Any]) -> str:
    """Collect what a reader would see, as mrkdwn: the blocks if there are any, else the text; attachments last."""
    texts = _texts(payload["blocks"]) if payload.get("blocks") else [str(payload.get("text") or "")]
    texts += _texts(payload.get("attachments") or [])
    return "\n".join(text for text in texts if text)


def _texts(part: Any) -> list[str]:
    # Blocks nest: {"text": {"type": "mrkdwn", "text": …}}, {"elements": […]}, {"fields": […]}.
    if isinstance(part, list):
        return [text for element in part for text in _texts(element)]
    if not isinstance(part, dict):
        return []
    own = [part[key] for key in ("pretext", "title", "text") if isinstance(part.get(key), str)]
    return own + _texts(
        [
            part[key]
            for key in ("text", "fields", "elements", "blocks")
            if not isinstance(part.get(key), str) and key in part
        ]
    )


def render(text: str) -> str:
    """Turn mrkdwn into HTML; everything else is escaped. Slack's own escapes (&amp; &lt; &gt;) are undone first."""
    rendered = html.escape(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    for pattern, replacement in MRKDWN:
        rendered = pattern.sub(replacement, rendered)
    return rendered


async def _payload(request: Request) -> Any:
    body = (await request.body()).decode()
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        body = parse_qs(body)["payload"][0]
    return json.loads(body)


def application(home: Path) -> Starlette:
    """Make the webhook and the page over the inbox of this folder."""
    inbox = Inbox(home / "messages.jsonl")

    async def receive(request: Request) -> Response:
        try:
            payload = await _payload(request)
        except (ValueError, KeyError):
            return PlainTextResponse("invalid_payload", 400)
        if not isinstance(payload, dict):
            return PlainTextResponse("invalid_payload", 400)
        if not any(payload.get(key) for key in CONTENT_KEYS):
            return PlainTextResponse("no_text", 400)
        inbox.add(request.url.path, payload)
        return PlainTextResponse("ok")

    async def page(_request: Request) -> Response:
        articles = "".join(
            f"<article><time>{html.escape(message['received_at'][:19])}Z</time>"
            f"<p>{render(message_text(message['payload']))}</p></article>"
            for message in reversed(inbox.messages)
        )
        return HTMLResponse(
            PAGE.format(count=len(inbox.messages), articles=articles or "<p>Nothing yet.</p>")
        )

    async def messages(_request: Request) -> Response:
        return JSONResponse(inbox.messages)

    routes = [
        Route("/services/{path:path}", receive, methods=["POST"]),
        Route("/messages", messages),
        Route("/", page),
    ]
    return Starlette(routes=routes)


def main() -> None:
    """Serve the inbox until told to stop."""
    options = parse_options(service_parser("A Slack incoming webhook and the page to read it"))
    serve_app(application(options.home), options)


if __name__ == "__main__":
    main()
