"""One database, SQLite's or PostgreSQL's, from which many threads read and to which they write in turn."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from clipsieve.errors import LedgerError
from clipsieve.review.ledger.faults import in_words
from clipsieve.review.ledger.places import Place

__all__ = ["WAIT_S", "Database", "connect"]

WAIT_S = 5  # for whoever writes at this moment; a person waits, and what they decided is sent again
_OPENING_WAIT_S = 30
_N_CONNECTIONS = 16


class Database:
    """Connections to one database.

    A write holds a named lock from its first statement until it is committed: on PostgreSQL an advisory one, on SQLite the one
    lock that there is. So rows of one table become visible in the order of their numbers, on both.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        From `connect`.
    place : Place
        For error messages.
    """

    def __init__(self, engine: sa.Engine, place: Place) -> None:
        self.place = place
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._engine = engine
        # Who waits in this process holds no connection meanwhile, so that readers always find one; and is served in turn.
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._deal = threading.Lock()

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """Return an insertion in the database's own dialect, which knows what to do about rows that are there."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection whose statements see what is committed."""
        with in_words(self.place), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, lock: str, *, is_durable: bool = True) -> Iterator[sa.Connection]:
        """Give a transaction that is committed at the end of the block, or undone as a whole.

        Parameters
        ----------
        lock : str
            Nobody else, of any process, writes under the same name meanwhile.
        is_durable : bool, default=True
            Whether it must survive a loss of power; where not, PostgreSQL need not wait for its disk.

        Raises
        ------
        LedgerError
            If others hold the lock for seconds; then nothing was written.
        """
        with in_words(self.place), self._turn(lock), self._engine.connect() as connection:
            connection.execution_options(is_writing=True)  # which changes the connection itself
            with connection.begin():
                if not self.is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_number_of(lock))))
                    if not is_durable:
                        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
                yield connection

    @contextmanager
    def _turn(self, lock: str) -> Iterator[None]:
        with self._deal:
            turn = self._turns["" if self.is_sqlite else lock]
        if not turn.acquire(timeout=WAIT_S):
            raise LedgerError(
                f"others have been writing for {WAIT_S} s to `{self.place.shown}`",
                state="nothing was written",
                hint="try again",
            )
        try:
            yield
        finally:
            turn.release()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def connect(place: Place) -> Database:
    """Reach a database; a file of SQLite is made, for its owner's eyes alone.

    Raises
    ------
    LedgerError
        If it cannot be opened or reached.
    """
    if place.path is not None:
        _make_file(place.path)
    options: dict[str, Any] = {"pool_size": _N_CONNECTIONS, "max_overflow": 0, "pool_timeout": _OPENING_WAIT_S}
    if place.path is not None:
        options["connect_args"] = {"timeout": WAIT_S, "check_same_thread": False}
    else:
        options |= {"connect_args": {"connect_timeout": 10}, "pool_pre_ping": True, "isolation_level": "READ COMMITTED"}
    engine = sa.create_engine(place.url, hide_parameters=True, **options)
    sa.event.listen(engine, "connect", _prepare_sqlite if place.path is not None else _prepare_postgresql)
    if place.path is not None:
        sa.event.listen(engine, "begin", _begin_sqlite)
    database = Database(engine, place)
    try:
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT 1")
    except LedgerError:
        database.close()
        raise
    return database


def _make_file(path: Path) -> None:
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        # SQLite makes sure of what is in the file; that the folder knows of it is ours to see to.
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileExistsError:
        if not folder.is_dir():
            raise LedgerError(f"cannot make `{path}`: `{folder}` is a file", state="nothing was written") from None
    except OSError as error:
        raise LedgerError(
            f"cannot make `{path}`: {error.strerror}",
            state="nothing was written",
            hint="choose a file in a folder that can be written to",
        ) from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where this module says, not where Python's driver guesses
    connection.execute(f"PRAGMA busy_timeout = {WAIT_S * 1000}")
    _turn_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    """Let readers and the writer not wait for each other; where two processes do this at once, SQLite refuses one unasked."""
    deadline = time.monotonic() + _OPENING_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer that began as a reader could be refused in the middle, however long it would have waited.
    is_writing = connection.get_execution_options().get("is_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _prepare_postgresql(connection: Any, _record: object) -> None:  # noqa: ANN401 - psycopg may not be installed
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(f"SET lock_timeout = '{WAIT_S}s'")
        # A server that is told not to wait for its disk may forget what it said was written; this one must wait.
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _number_of(lock: str) -> int:
    """Return the number by which PostgreSQL knows a lock."""
    return int.from_bytes(hashlib.sha256(b"clipsieve " + lock.encode()).digest()[:8], signed=True)
