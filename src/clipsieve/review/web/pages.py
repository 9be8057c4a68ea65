"""The pages as HTML: templates that escape what they are given, and miss nothing silently."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from clipsieve import legible
from clipsieve.review.records import OpenedSession
from clipsieve.review.web import assets

if TYPE_CHECKING:
    from clipsieve.review.desk import Desk
else:  # annotations are checked at run time by the tests, which have desks of their own
    Desk = Any

__all__ = ["Pages"]


class Pages:
    """Every page that a person sees.

    Parameters
    ----------
    desk : Desk
        Whose state and summary they show.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def review(self, session: OpenedSession) -> Response:
        """Return the page on which people decide."""
        state = self._desk.state(session)
        return self._page("review", session, title=f"Review of {state['run']['name']}", state=state, boot=state)

    def summary(self, session: OpenedSession) -> Response:
        """Return the page that says how far everybody is."""
        state = self._desk.state(session)
        title = f"Summary of {state['run']['name']}"
        return self._page("summary", session, title=title, state=state, boot=state, summary=self._desk.summary())

    def login(
        self,
        *,
        needs_password: bool,
        token_ok: bool,
        error: str | None = None,
        name: str = "",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the form to log in, with what went wrong."""
        facts = {"error": error, "name": name, "needs_password": needs_password, "token_ok": token_ok}
        return self._page("login", None, status=status, headers=headers, title="Log in", **facts)

    def error(
        self, status: int, what: str, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Return a page that says what went wrong."""
        return self._page("error", None, status=status, headers=headers, title=what, what=what, hint=hint)

    def _page(
        self,
        template: str,
        session: OpenedSession | None,
        /,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **facts: Any,  # noqa: ANN401
    ) -> Response:
        facts = {"status": status} | facts
        who = {"annotator": session.annotator if session else None, "csrf": session.csrf if session else None}
        text = _templates().get_template(f"{template}.html.j2").render(**who, **facts)
        return HTMLResponse(text, status, dict(headers) if headers else None)


@lru_cache(maxsize=1)
def _templates() -> Environment:
    made = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "count": legible.as_count,
        "percent": legible.as_percent,
        "share": legible.as_share,
        "name": legible.as_name,
        "text": legible.as_text,
    }
    made.globals["asset"] = assets.address
    return made


def _source(name: str) -> str | None:
    file = files("clipsieve.review.web").joinpath("templates").joinpath(name)
    return file.read_text(encoding="utf-8") if file.is_file() else None
