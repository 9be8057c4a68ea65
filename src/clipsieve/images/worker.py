"""A process that decodes; `main` is given the numbers of a socket and of a segment, and its setup as JSON.

It speaks over one inherited socket, in frames and never in pickles: a decoder that a hostile image has taken over must not
be able to hand code to the process that holds the run. A request is how many files there are, how long each is, and the
files. A reply is a length and that much JSON; the pixels lie one after the other in the segment, memory that this process and
its parent share and no other process holds. When the other end closes, the process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from clipsieve.images.decode import DecodeLimits, decode
from clipsieve.images.fitted import decode_fitted
from clipsieve.images.upright import fit_upright, orientation_of
from clipsieve.types import (
    DecodedImage,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    FileFacts,
    ImageRef,
    Preprocessing,
)

__all__ = ["MAX_IMAGES", "READY", "Outcome", "pack_request", "pack_setup", "receive", "receive_reply", "unpack_reply"]

READY = b"ready"  # the first bytes: everything is imported
MAX_IMAGES = 16  # in one request
MAX_REPLY_BYTES = 64 * 1024
MAX_DETAIL = 300  # characters: 16 of them, each escaped, stay below the length of a reply
WORD_BYTES = 8  # of every number in a frame, little-endian
JOIN_BYTES = 1024**2  # a request beyond it is not copied into one piece
GRACE_S = 10.0  # beyond the time for one image, within which the parent ends the process

MAX_MEMORY_BYTES = 6 * 1024**3  # room for 178 million RGBA pixels and their conversion

Outcome = tuple[
    FileFacts, Failure | tuple[int, int]
]  # what a file is, and why it has no pixels or how high and wide they are


def pack_setup(recipe: Preprocessing, limits: DecodeLimits, *, exact: bool, for_eyes: bool) -> str:
    """Return what a worker must know at its start."""
    facts = {"recipe": asdict(recipe), "limits": asdict(limits), "exact": exact, "for_eyes": for_eyes}
    return json.dumps(facts)


def pack_request(contents: Sequence[bytes]) -> list[bytes]:
    """Return what to send for some encoded files, 16 at most, in pieces: a large file is not copied."""
    numbers = (len(contents), *(len(content) for content in contents))
    pieces = [_words(*numbers), *contents]
    return [b"".join(pieces)] if sum(numbers) <= JOIN_BYTES else pieces


def receive(connection: socket.socket, n_bytes: int, *, until: float | None = None) -> bytes:
    """Return exactly so many bytes; EOFError if the other end closes before, TimeoutError past a time of the steady clock."""
    found = b""
    while len(found) < n_bytes:
        if until is not None:
            connection.settimeout(max(until - time.monotonic(), 0.001))
        more = connection.recv(n_bytes - len(found), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        found = found + more if found else more
    return found


def receive_reply(connection: socket.socket, *, until: float) -> bytes:
    """Return a reply; ValueError if it is longer than an honest one can be, EOFError and TimeoutError as in `receive`."""
    (n_bytes,) = _numbers(receive(connection, WORD_BYTES, until=until))
    if n_bytes > MAX_REPLY_BYTES:
        raise ValueError(f"a reply of {n_bytes} bytes")
    return receive(connection, n_bytes, until=until)


def unpack_reply(reply: bytes, contents: Sequence[bytes], size_px: int, *, for_eyes: bool) -> list[Outcome]:
    """Return one outcome for each file that was sent; ValueError, KeyError or TypeError if the reply is malformed.

    Parameters
    ----------
    reply : bytes
        Nothing of it is taken on trust but what it says of the files' content.
    contents : sequence of bytes
        The files, as sent.
    size_px : int
        Pixels are of shape (s, s, 3); for eyes of shape (h, w, 3), neither side longer than s.
    """
    try:
        items = json.loads(reply)
    except RecursionError:
        raise ValueError("lists within lists") from None
    if len(items) != len(contents):
        raise ValueError(f"{len(items)} answers to {len(contents)} files")
    side = None if for_eyes else (size_px, size_px)
    return [_outcome(item, len(content), side, size_px) for item, content in zip(items, contents, strict=True)]


def _outcome(item: Any, n_bytes: int, shape: tuple[int, int] | None, longest_px: int) -> Outcome:  # noqa: ANN401
    sha256, width, height, kind, failure, found = item
    if len(sha256) != 64 or bytes.fromhex(sha256).hex() != sha256:
        raise ValueError("no hash")
    if not (kind is None or (isinstance(kind, str) and kind.isascii() and len(kind) <= 32)):
        raise ValueError("no format")
    if not all(side is None or (type(side) is int and 0 <= side < 2**31) for side in (width, height)):
        raise ValueError("no size")
    facts = FileFacts(sha256, n_bytes, width, height, kind)
    if failure:
        step, code, detail = failure
        words = " ".join(str(detail).split())[:MAX_DETAIL].encode(errors="replace").decode()
        return facts, Failure(FailureStep(step), FailureCode(code), words)
    if shape is not None:
        return facts, shape
    high, wide = found
    if not (type(high) is type(wide) is int and 0 < high <= longest_px and 0 < wide <= longest_px):
        raise ValueError("pixels of no shape that was asked for")
    return facts, (high, wide)


def serve(
    connection: socket.socket,
    segment: int,
    recipe: Preprocessing,
    limits: DecodeLimits,
    *,
    exact: bool = False,
    for_eyes: bool = False,
) -> None:
    """Answer until the other end closes, or is no longer there: then nobody is left to tell.

    Parameters
    ----------
    connection : socket
        Where requests come from and replies go to.
    segment : int
        The file descriptor of the memory that pixels are written to.
    recipe, limits, exact, for_eyes
        As of `DecodePool`.
    """
    with contextlib.suppress(EOFError, ConnectionError):
        connection.sendall(READY)
        while True:
            contents = _receive_request(connection)
            # The system ends the process if nobody is left to do it and a decoder never comes back.
            signal.setitimer(signal.ITIMER_REAL, limits.max_seconds + GRACE_S)
            if for_eyes:
                results = [_decode_upright(content, limits, recipe.size_px) for content in contents]
            else:
                results = [decode_fitted(_nameless(content), limits, recipe, exact=exact) for content in contents]
            _write(segment, [result.pixels for result in results if isinstance(result, DecodedImage)])
            reply = json.dumps([_summary(result) for result in results]).encode()
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.sendall(_words(len(reply)) + reply)


def _receive_request(connection: socket.socket) -> list[bytes]:
    (n_files,) = _numbers(receive(connection, WORD_BYTES))
    return [receive(connection, n_bytes) for n_bytes in _numbers(receive(connection, WORD_BYTES * n_files))]


def _decode_upright(content: bytes, limits: DecodeLimits, longest_px: int) -> DecodedImage | FailedImage:
    decoded = decode(_nameless(content), limits)
    if isinstance(decoded, FailedImage):
        return decoded
    return replace(decoded, pixels=fit_upright(decoded.pixels, orientation_of(content), longest_px))


def _nameless(content: bytes) -> ImageRef:
    return ImageRef("", "", None, None, content)


def _write(segment: int, pixels: list[np.ndarray]) -> None:
    """Write pixels one after the other; MemoryError if there is no room, which ends the process."""
    done = 0
    for each in pixels:
        done += os.pwrite(segment, np.ascontiguousarray(each).data, done)
    if done != sum(each.nbytes for each in pixels):
        raise MemoryError("no room for pixels")


def _summary(result: DecodedImage | FailedImage) -> list[object]:
    facts = result.facts
    if facts is None:
        raise ValueError("nothing is known of a file that was read")
    known: list[object] = [facts.sha256, facts.width, facts.height, facts.format]
    if isinstance(result, FailedImage):
        failure = result.failure
        return [*known, [failure.step, failure.code, failure.detail[:MAX_DETAIL]], None]
    return [*known, None, result.pixels.shape[:2]]


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(WORD_BYTES, "little") for number in numbers)


def _numbers(words: bytes) -> list[int]:
    return [int.from_bytes(words[i : i + WORD_BYTES], "little") for i in range(0, len(words), WORD_BYTES)]


def main() -> None:
    """Run the process."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    allowed = MAX_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MAX_MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    setup = json.loads(sys.argv[3])
    if setup["for_eyes"]:
        os.nice(5)  # beside a server that people wait for
    serve(
        socket.socket(fileno=int(sys.argv[1])),
        int(sys.argv[2]),
        Preprocessing.from_json(setup["recipe"]),
        DecodeLimits(**setup["limits"]),
        exact=setup["exact"],
        for_eyes=setup["for_eyes"],
    )


if __name__ == "__main__":
    main()
