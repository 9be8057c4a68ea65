"""The names by which browsers reach the server."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from clipsieve.errors import UsageError

__all__ = ["is_loopback", "is_open", "own_origins", "public_origin"]


def is_open(host: str, public: str | None) -> bool:
    """Return whether others than this machine's can reach the server at this host, or through a public origin."""
    names = [host] if public is None else [host, urlsplit(public).hostname or ""]
    return not all(is_loopback(name) for name in names)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def own_origins(host: str, port: int, scheme: str, public: str | None, *, is_guarded: bool) -> tuple[str, ...]:
    """Return the server's own addresses as browsers name them, without the port of the scheme; the first is for people.

    Parameters
    ----------
    host : str
        Where it listens.
    port : int
        The same.
    scheme : {"http", "https"}
        That it speaks.
    public : str or None
        The origin by which browsers reach it through another server.
    is_guarded : bool
        Whether it may be reached by that one alone.
    """
    within = ["127.0.0.1", "localhost", "::1"]
    names = [host]
    if is_loopback(host):
        names += within
    elif is_guarded:  # by a server on this machine, which may ask by its own names for this one
        names = within
    elif host in ("0.0.0.0", "::"):  # noqa: S104 - compared with
        names = [socket.gethostname().lower(), socket.getfqdn().lower()]
    suffix = "" if port == (443 if scheme == "https" else 80) else f":{port}"
    own = [f"{scheme}://{_as_browsers_write(name)}{suffix}" for name in names]
    return tuple(dict.fromkeys([*([public] if public else []), *own]))


def public_origin(url: str) -> str:
    """Return the origin of a URL as browsers write it.

    Raises
    ------
    UsageError
        If it is no URL of a whole server.

    Examples
    --------
    >>> public_origin("https://Bücher.example:443/"), public_origin("http://[::1]:8080")
    ('https://xn--bcher-kva.example', 'http://[::1]:8080')
    """
    try:
        parts = urlsplit(url)
        name, port = _as_browsers_write(parts.hostname or ""), parts.port
    except ValueError:  # a port or a name that is none
        name, port = "", None
    is_whole = name and parts.scheme in ("http", "https") and parts.path in ("", "/") and "@" not in parts.netloc
    if not is_whole or parts.query or parts.fragment:
        raise UsageError(
            "the public URL makes no sense",
            expected="https://review.example.org, with a port if need be, and no path",
            found=f"`{url[:200]}`",
        )
    is_default = port in (None, 443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{name}" + ("" if is_default else f":{port}")


def _as_browsers_write(name: str) -> str:
    """Return a host in lower case, with IPv6 in brackets and other letters than ASCII's in Punycode; ValueError for none."""
    if ":" in name:
        return f"[{name.lower()}]"
    return name.lower() if name.isascii() else name.lower().encode("idna").decode("ascii")
