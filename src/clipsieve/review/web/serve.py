"""Serving a review: the address, who may reach it, and an end that loses nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clipsieve.errors import MissingExtraError, UsageError
from clipsieve.review.records import Role
from clipsieve.review.web.access import Access, host_and_port

if TYPE_CHECKING:
    from clipsieve.review.desk import Desk
else:  # annotations are checked at run time by the tests, which have desks of their own
    Desk = Any

__all__ = ["DEFAULT_PORT", "access_for", "serve"]

DEFAULT_PORT = 8765
MAX_CONNECTIONS, MAX_HEADER_BYTES, BACKLOG = 800, 32_768, 512
IDLE_S, END_S = 30, 10


def serve(
    desk: Desk,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    annotator: str | None = None,
    public_url: str | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    on_start: Callable[[str], object] = lambda _: None,
    on_warning: Callable[[str], object] = lambda _: None,
) -> None:
    """Serve a review until Ctrl-C or SIGTERM; then requests are finished, and it returns.

    Parameters
    ----------
    desk : Desk
        The caller closes it, and its ledger.
    host : str, default="127.0.0.1"
        The address to serve on. Beyond this machine it takes accounts.
    port : int, default=8765
        0 takes a free one.
    annotator : str, optional
        Whoever opens the address that is printed gets this name.
    public_url : str, optional
        How browsers reach the server, if through another one on this machine.
    tls_cert, tls_key : Path, optional
        For https: a certificate with its chain, and its key.
    on_start : callable, optional
        Gets the address to open, once it can be opened.
    on_warning : callable, optional
        Gets what should be known, in words.

    Raises
    ------
    UsageError
        If the address cannot be had, or others could reach it and there is no account.
    MissingExtraError
        If the web framework is not installed.
    """
    app_module, uvicorn = _framework()
    _check_tls(tls_cert, tls_key)
    is_tls = tls_cert is not None
    with _listening(host, port) as listener:
        access = access_for(
            desk,
            host=host,
            port=listener.getsockname()[1],
            annotator=annotator,
            public_url=public_url,
            is_tls=is_tls,
        )
        if _is_open(host, public_url) and not access.is_secure:
            on_warning("others on the network can read along, passwords too: give --tls-cert and --tls-key")
        config = uvicorn.Config(
            app_module.create_app(desk, access),
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # its lines would hold the token
            server_header=False,
            proxy_headers=public_url is not None,
            forwarded_allow_ips=["127.0.0.1", "::1"],
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=END_S,
            ssl_certfile=tls_cert,
            ssl_keyfile=tls_key,
        )
        _load(config, tls_cert)
        # The socket listens already: whoever opens the address at once waits until the server takes over.
        on_start(f"{access.origins[0]}/login" + (f"?token={access.token}" if access.token else ""))
        with _ended_by_sigterm(), contextlib.suppress(KeyboardInterrupt, _Ended):
            uvicorn.Server(config).run(sockets=[listener])


def access_for(
    desk: Desk,
    *,
    host: str,
    port: int,
    annotator: str | None = None,
    public_url: str | None = None,
    is_tls: bool = False,
    token: str | None = None,
) -> Access:
    """Return what a server at this address asks of people.

    On this machine alone, and with no account or a name given at the start, that is a token; else a name and its password.

    Raises
    ------
    UsageError
        If others could reach the address and there is no account, or a name or URL makes no sense.
    """
    from clipsieve.review.web.gate import is_name

    if annotator is not None and not is_name(annotator):
        raise UsageError("that is no name to review under", expected="1 to 80 characters that can be seen")
    accounts = {account.name: account.role for account in desk.ledger.accounts.all()}
    is_open = _is_open(host, public_url)
    if is_open and not accounts:
        raise UsageError(
            f"others could reach `{public_url or host}`, and there is no account in this ledger",
            state="nothing was served",
            hint="make one with `clipsieve accounts add`, or serve on 127.0.0.1",
        )
    if is_open and annotator is not None:
        raise UsageError("a name for everybody and accounts exclude each other", hint="leave --annotator out")
    has_accounts = bool(accounts) and annotator is None
    origins = _origins(host, port, "https" if is_tls else "http", public_url)
    return Access(
        origins=origins,
        hosts=tuple(origin.partition("://")[2] for origin in origins),
        token=None if has_accounts else token or secrets.token_urlsafe(32),
        has_accounts=has_accounts,
        annotator=annotator,
        role=accounts.get(annotator or "", Role.ADJUDICATOR),
        is_secure=origins[0].startswith("https:"),
    )


def _framework() -> tuple[Any, Any]:
    try:
        import uvicorn

        from clipsieve.review.web import app
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the page is served with a library that is not installed: {error.name}",
            hint="pip install 'clipsieve[review]'",
        ) from error
    return app, uvicorn


def _is_open(host: str, public_url: str | None) -> bool:
    """Return whether others than this machine's can reach the server."""
    names = [host] if public_url is None else [host, urlsplit(public_url).hostname or ""]
    return not all(_is_loopback(name) for name in names)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _origins(host: str, port: int, scheme: str, public_url: str | None) -> tuple[str, ...]:
    """Return the server's own addresses as browsers name them, without the port of the scheme; the first is for people."""
    names = [host]
    if _is_loopback(host):
        names += ["127.0.0.1", "localhost", "::1"]
    elif host in ("0.0.0.0", "::"):  # noqa: S104 - compared with
        names = [socket.gethostname().lower(), socket.getfqdn().lower()]
    suffix = "" if port == (443 if scheme == "https" else 80) else f":{port}"
    own = [f"{scheme}://{host_and_port(name.lower(), 0).removesuffix(':0')}{suffix}" for name in names]
    return tuple(dict.fromkeys([*([_public_origin(public_url)] if public_url else []), *own]))


def _public_origin(url: str) -> str:
    parts = urlsplit(url)
    is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/") and not parts.username
    if not is_whole or parts.query or parts.fragment:
        raise UsageError(
            "the public URL makes no sense",
            expected="https://review.example.org, with a port if need be, and no path",
            found=f"`{url[:200]}`",
        )
    default = f":{443 if parts.scheme == 'https' else 80}"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}"


def _check_tls(tls_cert: Path | None, tls_key: Path | None) -> None:
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("https needs a certificate and its key", hint="give both --tls-cert and --tls-key")


def _load(config: Any, tls_cert: Path | None) -> None:  # noqa: ANN401
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"`{tls_cert}` and its key cannot be used for https: {error}", expected="PEM files that belong together"
        ) from error


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    where = host_and_port(host, port)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "another program serves there" if is_taken else getattr(error, "strerror", None) or str(error)
        hint = "choose another port with --port, or 0 for a free one" if is_taken else None
        raise UsageError(f"cannot serve on {where}: {why}", state="nothing was served", hint=hint) from error
    with listener:
        os.set_inheritable(listener.fileno(), False)  # noqa: FBT003
        yield listener


class _Ended(BaseException):
    """SIGTERM came."""


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Turn the SIGTERM that the server passes on after its end into a return; whoever called has things to close."""

    def end(*_: object) -> None:
        raise _Ended

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread, where no signal comes
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
