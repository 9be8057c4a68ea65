"""Where a run lies: a folder of this machine, or a place behind a URL that fsspec knows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from upath import UPath

from clipsieve.errors import UsageError
from clipsieve.remote.connect import is_url, plain_location, public_url, settings_of

__all__ = ["RunPath", "is_remote", "run_path"]

# A path behind a URL has pathlib's methods and is no `Path`: nothing takes it for a file of this machine by mistake.
RunPath: TypeAlias = Path | UPath

_SECRET = re.compile(r"^[^/]*:[^/@]*@|\?")  # a password before the host, a query


def run_path(location: str | os.PathLike[str] | UPath) -> RunPath:
    """Return a location as a path: of this machine, or of what a URL names; `file://` is this machine.

    Nothing is asked of the service, and its library is not loaded yet.

    Raises
    ------
    UsageError
        If fsspec knows no such service, or the URL holds a password or a query: it is written down and printed with the run.
    """
    if isinstance(location, UPath):
        return location
    text = plain_location(os.fspath(location))
    if not is_url(text):
        return Path(text)
    scheme, _, rest = text.partition("://")
    if _SECRET.search(rest):
        raise UsageError(
            f"the URL of the run, `{public_url(text).partition('?')[0]}`, is given with a password or a query",
            expected="a URL that anybody may see: it stands in messages and reports",
            hint=f"where fsspec looks for secrets: FSSPEC_{scheme.upper()}_PASSWORD and the like, or the service's own settings",
        )
    try:
        found: UPath = UPath(f"{scheme.lower()}://{rest}", **_settings(scheme.lower()))
    except ValueError as error:
        raise UsageError(
            f"`{scheme}://` is no service that can hold a run",
            expected="a folder, or a URL such as s3://bucket/run, gs://..., az://..., sftp://...",
        ) from error
    return found


def _settings(protocol: str) -> dict[str, Any]:
    # A part is fetched in one request: else a first one asks for its size, to fetch it in pieces.
    whole: dict[str, Any] = {"max_concurrency": 1} if protocol in ("s3", "s3a") else {}
    return settings_of(protocol) | whole


def is_remote(path: RunPath) -> TypeGuard[UPath]:
    """Return whether a path lies behind a URL."""
    return isinstance(path, UPath)
