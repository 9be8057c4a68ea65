"""A process that encodes, as seen from here: batches over shared memory, everything else in frames of JSON."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from clipsieve.engines.encoder_worker import MAX_FRAME_BYTES, Shared, pack
from clipsieve.engines.shared_memory import open_segment
from clipsieve.errors import ClipsieveError, EngineError

__all__ = ["EncoderProcess", "Slot"]


class Slot:
    """A batch's place in one process: its memory, and the socket that says when it is filled and done.

    For one thread at a time.
    """

    def __init__(self, process: EncoderProcess, connection: Connection, pixels: np.ndarray, rows: np.ndarray) -> None:
        self.process, self._connection = process, connection
        self._pixels, self._rows = pixels, rows

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return the rows (n, d) of a batch that fits."""
        n = len(pixels)
        self._pixels[:n] = pixels
        self.process.ask(self._connection, {"n": n})
        return self._rows[:n].copy()

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()


class EncoderProcess:
    """One process, the memory shared with it and the sockets to it.

    Parameters
    ----------
    model : str
        What it loads.
    options : dict
        Of `load_encoder`, with the device.
    """

    def __init__(self, model: str, options: dict[str, object]) -> None:
        self.device = options["device"]
        self._talking = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            # -P: nothing is imported from the folder that a person works in.
            setup = json.dumps({"model": model, "options": options})
            command = [sys.executable, "-P", "-m", "clipsieve.engines.encoder_worker", setup, str(theirs.fileno())]
            try:
                self.popen = subprocess.Popen(  # noqa: S603
                    command,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    process_group=0,  # Ctrl-C is for the command alone; it ends its processes itself
                )
            except OSError as error:
                self._control.close()
                raise EngineError(
                    "the encoding processes cannot be started",
                    found=error.strerror or type(error).__name__,
                    state="finished parts are kept",
                ) from error
        self._connection = Connection(os.dup(self._control.fileno()))

    def wait_until_ready(self) -> dict[str, Any]:
        """Return what the process says of its encoder, once it is loaded; raise what kept it from that."""
        return self._receive(self._connection)

    def share(self, shared: Shared) -> list[Slot]:
        """Hand over the memory and the sockets."""
        pairs = [socket.socketpair() for _ in range(shared.n_slots)]
        memory = open_segment(shared.n_bytes)
        try:
            fds = [memory, *(theirs.fileno() for _, theirs in pairs)]
            socket.send_fds(self._control, [pack(asdict(shared))], fds)
            places = shared.slots(memory)
        finally:
            os.close(memory)  # the mapping stays
            for _, theirs in pairs:
                theirs.close()
        return [Slot(self, Connection(ours.detach()), *place) for (ours, _), place in zip(pairs, places, strict=True)]

    def tell(self, request: dict[str, Any]) -> bytes:
        """Return the reply to what is not about images: texts, or what to expect."""
        with self._talking:
            return self.ask(self._connection, request)

    def ask(self, connection: Connection, request: dict[str, Any]) -> bytes:
        """Return the reply; the error that the process met, or EngineError if it died."""
        try:
            connection.send_bytes(pack(request))
        except OSError as error:
            raise self._died() from error
        self._receive(connection)
        return connection.recv_bytes(MAX_FRAME_BYTES)

    def _receive(self, connection: Connection) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = json.loads(connection.recv_bytes(MAX_FRAME_BYTES))
        except (EOFError, OSError) as error:
            raise self._died() from error
        if "error" in reply:
            raise _as_raised(**reply)
        return reply

    def _died(self) -> EngineError:
        try:
            status = self.popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = None
        found = f"status {status}" if status is None or status >= 0 else signal.Signals(-status).name
        return EngineError(
            f"the process that encodes on `{self.device}` has died",
            found=found,
            state="finished parts are kept",
            hint="the same command goes on where this one stopped; SIGKILL mostly means that memory ran out",
        )

    def end(self) -> None:
        """End it now, whatever it does."""
        self.popen.kill()
        self.popen.wait()
        self._connection.close()
        self._control.close()


def _as_raised(error: str, what: str, **words: str | None) -> ClipsieveError:
    kinds = {kind.__name__: kind for kind in _below(ClipsieveError)}
    return kinds.get(error, EngineError)(what, **words)


def _below(kind: type[ClipsieveError]) -> Iterator[type[ClipsieveError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _below(each)
