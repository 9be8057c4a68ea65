"""The layer that knows people: their session, how much they ask, and that what is written was meant."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from clipsieve.errors import LedgerError
from clipsieve.review.records import OpenedSession
from clipsieve.review.web.access import Access
from clipsieve.review.web.gate import Gate
from clipsieve.review.web.limits import Buckets, address_key

__all__ = ["Door", "client_address", "cookie_of"]

_SEARCHES = frozenset({"/api/search", "/api/similar", "/api/group"})
_Refusal = tuple[int, str, int]  # status, words, seconds to wait


class Door:
    """Finds the session of each request, and refuses what needs one, is too much, or was forged.

    Parameters
    ----------
    app : ASGI application
        What lies within; it finds the session, or None, as `request.state.session`.
    gate : Gate
        Who is in.
    answer : callable
        From scope, status, words, hint, headers to an answer.
    clock : callable, default=time.monotonic
        Seconds, for the limits.
    """

    def __init__(
        self, app: ASGIApp, gate: Gate, answer: Callable[..., Response], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._gate, self._access, self._answer = app, gate, gate.access, answer
        limits = self._access.limits
        self._strangers = Buckets(limits.strangers, clock)
        self._calls, self._pictures = Buckets(limits.calls, clock), Buckets(limits.pictures, clock)
        self._searches, self._learning = Buckets(limits.searches, clock), Buckets(limits.learning, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            session = await self._session(scope)
        except LedgerError:
            words = "Who is logged in cannot be looked up: the ledger cannot be read"
            await self._answer(scope, 503, words, None, {"Retry-After": "2"})(scope, receive, send)
            return
        scope.setdefault("state", {})["session"] = session
        refusal = self._refusal(scope, session)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, what, wait_s = refusal
        headers = {"Retry-After": str(wait_s)} if wait_s else {}
        hint = f"Try again in {wait_s} s" if wait_s else None
        await self._answer(scope, status, what, hint, headers)(scope, receive, send)

    async def _session(self, scope: Scope) -> OpenedSession | None:
        secret = cookie_of(scope, self._access.session_cookie)
        if secret is None or scope["path"].startswith("/static/"):
            return None
        return await run_in_threadpool(self._gate.find, secret)

    def _refusal(self, scope: Scope, session: OpenedSession | None) -> _Refusal | None:
        is_behind = scope["path"].startswith(("/api/", "/images/"))
        is_write = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        wait = self._strangers.take(client_address(scope)) if session is None else 0
        if wait:
            return 429, "Too many requests", wait
        if is_behind and session is None:
            return 401, "Nobody is logged in", 0
        if is_write and not _is_from_own_page(scope, self._access):
            return 403, "The request does not come from a page of this review", 0
        if session is None:
            return None
        forged = _why_forged(Headers(scope=scope), session, scope["method"]) if is_behind and is_write else None
        # What was forged does not count: it must not use up what the person may do.
        wait = 0 if forged else self._bucket(scope["path"]).take(session.annotator)
        return (429, "Too many requests", wait) if wait else forged

    def _bucket(self, path: str) -> Buckets:
        if path.startswith("/images/"):
            return self._pictures
        return self._searches if path in _SEARCHES else self._learning if path == "/api/learn" else self._calls


def _is_from_own_page(scope: Scope, access: Access) -> bool:
    """Return whether a browser says that a page of this server makes this request.

    Every browser sends Origin with a write. Another port of the same machine is the same site to a cookie: Sec-Fetch-Site, where
    it is sent, must say the same origin. A form on a page without a referrer sends `Origin: null`, and then that has to be there.
    """
    headers = Headers(scope=scope)
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if origins == ["null"]:
        return sites == ["same-origin"]
    is_own = len(origins) == 1 and access.is_own_origin(origins[0], headers["host"])
    return is_own and sites in ([], ["same-origin"])


def _why_forged(headers: Headers, session: OpenedSession, method: str) -> _Refusal | None:
    if not hmac.compare_digest(headers.get("x-csrf-token", "").encode(), session.csrf.encode()):
        return 403, "The request does not carry the key of this session", 0
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method == "POST" and kind != "application/json":
        return 415, "A request holds JSON, and says so", 0
    return None


def cookie_of(scope: Scope, name: str) -> str | None:
    """Return what a cookie of the request holds; None where there is none, or two that differ."""
    found = set()
    for header in Headers(scope=scope).getlist("cookie"):
        for piece in header.split(";"):
            key, _, value = piece.partition("=")
            if key.strip() == name:
                found.add(value.strip())
    return found.pop() if len(found) == 1 else None


def client_address(scope: Scope) -> str:
    """Return what stands for the address that a request comes from."""
    client = scope.get("client")
    return address_key((str(client[0]), int(client[1])) if client else None)
