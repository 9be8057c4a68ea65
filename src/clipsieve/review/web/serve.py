"""Serving a review: the address, who may reach it, and an end that loses nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsieve.errors import MissingExtraError, UsageError
from clipsieve.review.records import Role, is_name
from clipsieve.review.web.access import Access, host_and_port, plain_host
from clipsieve.review.web.addresses import is_loopback, is_open, own_origins, public_origin

if TYPE_CHECKING:
    from clipsieve.review.desk import Desk
else:  # annotations are checked at run time by the tests, which have desks of their own
    Desk = Any

__all__ = ["DEFAULT_PORT", "access_for", "serve"]

DEFAULT_PORT = 8765
MAX_HEADER_BYTES, BACKLOG = 32_768, 512
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
    app_module, connections, uvicorn = _framework()
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
        if is_open(host, public_url) and not access.is_secure:
            on_warning("others on the network can read along, passwords too: give --tls-cert and --tls-key")
        if not access.answers_to_addresses and not is_loopback(host):
            on_warning(
                f"`{host}` can be reached without https, past `{access.origins[0]}`: other names are refused there; better "
                "leave --host out"
            )
        config = uvicorn.Config(
            app_module.create_app(desk, access),
            http=connections.Bounded if public_url is None else connections.BehindAnother,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # its lines would hold the token
            server_header=False,
            proxy_headers=public_url is not None,
            forwarded_allow_ips=["127.0.0.1", "::1"],
            limit_concurrency=connections.MAX_CONNECTIONS + 100,  # a last resort: connections are bounded before
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=END_S,
            ssl_certfile=tls_cert,
            ssl_keyfile=tls_key,
        )
        _load(config, tls_cert)
        with _ended_by_sigterm(), contextlib.suppress(KeyboardInterrupt, _Ended):
            # The socket listens already: whoever opens the address at once waits until the server takes over.
            on_start(f"{access.origins[0]}/login" + (f"?token={access.token}" if access.token else ""))
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
    if annotator is not None and not is_name(annotator):
        raise UsageError("that is no name to review under", expected="1 to 80 characters that can be seen")
    public = public_origin(public_url) if public_url is not None else None
    accounts = desk.ledger.accounts.all()
    account = desk.ledger.accounts.find(annotator) if annotator is not None else None
    if annotator is not None:
        annotator = account.name if account else unicodedata.normalize("NFC", annotator)  # one person, one spelling
    can_others = is_open(host, public)
    if can_others and not accounts:
        raise UsageError(
            f"others could reach `{public_url or host}`, and there is no account in this ledger",
            state="nothing was served",
            hint="make one with `clipsieve accounts add`, or serve on 127.0.0.1",
        )
    if can_others and annotator is not None:
        raise UsageError("a name for everybody and accounts exclude each other", hint="leave --annotator out")
    has_accounts = bool(accounts) and annotator is None
    is_guarded = not is_tls and public is not None and public.startswith("https:")
    origins = own_origins(host, port, "https" if is_tls else "http", public, is_guarded=is_guarded)
    return Access(
        origins=origins,
        hosts=tuple(plain_host(origin.partition("://")[2]) for origin in origins),
        answers_to_addresses=not is_guarded,
        token=None if has_accounts else token or secrets.token_urlsafe(32),
        has_accounts=has_accounts,
        annotator=annotator,
        role=account.role if account else Role.ADJUDICATOR,
        is_secure=origins[0].startswith("https:"),
    )


def _framework() -> tuple[Any, Any, Any]:
    try:
        import uvicorn

        from clipsieve.review.web import app, connections
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the page is served with a library that is not installed: {error.name}",
            hint="pip install 'clipsieve[review]'",
        ) from error
    return app, connections, uvicorn


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
