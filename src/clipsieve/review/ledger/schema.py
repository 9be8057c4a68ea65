"""How a database comes to have the tables that the code expects."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from clipsieve.errors import LedgerError
from clipsieve.review.ledger.database import Database
from clipsieve.review.ledger.tables import METADATA

__all__ = ["NEWEST", "migrate"]

NEWEST = "0002"
_VERSIONS = "alembic_version"
_FOLDER = Path(__file__).parent / "migrations"
_UNCHANGED = "nothing was written"


def migrate(database: Database, revision: str = NEWEST) -> None:
    """Bring a database to a version of the schema; an empty one is given all tables. Safe when several do so at once.

    Parameters
    ----------
    database : Database
        Empty, or one that clipsieve made.
    revision : str, default=NEWEST
        An older one is for tests alone.

    Raises
    ------
    LedgerError
        If it is another program's, or was made by a newer version of clipsieve.
    """
    with database.reading() as connection:
        if _version_of(connection) == revision:
            return
    with database.writing("schema") as connection:
        _check_ours(connection, database)
        config = Config()
        config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _version_of(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSIONS):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {_VERSIONS}").scalars().all()  # noqa: S608 - a constant
    return str(found[0]) if found else None


def _check_ours(connection: sa.Connection, database: Database) -> None:
    shown = database.place.shown
    names = set(sa.inspect(connection).get_table_names())
    version = _version_of(connection)
    if version is None and names - {_VERSIONS}:
        raise LedgerError(
            f"the database `{shown}` is another program's",
            expected="an empty database, or one that clipsieve made",
            found=_listed(names),
            state=_UNCHANGED,
            hint="name a database of its own",
        )
    known = {script.revision for script in ScriptDirectory(_FOLDER).walk_revisions()}
    if version is not None and version not in known:
        is_ours = set(METADATA.tables) <= names
        raise LedgerError(
            f"the database `{shown}` was made by a newer version of clipsieve"
            if is_ours
            else f"the database `{shown}` is another program's",
            expected=f"version {NEWEST} of the schema or older",
            found=f"version {ascii(version)[1:-1][:40]}",
            state=_UNCHANGED,
            hint="install the newer version: `pip install -U clipsieve`" if is_ours else "name a database of its own",
        )


def _listed(names: set[str]) -> str:
    shown = ", ".join(f"`{ascii(name)[1:-1][:40]}`" for name in sorted(names)[:5])
    return f"{len(names):,} table{'s' if len(names) > 1 else ''}: {shown}{' ...' if len(names) > 5 else ''}"
