"""What the page's script can ask: JSON there and back, each question one call of the desk."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request
from fastapi.security import APIKeyCookie, APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from clipsieve.review.records import OpenedSession
from clipsieve.review.web import models
from clipsieve.review.web.access import Access
from clipsieve.review.web.lanes import Lanes

if TYPE_CHECKING:
    from clipsieve.review.desk import Desk
else:  # annotations are checked at run time by the tests, which have desks of their own
    Desk = Any

__all__ = ["api_routes"]

_PAGE = re.compile(r"[0-9A-Za-z-]{1,40}")
_WORDS = {
    400: "The question makes no sense, or what it asks for is not there",
    401: "Nobody is logged in",
    403: "The request was forged, or is not this person's to make",
    404: "There is nothing here",
    408: "The request took too long to arrive",
    409: "Not at this moment: the hint says when",
    413: "The request is too large",
    415: "The request is no JSON",
    422: "The request is not of this form",
    429: "Too many requests; the header Retry-After says when to try again",
    503: "The ledger or the model cannot be reached; the same again later does no harm",
}


def _faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": models.Problem, "description": _WORDS[status]} for status in statuses}


_READ = _faults(400, 401, 409, 429, 503)
_WRITE = _faults(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)
_PICTURE: dict[int | str, dict[str, Any]] = _faults(400, 401, 404, 429, 503) | {
    200: {"content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}}, "description": "WebP"}
}


def api_routes(desk: Desk, access: Access, lanes: Lanes) -> APIRouter:
    """Return the routes below /api, and that of the pictures."""
    cookie = APIKeyCookie(name=access.session_cookie, scheme_name="session", auto_error=False)
    key = APIKeyHeader(name="X-CSRF-Token", scheme_name="csrf", auto_error=False)
    routes = APIRouter(dependencies=[Depends(cookie)])
    writes = APIRouter(dependencies=[Depends(key)], responses=_WRITE)
    _add_reading(routes, desk)
    _add_pictures(routes, desk, lanes)
    _add_working(writes, desk, lanes)
    _add_finding(writes, desk)
    routes.include_router(writes)
    return routes


def _who(request: Request) -> OpenedSession:
    session = request.state.session
    if not isinstance(session, OpenedSession):  # the door has seen to that; nothing is shown if ever it has not
        raise HTTPException(401)
    page = request.headers.get("x-page", "")
    return replace(session, page=page if _PAGE.fullmatch(page) else "")


def _add_reading(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/api/state", responses=_READ)
    def state(request: Request) -> models.State:
        """All that a page needs to begin."""
        return models.State.model_validate(desk.state(_who(request)))

    @routes.get("/api/summary", responses=_READ)
    def summary(request: Request) -> models.Summary:
        """How far the review is."""
        _who(request)
        return models.Summary.model_validate(desk.summary())

    @routes.get("/api/openapi.json", include_in_schema=False)
    def document(request: Request) -> Response:
        _who(request)
        return JSONResponse(request.app.openapi())


def _add_pictures(routes: APIRouter, desk: Desk, lanes: Lanes) -> None:
    @routes.get("/images/{row}/{sha16}/{size}.webp", responses=_PICTURE, response_class=Response)
    async def picture(
        request: Request,
        row: Annotated[str, Path(pattern="^(0|[1-9][0-9]{0,9})$")],
        sha16: Annotated[str, Path(pattern="^[0-9a-f]{16}$")],
        size: Literal["small", "medium", "large"],
    ) -> Response:
        """One picture, drawn anew from the original; never the file itself."""
        _who(request)
        content = await lanes.pictures.run(desk.picture, int(row), sha16, size)
        if content is None:
            raise HTTPException(404)
        return Response(
            content, media_type="image/webp", headers={"Cache-Control": "private, max-age=86400, immutable"}
        )


def _add_working(routes: APIRouter, desk: Desk, lanes: Lanes) -> None:
    @routes.post("/api/take")
    async def take(request: Request, body: models.TakeBody) -> models.Taken:
        """Hand out the next images of a queue."""
        taken = await lanes.leases.run(desk.take, _who(request), body.queue.spec(), body.n, body.skip)
        return models.Taken.model_validate(taken)

    @routes.post("/api/verdicts")
    async def verdicts(request: Request, body: models.VerdictsBody) -> models.VerdictsAnswer:
        """Write decisions down; the same again changes nothing."""
        sent = [verdict.sent() for verdict in body.verdicts]
        answer = await lanes.decisions.run(desk.decide, _who(request), sent)
        return models.VerdictsAnswer.model_validate(answer)

    @routes.post("/api/release")
    async def release(request: Request, body: models.ReleaseBody) -> models.Nothing:
        """Give images back."""
        await lanes.leases.run(desk.release, _who(request), body.rows)
        return models.Nothing()

    @routes.post("/api/renew")
    async def renew(request: Request, body: models.RenewBody) -> models.Renewed:
        """Keep images that somebody still has before them."""
        return models.Renewed.model_validate(await lanes.leases.run(desk.renew, _who(request), body.rows))

    @routes.post("/api/learn")
    def learn(request: Request, body: models.Nothing) -> models.LearnAnswer:  # noqa: ARG001
        """Tune a classifier on what people decided, and order the queues by it."""
        return models.LearnAnswer.model_validate(desk.learn(_who(request)))


def _add_finding(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/api/search")
    def search(request: Request, body: models.SearchBody) -> models.Items:
        """Find images by words."""
        return models.Items.model_validate(desk.search(_who(request), body.text, body.n, is_blind=body.is_blind))

    @routes.post("/api/similar")
    def similar(request: Request, body: models.SimilarBody) -> models.Items:
        """Find images that are like one."""
        return models.Items.model_validate(desk.similar(_who(request), body.row, body.n, is_blind=body.is_blind))

    @routes.post("/api/group")
    def group(request: Request, body: models.GroupBody) -> models.Group:
        """Find an image's near-duplicates."""
        found = desk.group(_who(request), body.row, body.min_similarity, is_blind=body.is_blind)
        return models.Group.model_validate(found)
