"""One decoding process, the socket to it and the memory that both share."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from clipsieve.engines.shared_memory import open_segment
from clipsieve.errors import EngineError
from clipsieve.images.worker import READY, Outcome, pack_request, receive, receive_reply, unpack_reply
from clipsieve.types import Failure, FileFacts

__all__ = ["Decoded", "DecoderDiedError", "DecoderProcess", "cannot_start"]

Decoded = tuple[FileFacts, Failure | np.ndarray]

START_TIMEOUT_S = 60.0

# glibc gives the pages of each large array back to the system as soon as it is freed, and a decoder frees several for each
# image: faulting them in again took nearly half of the time. 32 MiB is the most that glibc takes.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2), "MALLOC_TRIM_THRESHOLD_": str(256 * 1024**2)}

# There is a process for each core, and none does linear algebra: threads for it cost their start and nothing else.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


class DecoderDiedError(Exception):
    """A process ended, or answered what no sound one would; its words say which signal ended it."""


class DecoderProcess:
    """A process that decodes; it must be ended.

    Parameters
    ----------
    setup : str
        From `pack_setup`.
    size_px : int
        Of the recipe in it.
    for_eyes : bool
        As in it.

    Raises
    ------
    EngineError
        If it cannot be started.
    """

    def __init__(self, setup: str, size_px: int, *, for_eyes: bool) -> None:
        self._size_px = size_px
        self._for_eyes = for_eyes
        self._is_ready = False
        self._segment = open_segment()
        self._connection, theirs = socket.socketpair()
        with theirs:
            descriptors = (theirs.fileno(), self._segment)
            # -P: the folder that a person works in may hold anything, a `json.py` too; nothing is imported from it.
            command = [sys.executable, "-P", "-m", "clipsieve.images.worker", *map(str, descriptors), setup]
            try:
                self.process = subprocess.Popen(  # noqa: S603
                    command,
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    env={**KEEP_MEMORY, **os.environ, **ONE_THREAD},
                    process_group=0,  # Ctrl-C is for the command alone; it ends its processes itself
                )
            except OSError as error:
                self._release()
                raise cannot_start(error.strerror or type(error).__name__) from error

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def ask(self, contents: Sequence[bytes], timeout_s: float) -> list[Decoded]:
        """Decode some files, 16 at most.

        Parameters
        ----------
        contents : sequence of bytes
            The encoded files.
        timeout_s : float
            For handing them over, and then for decoding all of them.

        Returns
        -------
        list of (FileFacts, Failure or uint8 array of shape (h, w, 3))
            In the same order. Each array has memory of its own.

        Raises
        ------
        TimeoutError
            If there is no answer in time.
        DecoderDiedError
            If the process has died, or answers what no sound one would. After both, it has been ended.
        EngineError
            From `wait_until_ready`.
        """
        self.wait_until_ready()
        try:
            self._connection.settimeout(timeout_s)
            for piece in pack_request(contents):
                self._connection.sendall(piece)
            reply = receive_reply(self._connection, until=time.monotonic() + timeout_s)
            return self._take_pixels(unpack_reply(reply, contents, self._size_px, for_eyes=self._for_eyes))
        except TimeoutError:
            self.end()
            raise
        except (EOFError, OSError, ValueError, KeyError, TypeError) as error:
            raise DecoderDiedError(_words_for(self.end())) from error

    def end(self) -> int:
        """End the process now and return its exit status; a second time does nothing more."""
        self.process.kill()
        self._release()
        return self.process.wait()

    def wait_until_ready(self) -> None:
        """Wait for a process that is starting; of one that is ready, do nothing.

        Called when there is work and not at the start: meanwhile the encoder was loaded.

        Raises
        ------
        DecoderDiedError
            If a signal ended it while it started.
        EngineError
            If it cannot start at all, which is no image's fault.
        """
        if self._is_ready:
            return
        try:
            until = time.monotonic() + START_TIMEOUT_S
            if receive(self._connection, len(READY), until=until) == READY:
                self._is_ready = True
                return
            found = "it says something else than that it is ready"
        except TimeoutError:
            found = f"no sign of life within {START_TIMEOUT_S:g} s"
        except (EOFError, OSError):
            status = self.process.wait()
            if status < 0:
                raise DecoderDiedError(_words_for(self.end())) from None
            found = f"it ended at once, with status {status}"
        self.end()
        raise cannot_start(found)

    def _take_pixels(self, outcomes: Sequence[Outcome]) -> list[Decoded]:
        """Read the pixels out of the segment; ValueError if it holds fewer.

        They are read and not mapped: a process that makes a mapped file shorter ends whoever looks at what was there.
        """
        decoded: list[Decoded] = [
            (facts, found if isinstance(found, Failure) else np.empty((*found, 3), np.uint8))
            for facts, found in outcomes
        ]
        views = [pixels.data for _, pixels in decoded if isinstance(pixels, np.ndarray)]
        if views and os.preadv(self._segment, views, 0) != sum(view.nbytes for view in views):
            raise ValueError("fewer pixels than images")
        return decoded

    def _release(self) -> None:
        self._connection.close()
        if self._segment >= 0:
            os.close(self._segment)
            self._segment = -1


def cannot_start(found: str) -> EngineError:
    """Return an error that says what was found where a process should have started."""
    return EngineError(
        "the decoding process cannot be started",
        found=found,
        state="finished parts are kept",
        hint=f"`{sys.executable} -m clipsieve.images.worker` shows why, if it says more than that an argument is missing",
    )


def _words_for(status: int) -> str:
    died = "the decoder process died"
    return died if status >= 0 else f"{died}: {_signal_name(-status)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
