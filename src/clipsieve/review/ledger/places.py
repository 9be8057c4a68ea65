"""Where a ledger lies: a SQLite file, or a database of PostgreSQL."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from clipsieve.errors import MissingExtraError, UsageError

__all__ = ["Place", "read_place"]

_POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_EXPECTED = "a file, `sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST/DATABASE`"


@dataclass(frozen=True, slots=True)
class Place:
    """A place that was understood.

    Attributes
    ----------
    shown : str
        For people: never with a password.
    url : sqlalchemy.URL
        With the password.
    path : Path or None
        The file of SQLite; None with a server.
    """

    shown: str
    url: sa.URL = field(repr=False)
    path: Path | None


def read_place(place: str | Path) -> Place:
    """Understand where a ledger lies; nothing is opened.

    Raises
    ------
    UsageError
        If it is neither a file nor a URL of SQLite or PostgreSQL.
    MissingExtraError
        If the driver of PostgreSQL is not installed.
    """
    if isinstance(place, Path) or "://" not in place:
        return _of_file(str(place))
    scheme = place.partition("://")[0].lower()
    if scheme != "sqlite" and scheme not in _POSTGRESQL:
        raise UsageError(f"verdicts cannot be kept in `{scheme[:40]}://`", expected=_EXPECTED)
    try:
        url = sa.make_url(place)
    except (sa.exc.ArgumentError, ValueError):
        # Not the URL itself: it may hold a password.
        raise UsageError(f"the URL `{scheme}://...` is not well formed", expected=_EXPECTED) from None
    if scheme == "sqlite":
        return _of_file(url.database or "")
    return _of_server(url)


def _of_file(name: str) -> Place:
    if not name or "\0" in name or name == ":memory:" or name.startswith("file:"):
        raise UsageError("verdicts are kept in a file, and none is named", expected=_EXPECTED, found=ascii(name[:60]))
    path = Path(name)
    return Place(str(path), sa.URL.create("sqlite", database=str(path.absolute())), path)


def _of_server(url: sa.URL) -> Place:
    if importlib.util.find_spec("psycopg") is None:
        raise MissingExtraError(
            "`postgresql://` needs a library that is not installed: psycopg",
            hint="pip install 'clipsieve[postgresql]'",
        )
    if not url.database:
        raise UsageError("the URL of PostgreSQL names no database", expected=_EXPECTED)
    shown = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database)
    return Place(shown.render_as_string(), url.set(drivername="postgresql+psycopg"), None)
