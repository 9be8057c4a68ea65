"""The outermost layer: whom the server answers to, how much it reads, and what browsers may do with its answers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsieve.review.web.access import Access

__all__ = ["POLICY", "Guard", "json_depth"]

POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex",
}
# "same-origin" and not "no-referrer": with the latter, browsers send `Origin: null` with a form, and its check means nothing.
_REFERRER = "same-origin"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_log = logging.getLogger("clipsieve.review")


class Guard:
    """Checks the Host header and the body, adds the headers, and lets no fault out but in words.

    Parameters
    ----------
    app : ASGI application
        What lies within.
    access : Access
        Hosts and limits.
    answer : callable
        From scope, status, words to an answer.
    """

    def __init__(self, app: ASGIApp, access: Access, answer: Callable[[Scope, int, str], Response]) -> None:
        self._app, self._access, self._answer = app, access, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sending = _Sending(scope, send)
        try:
            await self._serve(scope, receive, sending)
        except Exception:
            # The path alone: a query may hold the token.
            _log.exception("a fault while answering %s %r", scope["method"], scope["path"][:200])
            if sending.has_started:
                raise
            await self._answer(scope, 500, "Something went wrong in the server")(scope, receive, sending)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).getlist("host")
        server = scope.get("server")
        if len(host) != 1 or not self._access.is_own_host(host[0], tuple(server) if server else None):
            await self._answer(scope, 400, "This server does not go by that name")(scope, receive, send)
            return
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if isinstance(body, int):
            words = "The request is too large" if body == 413 else "The request cannot be read"
            response = self._answer(scope, body, words)
            response.headers["Connection"] = "close"  # what is left of it is not read
            await response(scope, receive, send)
            return
        await self._app(scope, _Replayed(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | int:
        """Return the body, or the status that refuses it; no more is read than is allowed."""
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal():
            return 400
        if len(length) > 18 or int(length) > self._access.max_body_bytes:
            return 413
        body = bytearray()
        try:
            async with asyncio.timeout(self._access.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return 400
                    body += message.get("body", b"")
                    if len(body) > self._access.max_body_bytes:
                        return 413
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            return 408
        # Strings are no nesting, and a parser that recurses is not asked.
        return bytes(body) if json_depth(bytes(body)) <= self._access.max_json_depth else 400


def json_depth(body: bytes) -> int:
    """Return how deep brackets lie in each other, outside strings.

    >>> json_depth(b'{"a": [1, "]]]"]}'), json_depth(b"name=ann")
    (2, 0)
    """
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


class _Sending:
    """Adds the headers to an answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self.has_started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Referrer-Policy", _REFERRER)
            if message["status"] >= 400 or "cache-control" not in headers:
                headers["Cache-Control"] = "no-store"
        await self._send(message)


class _Replayed:
    """Gives a body that was read already, and then whatever else comes."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
