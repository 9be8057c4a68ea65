"""Who may log in: names, roles, and hashes of passwords (Argon2id)."""

from __future__ import annotations

import threading
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from clipsieve.errors import UsageError
from clipsieve.review.ledger.database import Database
from clipsieve.review.ledger.tables import accounts, sessions
from clipsieve.review.records import MAX_NAME_CHARS, Role, is_name

__all__ = ["Account", "Accounts", "name_key"]

MIN_PASSWORD, MAX_PASSWORD = 10, 1_024
_LOCK = "accounts"
# Each hash takes 64 MiB while it is computed: a crowd at the door must not take all memory.
_AT_ONCE = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may log in.

    Attributes
    ----------
    name : str
        As it was given.
    role : Role
        What they may do.
    created : datetime
        UTC.
    """

    name: str
    role: Role
    created: datetime


class Accounts:
    """The accounts of a database, which are the same for all its runs.

    Names are 1 to 80 printable characters in Unicode's form NFC, with no space at either end. Two names that differ in case or
    in width alone are one account (form NFKC, case folded), which answers to both and keeps the spelling it was made with.
    Passwords are 10 to 1,024 characters in form NFC, so that it does not matter which keyboard composed them.

    Parameters
    ----------
    database : Database
        With the newest schema.
    hasher : PasswordHasher, optional
        By default argon2-cffi's own choice, RFC 9106's second recommendation; hashes of older choices are renewed at login.
    """

    def __init__(self, database: Database, hasher: PasswordHasher | None = None) -> None:
        self._database = database
        self._hasher = hasher or PasswordHasher()

    def add(self, name: str, password: str, role: Role) -> None:
        """Make an account.

        Raises
        ------
        UsageError
            If the name or password is not as described, or the name is taken.
        """
        name = _checked_name(name)
        row = {
            "name_key": name_key(name),
            "name": name,
            "role": str(role),
            "password_hash": self._hash(_checked_password(password)),
            "created": datetime.now(UTC),
        }
        with self._database.writing(_LOCK) as connection:
            taken = connection.scalar(sa.select(accounts.c.name).where(accounts.c.name_key == row["name_key"]))
            if taken is not None:
                raise UsageError(f"there is an account `{taken}` already", hint="choose another name")
            connection.execute(sa.insert(accounts).values(row))

    def verify(self, name: str, password: str) -> Role | None:
        """Return the role of an account if this is its password; it takes as long where there is no such account."""
        password = unicodedata.normalize("NFC", password[: 4 * MAX_PASSWORD])
        nobodys = self._nobodys  # before the answer is known: the first to ask waits for it in any case
        known = sa.select(accounts.c.role, accounts.c.password_hash).where(accounts.c.name_key == name_key(name))
        with self._database.reading() as connection:
            found = connection.execute(known).one_or_none()
        is_right = self._matches(found.password_hash if found else nobodys, password)
        if not (found and is_right):
            return None
        if self._hasher.check_needs_rehash(found.password_hash):
            self._renew(found.password_hash, self._hash(password))
        return Role(found.role)

    def find(self, name: str) -> Account | None:
        """Return the account that answers to a name, in whatever spelling."""
        query = sa.select(accounts.c.name, accounts.c.role, accounts.c.created)
        with self._database.reading() as connection:
            found = connection.execute(query.where(accounts.c.name_key == name_key(name))).one_or_none()
        return None if found is None else Account(found.name, Role(found.role), found.created)

    def all(self) -> list[Account]:
        """Return every account, by name."""
        query = sa.select(accounts.c.name, accounts.c.role, accounts.c.created).order_by(accounts.c.name_key)
        with self._database.reading() as connection:
            return [Account(name, Role(role), created) for name, role, created in connection.execute(query)]

    def remove(self, name: str) -> None:
        """Remove an account, and end its sessions; what the person said stays.

        Raises
        ------
        UsageError
            If there is none.
        """
        with self._database.writing(_LOCK) as connection:
            _check_found(name, connection.execute(sa.delete(accounts).where(accounts.c.name_key == name_key(name))))

    def set_password(self, name: str, password: str) -> None:
        """Give an account another password, and end its sessions.

        Raises
        ------
        UsageError
            If there is no such account, or the password is not as described.
        """
        new = self._hash(_checked_password(password))
        key = name_key(name)
        with self._database.writing(_LOCK) as connection:
            change = sa.update(accounts).where(accounts.c.name_key == key).values(password_hash=new)
            _check_found(name, connection.execute(change))
            connection.execute(sa.delete(sessions).where(sessions.c.account == key))

    def _renew(self, old: str, new: str) -> None:
        """Store the hash anew, unless somebody has set another password meanwhile."""
        with self._database.writing(_LOCK) as connection:
            change = sa.update(accounts).where(accounts.c.password_hash == old)
            connection.execute(change.values(password_hash=new))

    @cached_property
    def _nobodys(self) -> str:
        return self._hash("the password of nobody")

    def _hash(self, password: str) -> str:
        with _AT_ONCE:
            return self._hasher.hash(password)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            with _AT_ONCE:
                return self._hasher.verify(password_hash, password.encode(errors="surrogatepass"))
        except (Argon2Error, InvalidHashError):
            return False


def name_key(name: str) -> str:
    """Return what two spellings of one name have in common; empty for what can be no name."""
    if len(name) > 4 * MAX_NAME_CHARS or not is_name(unicodedata.normalize("NFC", name)):
        return ""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _checked_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    if not is_name(name):
        raise UsageError(
            "that cannot be the name of an account",
            expected=f"1 to {MAX_NAME_CHARS} printable characters, with no space at either end",
            found=ascii(name[:100]),
        )
    return name


def _checked_password(password: str) -> str:
    password = unicodedata.normalize("NFC", password)
    is_text = not any(0xD800 <= ord(mark) <= 0xDFFF for mark in password)
    if not (is_text and MIN_PASSWORD <= len(password) <= MAX_PASSWORD):
        raise UsageError(
            "that cannot be a password",
            expected=f"{MIN_PASSWORD} to {MAX_PASSWORD:,} characters",
            found=f"{len(password):,} characters" if is_text else "characters that are no text",
        )
    return password


def _check_found(name: str, done: sa.CursorResult[tuple[object, ...]]) -> None:
    if not done.rowcount:
        raise UsageError(f"there is no account {name[:100]!a}", hint="list them with `clipsieve accounts`")
