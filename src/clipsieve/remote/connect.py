"""From a URL to a file system, and from what a service raises to words that a person understands."""

from __future__ import annotations

import os
import re
import tempfile
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from clipsieve.errors import MissingExtraError, SourceError
from clipsieve.remote.retry import ATTEMPTS, is_lasting
from clipsieve.types import Failure, FailureCode, FailureStep

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "connect",
    "explain",
    "is_url",
    "missing_library",
    "no_room",
    "plain_location",
    "public_url",
    "settings_of",
    "without_secrets",
]

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "http": "http", "https": "http"}
_SECRETS = re.compile(r"(?<=://)[^/@\s]+@|(?<=[^\s?])\?[^\s'\")]*")  # user and password, query
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 30


def plain_location(location: str) -> str:
    """Return a location as it is meant: `file://` names a path of this machine, and nothing remote."""
    scheme, mark, rest = location.partition("://")
    return os.fsdecode(unquote_to_bytes(rest)) if mark and scheme.lower() in ("file", "local") else location


def is_url(location: str) -> bool:
    """Return whether a location is a URL and not a path of this machine."""
    return "://" in location


def public_url(url: str) -> str:
    """Return a URL without what gives access: user, password, and the query, where signatures stand."""
    if not is_url(url):
        return url
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if scheme.lower() in ("http", "https"):
        path = path.partition("?")[0]
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def connect(location: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a location and its path there; errors in words if it needs a library or makes no sense."""
    import fsspec

    if not is_url(location):
        return fsspec.filesystem("file"), os.path.abspath(location)  # noqa: PTH100 - a link stays what it is
    protocol = location.partition("://")[0].lower()
    location = f"{protocol}://{location.partition('://')[2]}"
    try:
        filesystem, path = fsspec.url_to_fs(location, **settings_of(protocol))
    except ImportError as error:
        raise missing_library(protocol, error) from error
    except Exception as error:
        raise SourceError(
            f"cannot open `{public_url(location)}`: {explain(error).detail}",
            expected="a URL such as s3://bucket/folder, gs://..., https://...",
        ) from error
    return filesystem, str(path)


def settings_of(protocol: str) -> dict[str, Any]:
    """Return what a file system is made with: the listing of today, and retries that are ours alone."""
    settings: dict[str, Any] = {"use_listings_cache": False}  # in a long-lived process too
    if protocol in ("s3", "s3a"):
        # Retries are those of `with_retries`: those of a library below would multiply with them.
        timeouts = {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
        settings["config_kwargs"] = {"retries": {"max_attempts": 0}, **timeouts}
    elif protocol in ("http", "https"):
        settings["client_kwargs"] = {"timeout": _http_timeout()}
    return settings


def missing_library(protocol: str, error: ImportError) -> MissingExtraError:
    """Return the error of a service whose library is not installed."""
    extra = _EXTRAS.get(protocol)
    return MissingExtraError(
        f"`{protocol}://` needs a library that is not installed: {error}",
        hint=f"pip install 'clipsieve[{extra}]'" if extra else "install the library that it names",
    )


def _http_timeout() -> object:
    from aiohttp import ClientTimeout

    # A file may be large and a line slow: what is bounded is silence.
    return ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)


def no_room() -> SourceError:
    """Return the error of a temporary folder that is full."""
    return SourceError(
        f"no room left in `{tempfile.gettempdir()}`, where remote and compressed files are kept while they are read",
        state="finished parts are kept",
        hint="make room, or set TMPDIR to a folder on a larger disk; the same command again goes on",
    )


def without_secrets(words: str) -> str:
    """Return some words without what gives access in their URLs."""
    return _SECRETS.sub("", words)


def explain(error: Exception) -> Failure:
    """Return which code of the closed list a storage's exception means, with its words on one line."""
    words = without_secrets(" ".join(str(error).split()))[:200] or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return Failure(FailureStep.READ, FailureCode.NOT_FOUND, "listed or named, but not there when it was read")
    if isinstance(error, PermissionError):
        return Failure(FailureStep.READ, FailureCode.NOT_PERMITTED, words)
    tried = "" if is_lasting(error) else f", {ATTEMPTS} times"
    return Failure(FailureStep.READ, FailureCode.READ_ERROR, f"{type(error).__name__}{tried}: {words}")
