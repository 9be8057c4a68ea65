"""Coming in and going out: the token, the form, the cookies, and the pages behind them."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from clipsieve.review.records import OpenedSession
from clipsieve.review.web.door import client_address, cookie_of
from clipsieve.review.web.gate import Gate, Refused
from clipsieve.review.web.lanes import Lane
from clipsieve.review.web.pages import Pages

__all__ = ["Entrance"]

TICKET_S = 600
MAX_FORM_BYTES, MAX_FIELDS = 16_384, 8
# A step to the next page that the page itself makes. To a redirect, browsers would not send cookies that are SameSite=Strict when
# the first address was opened from somewhere else: from a mail, a chat, another site.
_STEP = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>One moment</title>'
    '<meta http-equiv="refresh" content="0; url={to}"></head><body><p><a href="{to}">Go on</a></p></body></html>\n'
)


class Entrance:
    """The pages, and how people get to them.

    Parameters
    ----------
    gate : Gate
        Who is in.
    pages : Pages
        How they look.
    lane : Lane
        Where passwords are compared and sessions begun and ended.
    """

    def __init__(self, gate: Gate, pages: Pages, lane: Lane) -> None:
        self._gate, self._access, self._pages, self._lane = gate, gate.access, pages, lane

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self._review, methods=["GET"]),
            Route("/summary", self._summary, methods=["GET"]),
            Route("/login", self._ask, methods=["GET"]),
            Route("/login", self._let_in, methods=["POST"]),
            Route("/logout", self._let_out, methods=["POST"]),
        ]

    async def _review(self, request: Request) -> Response:
        session = _session(request)
        if session is None:
            return _to_login(request, "/")
        return await run_in_threadpool(self._pages.review, session)

    async def _summary(self, request: Request) -> Response:
        session = _session(request)
        if session is None:
            return _to_login(request, "/summary")
        return await run_in_threadpool(self._pages.summary, session)

    async def _ask(self, request: Request) -> Response:
        if request.query_params.get("token") is not None:
            return await self._exchange(request)
        if _session(request) is not None:
            return RedirectResponse("/", 303)
        if _is_from_elsewhere(request):
            return _step("/login")
        return self._form(request)

    async def _exchange(self, request: Request) -> Response:
        """Take the token out of the address: a cookie stands for it from now on."""
        try:
            self._gate.check_token(request.query_params["token"], client_address(request.scope))
        except Refused as refused:
            return self._refuse(refused)
        if _session(request) is not None:
            return _step("/")
        secret = await self._lane.run(self._gate.let_in_as_preset)
        if secret is not None:
            response = _step("/")
            self._set(response, self._access.session_cookie, secret, self._access.session_ttl_s)
            return response
        response = _step("/login")
        self._set(response, self._access.ticket_cookie, self._access.ticket, TICKET_S)
        return response

    async def _let_in(self, request: Request) -> Response:
        if not self._has_ticket(request):
            return self._form(request, status=403)
        form = await _form_of(request)
        name, password = form.get("name", "").strip(), form.get("password", "")
        address = client_address(request.scope)
        try:
            secret = await self._lane.run(self._gate.let_in, name, password, address)
        except Refused as refused:
            return self._form(
                request, status=refused.status, error=refused.what, name=name[:80], headers=_wait(refused.wait_s)
            )
        await self._lane.run(self._gate.end, cookie_of(request.scope, self._access.session_cookie))
        response = RedirectResponse("/", 303)
        response.delete_cookie(
            self._access.ticket_cookie, secure=self._access.is_secure, httponly=True, samesite="strict"
        )
        self._set(response, self._access.session_cookie, secret, self._access.session_ttl_s)
        return response

    async def _let_out(self, request: Request) -> Response:
        session = _session(request)
        response = RedirectResponse("/login", 303)
        if session is None:
            return response
        told = request.headers.get("x-csrf-token") or (await _form_of(request)).get("csrf", "")
        if not hmac.compare_digest(told.encode("utf-8", "replace"), session.csrf.encode()):
            raise HTTPException(403)
        await self._lane.run(self._gate.end, cookie_of(request.scope, self._access.session_cookie))
        # The pictures that the browser keeps; not its storage, where decisions may lie that were not sent yet.
        response.headers["Clear-Site-Data"] = '"cache"'
        name = self._access.session_cookie
        response.delete_cookie(name, secure=self._access.is_secure, httponly=True, samesite="strict")
        return response

    def _form(
        self,
        request: Request,
        *,
        status: int = 200,
        error: str | None = None,
        name: str = "",
        headers: dict[str, str] | None = None,
    ) -> Response:
        return self._pages.login(
            needs_password=self._access.has_accounts,
            token_ok=self._has_ticket(request),
            error=error,
            name=name,
            status=status,
            headers=headers,
        )

    def _refuse(self, refused: Refused) -> Response:
        hint = "Open the address that `clipsieve review` printed when it was started last"
        return _unreferred(self._pages.error(refused.status, refused.what, hint, _wait(refused.wait_s)))

    def _has_ticket(self, request: Request) -> bool:
        return self._gate.has_ticket(cookie_of(request.scope, self._access.ticket_cookie))

    def _set(self, response: Response, name: str, value: str, ttl_s: float) -> None:
        secure = self._access.is_secure
        response.set_cookie(name, value, max_age=int(ttl_s), path="/", secure=secure, httponly=True, samesite="strict")


def _session(request: Request) -> OpenedSession | None:
    session: OpenedSession | None = request.state.session
    return session


def _to_login(request: Request, path: str) -> Response:
    return _step(path) if _is_from_elsewhere(request) else RedirectResponse("/login", 303)


def _is_from_elsewhere(request: Request) -> bool:
    """Return whether a page of another site led here, so that the cookie may have been held back."""
    return request.headers.get("sec-fetch-site") == "cross-site"


def _step(path: str) -> Response:
    return _unreferred(HTMLResponse(_STEP.format(to=path)))


def _unreferred(response: Response) -> Response:
    response.headers["Referrer-Policy"] = "no-referrer"  # the address may hold the token
    return response


def _wait(wait_s: int) -> dict[str, str] | None:
    return {"Retry-After": str(wait_s)} if wait_s else None


async def _form_of(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415)
    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        raise HTTPException(413)
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError as error:
        raise HTTPException(400) from error
