"""The server as one application: layers, routes, and the answer to every fault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from clipsieve._version import __version__
from clipsieve.errors import ClipsieveError
from clipsieve.review.web.access import Access
from clipsieve.review.web.answers import Faults
from clipsieve.review.web.api import api_routes
from clipsieve.review.web.assets import static_routes
from clipsieve.review.web.door import Door
from clipsieve.review.web.gate import Gate
from clipsieve.review.web.lanes import Lanes
from clipsieve.review.web.login import Entrance
from clipsieve.review.web.pages import Pages
from clipsieve.review.web.security import Guard

if TYPE_CHECKING:
    from clipsieve.review.desk import Desk
else:  # annotations are checked at run time by the tests, which have desks of their own
    Desk = Any

__all__ = ["N_THREADS", "create_app"]

N_THREADS = 32  # requests that ask and change nothing; those that may block for long have lanes of their own
# The framework would else send spans wherever variables of the environment say.
_NO_TELEMETRY: Any = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda _: True,
}


def create_app(desk: Desk, access: Access) -> FastAPI:
    """Return the server of a review as an ASGI application.

    Parameters
    ----------
    desk : Desk
        Which answers; the caller closes it.
    access : Access
        Who may ask.
    """
    pages = Pages(desk)
    faults, gate, lanes = Faults(pages), Gate(access, desk.ledger), Lanes()
    app = FastAPI(
        title="clipsieve review",
        description="What the page of reviewers asks its server. Every call needs the cookie of a login.",
        version=__version__,
        docs_url=None,  # they load their scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # served behind the login
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        lifespan=_lifespan,
    )
    app.include_router(api_routes(desk, access, lanes))
    app.router.routes.extend([*Entrance(gate, pages, lanes.logins).routes(), *static_routes()])
    app.add_exception_handler(HTTPException, faults.on_http)
    app.add_exception_handler(RequestValidationError, faults.on_invalid)
    app.add_exception_handler(ClipsieveError, faults.on_clipsieve)
    app.add_middleware(Door, gate=gate, answer=faults.answer)
    app.add_middleware(Guard, access=access, answer=faults.answer)  # the last one added is the outermost
    return app


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = N_THREADS
    yield
