"""A process that decodes: `python -m clipsieve.images.worker FD JSON`.

It speaks over one inherited socket, in frames and never in pickles: a decoder that a hostile image has taken over must not
be able to hand code to the process that holds the run. A request is the encoded file; a reply is a line of JSON and then
the pixels, if there are any. When the other end closes, the process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection

import numpy as np

from clipsieve.images.decode import DecodeLimits, decode
from clipsieve.images.preprocess import fit_to_recipe
from clipsieve.images.upright import fit_upright, orientation_of
from clipsieve.types import FailedImage, Failure, FailureCode, FailureStep, FileFacts, ImageRef, Preprocessing

__all__ = ["MAX_MEMORY_BYTES", "READY", "max_reply_bytes", "pack_setup", "unpack_reply"]

READY = b"ready"  # the first frame: everything is imported
MAX_HEADER_BYTES = 65536
GRACE_S = 10.0  # beyond the time for one image, within which the parent ends the process

MAX_MEMORY_BYTES = 6 * 1024**3  # room for 178 million RGBA pixels and their conversion


def max_reply_bytes(size_px: int) -> int:
    """Return what no honest reply exceeds."""
    return MAX_HEADER_BYTES + 3 * size_px * size_px


def pack_setup(recipe: Preprocessing, limits: DecodeLimits, *, for_eyes: bool = False) -> str:
    """Return what a worker must know at its start."""
    return json.dumps({"recipe": asdict(recipe), "limits": asdict(limits), "for_eyes": for_eyes})


def unpack_reply(
    reply: bytes, size_px: int, *, for_eyes: bool = False
) -> tuple[FileFacts | None, Failure | np.ndarray]:
    """Return the facts of a file and its pixels or its failure; ValueError if the reply is malformed.

    Pixels are uint8 of shape (s, s, 3); for eyes of shape (h, w, 3), neither side longer than s.
    """
    line, _, body = reply.partition(b"\n")
    header = json.loads(line)
    facts = FileFacts(**header["facts"]) if header["facts"] else None
    if header["failure"]:
        step, code, detail = header["failure"]
        return facts, Failure(FailureStep(step), FailureCode(code), str(detail))
    height, width = header["shape"] if for_eyes else (size_px, size_px)
    if not (0 < height <= size_px and 0 < width <= size_px):
        raise ValueError(f"pixels of shape {height} x {width}")
    return facts, np.frombuffer(body, dtype=np.uint8).reshape(height, width, 3)


def answer(content: bytes, recipe: Preprocessing, limits: DecodeLimits, *, for_eyes: bool = False) -> bytes:
    """Return the reply to one encoded file."""
    decoded = decode(ImageRef("", "", None, None, content), limits)
    facts = asdict(decoded.facts) if decoded.facts else None
    if isinstance(decoded, FailedImage):
        failure = decoded.failure
        return json.dumps({"facts": facts, "failure": [failure.step, failure.code, failure.detail]}).encode() + b"\n"
    if for_eyes:
        pixels = fit_upright(decoded.pixels, orientation_of(content), recipe.size_px)
    else:
        pixels = fit_to_recipe(decoded.pixels, recipe)
    header = {"facts": facts, "failure": None, "shape": pixels.shape[:2]}
    return json.dumps(header).encode() + b"\n" + pixels.tobytes()


def serve(connection: Connection, recipe: Preprocessing, limits: DecodeLimits, *, for_eyes: bool) -> None:
    """Answer until the other end closes, or is no longer there: then nobody is left to tell."""
    with contextlib.suppress(EOFError, OSError):
        connection.send_bytes(READY)
        while True:
            content = connection.recv_bytes()
            # The system ends the process if nobody is left to do it and a decoder never comes back.
            signal.setitimer(signal.ITIMER_REAL, limits.max_seconds + GRACE_S)
            reply = answer(content, recipe, limits, for_eyes=for_eyes)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(reply)


def main() -> None:
    """Run the process."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    allowed = MAX_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MAX_MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    setup = json.loads(sys.argv[2])
    recipe = Preprocessing.from_json(setup["recipe"])
    if setup["for_eyes"]:
        os.nice(5)  # beside a server that people wait for
    serve(Connection(int(sys.argv[1])), recipe, DecodeLimits(**setup["limits"]), for_eyes=setup["for_eyes"])


if __name__ == "__main__":
    main()
