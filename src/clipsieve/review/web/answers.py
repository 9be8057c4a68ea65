"""Answers that say what went wrong: JSON for the page's script, a page for people, and never a stack trace."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from clipsieve.errors import (
    ClipsieveError,
    EncoderMismatchError,
    LedgerError,
    MissingExtraError,
    ModelError,
    NotAllowedError,
    RunConflictError,
    UsageError,
)
from clipsieve.legible import as_text
from clipsieve.review.web.pages import Pages

__all__ = ["Faults", "is_for_script", "problem"]

WORDS = {
    400: "The request cannot be read",
    404: "There is nothing here",
    405: "That cannot be done here",
    413: "The request is too large",
    500: "Something went wrong in the server",
    503: "Too much is asked of the server at this moment",
}
_STATUS = (
    (UsageError, 400),
    (NotAllowedError, 403),
    (LedgerError, 503),
    (ModelError, 503),
    (MissingExtraError, 503),
    (RunConflictError, 409),
    (EncoderMismatchError, 409),
)
_MAX_WORDS = 500


def problem(status: int, what: str, hint: str | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as JSON."""
    return JSONResponse({"error": what, "hint": hint}, status, headers)


def is_for_script(scope: Scope) -> bool:
    """Return whether whoever asks is the page's script, or a picture on it, and not a person."""
    path: str = scope["path"]
    return path.startswith(("/api/", "/images/", "/static/"))


class Faults:
    """From every fault to its answer.

    Parameters
    ----------
    pages : Pages
        With the page that shows errors to people.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def answer(
        self, scope: Scope, status: int, what: str, hint: str | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        """Return an error in the form that whoever asks can use."""
        if is_for_script(scope):
            return problem(status, what, hint, headers)
        return self._pages.error(status, what, hint, headers)

    async def on_http(self, request: Request, error: Exception) -> Response:
        """Answer for the framework: no such page, no such method, a body that is none."""
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for these alone
        what = WORDS.get(error.status_code, HTTPStatus(error.status_code).phrase)
        headers = dict(error.headers) if error.headers else None
        return self.answer(request.scope, error.status_code, what, headers=headers)

    async def on_invalid(self, request: Request, error: Exception) -> Response:
        """Answer for a request that has not the form that the interface demands; nothing of it is repeated."""
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these alone
        faults = [_fault_words(fault) for fault in error.errors()[:3]]
        if any(fault["loc"][:1] == ("path",) for fault in error.errors()):
            return self.answer(request.scope, 404, WORDS[404])
        return self.answer(request.scope, 422, "The request is not as it should be", "; ".join(faults)[:_MAX_WORDS])

    async def on_clipsieve(self, request: Request, error: Exception) -> Response:
        """Answer for what a person can mend."""
        assert isinstance(error, ClipsieveError)  # noqa: S101 - registered for these alone
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 409)
        headers = {"Retry-After": "2"} if status == 503 else None
        hint = None if error.hint is None else as_text(error.hint, _MAX_WORDS)
        return self.answer(request.scope, status, as_text(error.what, _MAX_WORDS), hint, headers)


def _fault_words(fault: dict[str, Any]) -> str:
    # Names of fields that a client made up are left out with the rest of what it sent.
    where = ".".join(
        str(step) for step in fault["loc"] if fault["type"] != "extra_forbidden" or step != fault["loc"][-1]
    )
    return as_text(f"{where}: {fault['msg']}", 160)
