"""Letting people in: tokens and passwords, sessions, and how often somebody may try."""

from __future__ import annotations

import contextlib
import hmac
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clipsieve.errors import LedgerError
from clipsieve.review.records import MAX_NAME_CHARS, OpenedSession, Role, is_name
from clipsieve.review.web.access import Access
from clipsieve.review.web.limits import Buckets

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger
else:  # annotations are checked at run time by the tests, and the ledger's library may be missing
    Ledger = Any

__all__ = ["MAX_PASSWORD_CHARS", "Gate", "Refused"]

MAX_PASSWORD_CHARS, MAX_SECRET_CHARS = 1024, 256
N_HASHING, HASHING_WAIT_S = 2, 5.0  # a hash of a password takes much memory, and that is its point


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """Somebody is not let in.

    Attributes
    ----------
    status : int
        Of HTTP.
    what : str
        Why, in words that tell nothing about who has an account.
    wait_s : int
        When to try again, if that would help.
    """

    def __init__(self, status: int, what: str, wait_s: int = 0) -> None:
        super().__init__(what)
        self.status, self.what, self.wait_s = status, what, wait_s


class Gate:
    """Who is in, and who comes in. Thread-safe.

    Parameters
    ----------
    access : Access
        What is asked of them.
    ledger : Ledger
        With the accounts and the sessions.
    clock : callable, default=time.monotonic
        Seconds, for the limits.
    """

    def __init__(self, access: Access, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self.access, self._ledger = access, ledger
        self._by_name = Buckets(access.limits.failed_by_name, clock)
        self._by_address = Buckets(access.limits.failed_by_address, clock)
        self._anywhere = Buckets(access.limits.failed_anywhere, clock)
        self._hashing = threading.BoundedSemaphore(N_HASHING)

    def find(self, secret: str | None) -> OpenedSession | None:
        """Return the session of a cookie; None if there is none, it has expired, or its account has gone.

        Where a name was given at the start, a session of another name is ended: decisions would be kept under the wrong one.
        """
        if not secret or len(secret) > MAX_SECRET_CHARS or not secret.isascii():
            return None
        session: OpenedSession | None = self._ledger.sessions.find(secret, needs_account=self.access.has_accounts)
        if session is None or self.access.annotator is None:
            return session
        if session.annotator == self.access.annotator:
            return replace(session, role=self.access.role)
        with contextlib.suppress(LedgerError):  # it opens nothing here, whether or not it can be forgotten
            self.end(secret)
        return None

    def end(self, secret: str | None) -> None:
        """End a session, if it is one."""
        if secret and len(secret) <= MAX_SECRET_CHARS and secret.isascii():
            self._ledger.sessions.end(secret)

    def check_token(self, token: str, address: str) -> None:
        """Raise Refused unless this is the token."""
        if self.access.token is not None and _is_same(token, self.access.token):
            return
        wait = self._by_address.take(address)
        if wait:
            raise Refused(429, "Too many attempts from your address", wait)
        raise Refused(403, "This is not the token of this review: it changes with every start")

    def has_ticket(self, ticket: str | None) -> bool:
        """Return whether somebody has shown the token, or none is asked for."""
        return self.access.token is None or _is_same(ticket or "", self.access.ticket)

    def let_in(self, name: str, password: str, address: str) -> str:
        """Return the secret of a new session.

        Raises
        ------
        Refused
            If the name is none, the password is wrong, or there were too many attempts; the messages do not say whether there
            is such an account.
        """
        name = unicodedata.normalize("NFC", name)
        if not is_name(name):
            raise Refused(422, f"A name has 1 to {MAX_NAME_CHARS} characters that can be seen")
        role = self._role_by_password(name, password, address) if self.access.has_accounts else self.access.role
        is_verified = self.access.has_accounts
        return str(self._ledger.sessions.start(name, role, self.access.session_ttl_s, is_verified=is_verified))

    def let_in_as_preset(self) -> str | None:
        """Return the secret of a session of whoever has the token, if their name was given at the start."""
        name = self.access.annotator
        if name is None or self.access.has_accounts:
            return None
        return str(self._ledger.sessions.start(name, self.access.role, self.access.session_ttl_s))

    def _role_by_password(self, name: str, password: str, address: str) -> Role:
        key = unicodedata.normalize("NFKC", name).casefold()  # however it is spelled
        counted = ((self._by_address, address), (self._by_name, f"{address} {key}"), (self._anywhere, key))
        for buckets, whose in counted:
            wait = buckets.take(whose)
            if wait:
                raise Refused(429, "Too many attempts to log in", wait)
        role = None
        if 0 < len(password) <= MAX_PASSWORD_CHARS and not _has_surrogates(password):
            role = self._verified(name, password)
        if role is None:
            raise Refused(403, "The name or the password is wrong")
        for buckets, whose in counted:
            buckets.give_back(whose)
        return role

    def _verified(self, name: str, password: str) -> Role | None:
        if not self._hashing.acquire(timeout=HASHING_WAIT_S):
            raise Refused(503, "Too many people log in at this moment", 5)
        try:
            role: Role | None = self._ledger.accounts.verify(name, password)
            return role
        finally:
            self._hashing.release()


def _is_same(one: str, other: str) -> bool:
    """Compare without telling by the time it takes how much was right."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
