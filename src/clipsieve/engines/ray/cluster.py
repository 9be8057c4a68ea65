"""A Ray cluster: how to reach it, and what it has."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipsieve.engines.ray.layout import Node
from clipsieve.errors import ClipsieveError, EngineError, MissingExtraError, UsageError
from clipsieve.remote.connect import without_secrets

__all__ = ["RayCluster", "in_words"]

# Ray tells its makers of every cluster that is started, unless it is told not to; what is scanned here is nobody's business.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# What a process has reserved is kept for it after its death, for three minutes by default: whoever gives the same command again
# would have next to nothing until then. It is renewed every ten seconds.
os.environ.setdefault("RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S", "30")

KNOCK_S = 10.0


class RayCluster:
    """A connection to a cluster; closing it ends what this process has begun there, and nothing else.

    Parameters
    ----------
    address : str, optional
        "auto" or "host:6379", on a machine of the cluster. By default what `RAY_ADDRESS` says, else a cluster that runs on this
        machine, else one of this machine alone, which no other reaches, and which ends with the connection.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    EngineError
        If there is no cluster at that address, or it does not answer.
    UsageError
        If the address is one of Ray's client, which Ray Data does not work through.
    """

    def __init__(self, address: str | None = None) -> None:
        ray = _ray()
        self._has_begun = not ray.is_initialized()
        if not self._has_begun:
            return
        address = address or os.environ.get("RAY_ADDRESS") or None
        if address is not None and address.startswith("ray://"):
            raise UsageError(
                f"`{address}` is an address of Ray's client",
                expected="`auto` or `host:6379`",
                hint="give the command on a machine of the cluster, or as a job with `ray job submit`",
            )
        try:
            _knock(address or "")
            with _silence(ray):
                _init(ray, address)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
            raise EngineError(
                f"cannot join the Ray cluster at `{address or 'auto'}`",
                found=_plain(str(error)),
                state="nothing was written",
                hint="it must run (`ray start --head`), with the same versions of Ray and Python, and if it asks for a token,"
                " with that in RAY_AUTH_TOKEN; `--ray-address` names another",
            ) from error

    @property
    def nodes(self) -> list[Node]:
        """What each machine that is alive has."""
        found = [node["Resources"] for node in _ray().nodes() if node["Alive"]]
        return [
            Node(float(each.get("CPU", 0)), float(each.get("GPU", 0)), int(each.get("object_store_memory", 0)))
            for each in found
        ]

    def close(self) -> None:
        """Disconnect."""
        if self._has_begun:
            with contextlib.suppress(Exception):
                _ray().shutdown()

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@contextmanager
def in_words() -> Iterator[None]:
    """Raise what a worker raised as it was there, and what Ray itself raises as an EngineError."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        raise _cause(error) from error


def _cause(error: BaseException) -> ClipsieveError:
    """Return the error of ours that lies at the bottom, or one with Ray's words."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ClipsieveError):
            return _bare(seen)
        seen = getattr(seen, "cause", None) or seen.__cause__
    return EngineError(
        "the cluster could not do the work",
        found=f"{type(error).__name__}: {_plain(str(error))}",
        state="finished parts are kept",
        hint="`ray status` shows what is alive; the same command again goes on",
    )


def _plain(words: str) -> str:
    """Return some words without colours and line breaks, cut in the middle: a worker's own error is at the end."""
    words = without_secrets(" ".join(re.sub(r"\x1b\[[0-9;]*m", "", words).split()))
    return words if len(words) <= 300 else f"{words[:140]} … {words[-150:]}"


def _bare(error: ClipsieveError) -> ClipsieveError:
    """Return an error without what Ray mixes into the class of one that comes from a worker."""
    for kind in type(error).__mro__:
        if kind.__module__ == "clipsieve.errors":
            names = ("expected", "found", "state", "hint")
            found: ClipsieveError = kind(error.what, **{name: getattr(error, name) for name in names})
            return found
    return error


def _knock(address: str) -> None:
    """Raise ConnectionError if nobody listens at an address, for which Ray would wait more than ten minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
        except OSError as error:
            raise ConnectionError(f"nothing answers there: {error.strerror or error}") from error


def _init(ray: Any, address: str | None) -> None:  # noqa: ANN401
    """Connect to a cluster, or start one that listens on this machine alone: Ray runs what it is sent."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=address or "auto", **quiet)
    except ConnectionError:
        if address is not None:
            raise
        ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)


@contextmanager
def _silence(ray: Any) -> Iterator[None]:  # noqa: ANN401
    """Leave stdout and stderr to us: what Ray says of its workings is in its own log files, and errors come as errors."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    # A machine that is lost is told of on stdout, which carries data here; there is no setting for it.
    internals: Any = getattr(getattr(ray, "_private", None), "worker", None)
    if hasattr(internals, "print_to_stdstream"):
        internals.print_to_stdstream = lambda *_, **__: None
    # What is written in C++ goes to stderr, past Python: it can be told to be silent, and says on stderr that it was told.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _ray() -> Any:  # noqa: ANN401
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Ray is not installed",
            expected="the ray extra, on every machine of the cluster",
            found=f"no module `{error.name}`",
            hint="`pip install 'clipsieve[ray]'`",
        ) from error
    return ray
