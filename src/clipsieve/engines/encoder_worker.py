"""A process that encodes on one device: `python -P -m clipsieve.engines.encoder_worker JSON FD`.

It speaks in frames of JSON, and never in pickles. Over the first socket it tells what it loaded, or why it cannot; is handed the
shared memory and one more socket for each batch that may be on its way; and encodes texts. Pixels and rows lie in the shared
memory. When the other end closes, the process ends.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from clipsieve.encoders import Encoder, load_encoder
from clipsieve.errors import ClipsieveError

__all__ = ["MAX_FRAME_BYTES", "Shared", "explain", "pack"]

MAX_FRAME_BYTES = 64 * 1024**2  # of texts, or of their rows
MAX_FDS = 64


@dataclass(frozen=True, slots=True)
class Shared:
    """How one segment of memory is divided: for each slot, pixels and then rows.

    Attributes
    ----------
    n_slots, batch_size, side_px, dim : int
        Batches on their way, images in each, and the sizes of images and rows.
    """

    n_slots: int
    batch_size: int
    side_px: int
    dim: int

    @property
    def slot_bytes(self) -> int:
        """The size of one slot, a whole number of pages."""
        used = self.batch_size * (3 * self.side_px**2 + 4 * self.dim)
        return -(-used // mmap.PAGESIZE) * mmap.PAGESIZE

    @property
    def n_bytes(self) -> int:
        """The size of the segment."""
        return self.n_slots * self.slot_bytes

    def slots(self, fd: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return views of the pixels (b, s, s, 3) uint8 and the rows (b, d) float32 of each slot."""
        memory = np.frombuffer(mmap.mmap(fd, self.n_bytes), dtype=np.uint8)
        found = []
        for start in range(0, self.n_bytes, self.slot_bytes):
            slot = memory[start : start + self.slot_bytes]
            rows, rest = np.split(slot, [4 * self.batch_size * self.dim])  # rows first: they want to be aligned
            pixels = rest[: 3 * self.batch_size * self.side_px**2]
            shape = (self.batch_size, self.side_px, self.side_px, 3)
            found.append((pixels.reshape(shape), rows.view(np.float32).reshape(self.batch_size, self.dim)))
        return found


def pack(value: dict[str, Any]) -> bytes:
    """Return a frame."""
    return json.dumps(value).encode()


def explain(error: Exception) -> dict[str, Any]:
    """Return what the other end needs to raise the same error."""
    if isinstance(error, ClipsieveError):
        names = ("what", "expected", "found", "state", "hint")
        return {"error": type(error).__name__, **{name: getattr(error, name) for name in names}}
    words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return {"error": "EngineError", "what": "an encoding process has failed", "found": words}


def _answer(connection: Connection, work: Callable[[dict[str, Any]], bytes]) -> None:
    """Answer one request; what goes wrong is the answer, too."""
    request = json.loads(connection.recv_bytes(MAX_FRAME_BYTES))
    try:
        reply = work(request)
    except Exception as error:  # noqa: BLE001 - told to the other end, which raises it
        connection.send_bytes(pack(explain(error)))
    else:
        connection.send_bytes(pack({}))
        connection.send_bytes(reply)


def _serve_images(connection: Connection, encoder: Encoder, pixels: np.ndarray, rows: np.ndarray) -> None:
    def work(request: dict[str, Any]) -> bytes:
        n = int(request["n"])
        rows[:n] = encoder.encode_images(pixels[:n])
        return b""

    with contextlib.suppress(EOFError, OSError):
        while True:
            _answer(connection, work)


def _ready(encoder: Encoder) -> dict[str, Any]:
    return {
        "identity": asdict(encoder.identity),
        "location": encoder.location,
        "logit_scale": encoder.logit_scale,
        "n_parallel": encoder.n_parallel,
        "batch_size": encoder.best_batch_size,
    }


def serve(setup: dict[str, Any], control: socket.socket) -> None:
    """Load the encoder and answer until the other end closes."""
    connection = Connection(os.dup(control.fileno()))
    try:
        encoder = load_encoder(setup["model"], **setup["options"])
        told = _ready(encoder)
    except Exception as error:  # noqa: BLE001 - as above
        connection.send_bytes(pack(explain(error)))
        return
    connection.send_bytes(pack(told))
    message, fds, _, _ = socket.recv_fds(control, 4096, MAX_FDS)
    if not message:
        return
    shared = Shared(**json.loads(message))
    if shared.batch_size != told["batch_size"]:
        encoder.expect(batch_size=shared.batch_size)
    for fd, (pixels, rows) in zip(fds[1:], shared.slots(fds[0]), strict=True):
        arguments = (Connection(fd), encoder, pixels, rows)
        threading.Thread(target=_serve_images, args=arguments, daemon=True).start()
    while True:
        _answer(connection, lambda request: _control(encoder, request))


def _control(encoder: Encoder, request: dict[str, Any]) -> bytes:
    if "texts" in request:
        return encoder.encode_texts(request["texts"]).tobytes()
    encoder.expect(**request)
    return b""


def _end_with_parent(control: socket.socket) -> None:
    """End the process once the other end has closed, even if it is still loading or encoding."""
    poll = select.poll()
    poll.register(control, select.POLLHUP)
    poll.poll()
    os._exit(0)


def main() -> None:
    """Run the process."""
    control = socket.socket(fileno=int(sys.argv[2]))
    threading.Thread(target=_end_with_parent, args=(control,), daemon=True).start()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        serve(json.loads(sys.argv[1]), control)
    sys.stderr.flush()
    os._exit(0)  # nobody is left to wait for a batch that is still being encoded


if __name__ == "__main__":
    main()
