"""Who has logged in, as a secret in their cookie and its hash in the database."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from clipsieve.review.ledger.accounts import name_key
from clipsieve.review.ledger.database import Database
from clipsieve.review.ledger.tables import accounts, sessions
from clipsieve.review.ledger.texts import restored, stored
from clipsieve.review.records import OpenedSession, Role

__all__ = ["Sessions"]

_LOCK = "sessions"
_N_BYTES = 32  # 256 bits
_N_CHARS = len(secrets.token_urlsafe(_N_BYTES))


class Sessions:
    """The sessions of one run; they outlive the server.

    Parameters
    ----------
    database : Database
        With the newest schema.
    run_key : str
        Which run: a cookie for one opens no other.
    """

    def __init__(self, database: Database, run_key: str) -> None:
        self._database = database
        self._run_key = run_key

    def start(self, annotator: str, role: Role, ttl_s: float, *, is_verified: bool = False) -> str:
        """Open a session, and return the secret for the cookie, which is stored nowhere.

        Parameters
        ----------
        annotator : str
            Who; 1 to 80 characters.
        role : Role
            What they may do.
        ttl_s : float
            How long it lasts.
        is_verified : bool, default=False
            Whether they gave the password of the account of that name. Then the name becomes the account's own spelling, and
            the session is the account's: it has the role that the account has at each moment, and ends with it.
        """
        secret = secrets.token_urlsafe(_N_BYTES)
        now = datetime.now(UTC)
        with self._database.writing(_LOCK) as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.expires <= now))
            key = name_key(annotator)
            of_name = sa.select(accounts.c.name).where(accounts.c.name_key == key)
            account = connection.scalar(of_name) if is_verified else None
            connection.execute(
                sa.insert(sessions).values(
                    secret_hash=_hash(secret),
                    run_key=self._run_key,
                    account=None if account is None else key,
                    annotator=stored(annotator if account is None else account),
                    role=str(role),
                    expires=now + timedelta(seconds=ttl_s),
                )
            )
        return secret

    def find(self, secret: str, *, needs_account: bool = False) -> OpenedSession | None:
        """Return the session of a secret; None for one that never was, has expired, was ended, or is another run's.

        Parameters
        ----------
        secret : str
            Whatever the cookie holds.
        needs_account : bool, default=False
            Whether sessions that nobody gave a password for, begun when none was demanded, are passed over.
        """
        if len(secret) != _N_CHARS or not secret.isascii():
            return None
        known = sa.select(sessions, accounts.c.role.label("account_role")).select_from(
            sessions.outerjoin(accounts, sessions.c.account == accounts.c.name_key)
        )
        query = known.where(
            sessions.c.secret_hash == _hash(secret),
            sessions.c.run_key == self._run_key,
            sessions.c.expires > datetime.now(UTC),
        )
        if needs_account:
            query = query.where(accounts.c.name_key.is_not(None))
        with self._database.reading() as connection:
            found = connection.execute(query).one_or_none()
        if found is None:
            return None
        csrf = hmac.digest(secret.encode(), b"clipsieve: what a write carries beside the cookie", "sha256").hex()
        return OpenedSession(restored(found.annotator), Role(found.account_role or found.role), csrf, found.expires)

    def end(self, secret: str) -> None:
        """End a session; one that is not there has ended already."""
        with self._database.writing(_LOCK) as connection:
            ours = sa.delete(sessions).where(sessions.c.run_key == self._run_key)
            connection.execute(ours.where(sessions.c.secret_hash == _hash(secret)))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
