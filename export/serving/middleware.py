"""Middleware of the server: what the headers of a request decide alone."""

from __future__ import annotations

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .protocol import echo, error_body

MAX_DIGITS = 18  # of a Content-Length


class HeadAsGet:
    """Answers HEAD as GET; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope, receive, send)


class BodyLimits:
    """Refuses a body by its headers, before a client that sends Expect: 100-continue sends it."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        encoding, length = headers.get("Content-Encoding", "identity"), headers.get("Content-Length", "")
        app = self.app
        if encoding != "identity":
            app = _refusal(415, f"expected a body without Content-Encoding, found {echo(encoding)}")
        elif length.isdecimal() and (len(length) > MAX_DIGITS or int(length) > self.max_bytes):
            app = _refusal(413, f"expected a body of at most {self.max_bytes} bytes")
        await app(scope, receive, send)


def _refusal(status: int, message: str) -> Response:
    return Response(error_body(message), status, media_type="application/json")
