"""What a database complains of, in words and without passwords."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

import sqlalchemy as sa

from clipsieve.errors import LedgerError
from clipsieve.review.ledger.places import Place

__all__ = ["in_words"]

_UNCHANGED = "nothing was written"
_OF_SQLITE = {
    "disk is full": ("there is no room left for", "make room on its disk; verdicts that were accepted are kept"),
    "readonly database": ("this process may not write to", "mend its permissions, or name another place"),
    "unable to open": ("cannot open", "choose a file in a folder that can be written to"),
    "not a database": ("there is a file that is no database at", "choose another file, or move this one away"),
    "database is locked": ("another process keeps hold of", "end it, or try again later"),
    "malformed": ("the database is damaged:", "put back a copy of it"),
    "disk I/O error": ("its disk fails:", "put a copy of it on another disk"),
}
_OF_POSTGRESQL = {
    "28P01": ("the user or the password is wrong for", "mend them in the URL"),
    "28000": ("the server does not let this user in to", "mend the user in the URL, or pg_hba.conf"),
    "3D000": ("there is no database", "make it with `createdb`"),
    "42501": ("this user may not do that in", "give the user its own database: `createdb -O USER DATABASE`"),
    "25006": ("the server takes no writes now:", "name the primary server, not a copy"),
    "53100": ("there is no room left for", "make room on the server's disk; verdicts that were accepted are kept"),
    "53300": ("the server has too many connections for", "end some, or raise max_connections"),
    "55P03": ("another process keeps hold of", "end it, or try again later"),
}
# A server that refuses a connection says so in words alone; in English, unless it was told otherwise.
_AT_CONNECTING = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "pg_hba.conf": "28000",
    "too many clients": "53300",
    "remaining connection slots": "53300",
    "does not exist": "3D000",
}
_UNREACHABLE = ("cannot reach", "see that the server runs, and that the URL is right")


@contextmanager
def in_words(place: Place) -> Iterator[None]:
    """Turn errors of a driver or of SQLAlchemy into LedgerError; the password is taken out of whatever they say."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        fault = getattr(error, "orig", None) or error
        what, hint = _recognised(place, fault)
        raise LedgerError(
            f"{what} `{place.shown}`", found=_said(place, fault), state=_UNCHANGED, hint=hint
        ) from None  # what it came from may hold the password


def _recognised(place: Place, fault: BaseException) -> tuple[str, str | None]:
    if place.path is not None:
        known = [words for said, words in _OF_SQLITE.items() if said in str(fault)]
        return known[0] if known else ("cannot use", None)
    state = getattr(fault, "sqlstate", None) or next(
        (state for said, state in _AT_CONNECTING.items() if said in str(fault)), None
    )
    if state in _OF_POSTGRESQL:
        return _OF_POSTGRESQL[state]
    # By name: psycopg may not be installed.
    is_lost = isinstance(fault, sa.exc.TimeoutError) or type(fault).__name__ in ("OperationalError", "InterfaceError")
    return _UNREACHABLE if is_lost else ("cannot use", None)


def _said(place: Place, fault: BaseException) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    said = "; ".join(lines[:2])
    password = place.url.password
    for form in (password, quote(password), quote_plus(password)) if password else ():
        said = said.replace(form, "***")
    return said[:400] or type(fault).__name__
