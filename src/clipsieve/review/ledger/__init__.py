"""The ledger: who said what about which image, kept in SQLite or PostgreSQL (extra `review`)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsieve.errors import MissingExtraError
from clipsieve.review.ledger.digest import verdict_digest

if TYPE_CHECKING:
    from clipsieve.review.ledger.accounts import Account, Accounts
    from clipsieve.review.ledger.opened import Ledger
    from clipsieve.review.ledger.samples import Sample, Samples
    from clipsieve.review.ledger.sessions import Sessions

__all__ = ["Account", "Accounts", "Ledger", "Sample", "Samples", "Sessions", "open_ledger", "verdict_digest"]

_HOME_OF = {
    "Account": "accounts",
    "Accounts": "accounts",
    "Ledger": "opened",
    "Sample": "samples",
    "Samples": "samples",
    "Sessions": "sessions",
}


def open_ledger(place: str | Path, run_key: str) -> Ledger:
    """Open the ledger of a run; a new one is made, and an older one brought to the newest schema.

    Parameters
    ----------
    place : str or Path
        A SQLite file, made with its folders if it is not there; or a URL: `sqlite:///FILE`, or
        `postgresql://USER:PASSWORD@HOST/DATABASE` for a team. The database must be there, and be clipsieve's alone.
    run_key : str
        Which run the rows belong to, 1 to 200 characters; several runs may share one database.

    Returns
    -------
    Ledger
        To be closed; works as a context manager.

    Raises
    ------
    LedgerError
        If the database cannot be reached, read or written, is another program's, or of a newer version of clipsieve.
    UsageError
        If the place or the key makes no sense.
    MissingExtraError
        If SQLAlchemy and the like, or the driver of PostgreSQL, are not installed.
    """
    opened: type[Ledger] = _load("Ledger")
    return opened.open(place, run_key)


def _load(name: str) -> Any:  # noqa: ANN401
    try:
        module = importlib.import_module(f"{__name__}.{_HOME_OF[name]}")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"verdicts are kept with a library that is not installed: {error.name}",
            hint="pip install 'clipsieve[review]'",
        ) from error
    return getattr(module, name)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _load(name)
