"""Who may speak to the server: the token, the accounts, the names it answers to, and how much at a time."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from ipaddress import ip_address

from clipsieve.review.records import Role

__all__ = ["Access", "Limit", "Limits", "host_and_port", "plain_host"]


@dataclass(frozen=True, slots=True)
class Limit:
    """How often something may happen: so many at once, and so many a second from then on.

    Attributes
    ----------
    burst : float
        At once, >= 1.
    per_s : float
        How fast what was used comes back, > 0.
    """

    burst: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Every rate limit of the server. A person who decides ten times a second never meets one.

    Attributes
    ----------
    calls, pictures, searches, learning : Limit
        For each person who has logged in.
    strangers : Limit
        For each address, of whoever has not.
    failed_by_name, failed_by_address, failed_anywhere : Limit
        Of attempts to log in that failed: with one name from one address; from one address; with one name from all of them,
        far more, since others must not be able to keep somebody out.
    """

    calls: Limit = Limit(burst=200, per_s=40)
    pictures: Limit = Limit(burst=2000, per_s=400)
    searches: Limit = Limit(burst=30, per_s=5)
    learning: Limit = Limit(burst=5, per_s=0.2)
    strangers: Limit = Limit(burst=600, per_s=100)
    failed_by_name: Limit = Limit(burst=10, per_s=0.05)
    failed_by_address: Limit = Limit(burst=60, per_s=0.5)
    failed_anywhere: Limit = Limit(burst=500, per_s=1)


@dataclass(frozen=True, slots=True)
class Access:
    """What the server asks of whoever speaks to it.

    Attributes
    ----------
    origins : tuple of str
        The server's own addresses as a browser names them, `http://127.0.0.1:8765`; the first is the one it tells people.
    hosts : tuple of str
        What a Host header may say, with the port where it is not the scheme's.
    answers_to_addresses : bool
        Whether a Host may also be the address that the request came in at. Not where browsers shall come through another
        server, which speaks https for this one: then it may only be an address within this machine.
    token : str or None
        What the address that was printed carries; None where accounts alone let people in.
    has_accounts : bool
        Whether a name needs its password.
    annotator : str or None
        Whoever has the token gets this name and is not asked for one.
    role : Role
        Of people without an account.
    is_secure : bool
        Whether browsers reach the server over https: cookies then travel over nothing else.
    session_ttl_s : float
        How long a login lasts, > 0.
    max_body_bytes : int
        Of a request.
    max_json_depth : int
        How deep lists and objects of a request may lie in each other.
    body_timeout_s : float
        How long a request may take to arrive.
    limits : Limits
        How often.
    """

    origins: tuple[str, ...]
    hosts: tuple[str, ...]
    answers_to_addresses: bool = True
    token: str | None = None
    has_accounts: bool = False
    annotator: str | None = None
    role: Role = Role.ADJUDICATOR
    is_secure: bool = False
    session_ttl_s: float = 12 * 3600.0
    max_body_bytes: int = 1 << 20
    max_json_depth: int = 8
    body_timeout_s: float = 20.0
    limits: Limits = field(default_factory=Limits)

    @property
    def session_cookie(self) -> str:
        """The name of the cookie of a session: of this address alone, since cookies do not tell ports apart."""
        prefix = "__Host-" if self.is_secure else ""
        return f"{prefix}clipsieve_{hashlib.sha256(self.origins[0].encode()).hexdigest()[:8]}"

    @property
    def ticket_cookie(self) -> str:
        """The name of the cookie that stands for the token while somebody logs in."""
        return f"{self.session_cookie}_ticket"

    @property
    def ticket(self) -> str:
        """What that cookie holds: made from the token, and the token cannot be made from it."""
        return hmac.new((self.token or "").encode(), b"clipsieve ticket", "sha256").hexdigest()

    def is_own_host(self, host: str, server: tuple[str, int] | None) -> bool:
        """Return whether a Host header names this server.

        Parameters
        ----------
        host : str
            The header; without a port it means the scheme's.
        server : (str, int) or None
            The address and port at which the request came in. An address is no name: nobody can make it lead elsewhere.
        """
        if plain_host(host) in self.hosts:
            return True
        return (
            server is not None
            and self._answers_to(server[0])
            and plain_host(host) == plain_host(host_and_port(*server))
        )

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Return whether an Origin header is that of a page of this server, reached at a Host that was checked."""
        scheme = "https" if self.is_secure else "http"
        return origin in self.origins or origin == f"{scheme}://{plain_host(host)}"

    def _answers_to(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return self.answers_to_addresses or address.is_loopback


def host_and_port(host: str, port: int) -> str:
    """Return them as a URL has them, IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_host(host: str) -> str:
    """Return a host as browsers write it, without the port of http or https.

    >>> plain_host("Review.example.org:443"), plain_host("[::1]:80"), plain_host("[::1]:8765")
    ('review.example.org', '[::1]', '[::1]:8765')
    """
    name, _, port = host.lower().rpartition(":")
    return name if port in ("80", "443") else host.lower()
