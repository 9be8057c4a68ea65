"""Decoding in processes of its own, so that neither a crash nor a hang costs more than the image that caused it."""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TypeAlias

from clipsieve.errors import EngineError
from clipsieve.images import BlockList, DecodeLimits
from clipsieve.images.worker import READY, max_reply_bytes, pack_setup, unpack_reply
from clipsieve.store import StoredEmbeddings
from clipsieve.types import (
    DecodedImage,
    EmbeddedImage,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    FileFacts,
    ImageRef,
    Preprocessing,
)

__all__ = ["DecodePool", "Result"]

Result: TypeAlias = DecodedImage | EmbeddedImage | FailedImage

START_TIMEOUT_S = 60.0
MAX_HELD_BYTES = 1024**3  # of encoded files on their way, however many they are

# glibc gives the pages of each large array back to the system as soon as it is freed, and a decoder frees several for each
# image: faulting them in again took nearly half of the time. 32 MiB is the most that glibc takes.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2), "MALLOC_TRIM_THRESHOLD_": str(256 * 1024**2)}


class _Worker:
    """One decoding process and the socket to it."""

    def __init__(self, setup: str, size_px: int, timeout_s: float) -> None:
        self._max_reply_bytes = max_reply_bytes(size_px)
        self._is_ready = False
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: the folder that a person works in may hold anything, a `json.py` too; nothing is imported from it.
            command = [sys.executable, "-P", "-m", "clipsieve.images.worker", str(theirs.fileno()), setup]
            try:
                self.process = subprocess.Popen(  # noqa: S603
                    command,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={**KEEP_MEMORY, **os.environ},
                    process_group=0,  # Ctrl-C is for the command alone; it ends its processes itself
                )
            except OSError as error:
                ours.close()
                raise _cannot_start(error.strerror or type(error).__name__) from error
        # A process that has stopped reads nothing: then handing over an image must end as well.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout_s) + 1, 0))
        self.connection = Connection(ours.detach())

    def _wait_until_ready(self) -> None:
        """Wait for the first frame; EngineError if the process cannot start at all, which is no image's fault."""
        try:
            if self.connection.poll(START_TIMEOUT_S) and self.connection.recv_bytes(len(READY)) == READY:
                self._is_ready = True
                return
            found = f"no sign of life within {START_TIMEOUT_S:g} s"
        except (EOFError, OSError):
            found = f"it ended at once, with status {self.end()}"
        raise _cannot_start(found)

    def ask(self, content: bytes, timeout_s: float) -> bytes:
        """Return the reply; TimeoutError if there is none in time, EOFError or OSError if the process has died."""
        if not self._is_ready:  # asked for now and not at the start: meanwhile the encoder was loaded
            self._wait_until_ready()
        try:
            self.connection.send_bytes(content)
        except BlockingIOError:
            raise TimeoutError from None
        if not self.connection.poll(timeout_s):
            raise TimeoutError
        return self.connection.recv_bytes(self._max_reply_bytes)

    def end(self) -> int:
        """End the process now and return its exit status."""
        self.connection.close()
        self.process.kill()
        return self.process.wait()


class DecodePool:
    """Decodes a stream of images in worker processes, in order, with bounded memory.

    Parameters
    ----------
    n_workers : int
        Processes, >= 1.
    recipe : Preprocessing
        The encoder's; decoded images come back fitted to it.
    limits : DecodeLimits
        A process that exceeds `max_seconds` on one image is ended, and the image is a failure.
    window : int
        How many images may be on their way at once.
    blocked : BlockList, optional
        Images that no decoder ever sees.
    known : StoredEmbeddings, optional
        Images that need not be decoded.
    for_eyes : bool, default=False
        Whether images come back for a person to look at: upright, no side longer than the recipe's size, never enlarged and
        without padding, in place of fitted to the recipe.
    """

    def __init__(
        self,
        n_workers: int,
        recipe: Preprocessing,
        limits: DecodeLimits,
        *,
        window: int,
        blocked: BlockList | None = None,
        known: StoredEmbeddings | None = None,
        for_eyes: bool = False,
    ) -> None:
        self._blocked = blocked or BlockList()
        self._known = known
        self._setup = pack_setup(recipe, limits, for_eyes=for_eyes)
        self._for_eyes = for_eyes
        self._size_px = recipe.size_px
        self._timeout_s = limits.max_seconds
        self._closing = False
        self._window = max(window, n_workers)
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(n_workers, thread_name_prefix="decode")
        self._workers = [_Worker(self._setup, recipe.size_px, limits.max_seconds) for _ in range(n_workers)]
        for worker in self._workers:
            self._idle.put(worker)

    def map(self, refs: Iterable[ImageRef]) -> Iterator[Result]:
        """Yield one result for each reference, in order."""
        pending: deque[tuple[Future[Result], int]] = deque()
        held = 0
        for ref in refs:
            n_bytes = len(ref.content) if isinstance(ref.content, bytes) else 0
            pending.append((self._threads.submit(self._decode, ref), n_bytes))
            held += n_bytes
            while len(pending) >= self._window or (held > MAX_HELD_BYTES and pending):
                first, n_bytes = pending.popleft()
                held -= n_bytes
                yield first.result()
        while pending:
            yield pending.popleft()[0].result()

    def submit(self, ref: ImageRef) -> Future[Result]:
        """Decode one image when its turn comes; any thread may ask.

        The result is cancelled if the pool closes first; RuntimeError if it has closed already.
        """
        return self._threads.submit(self._decode, ref)

    def _decode(self, ref: ImageRef) -> Result:
        bare = replace(ref, content=b"")
        if isinstance(ref.content, Failure):
            return FailedImage(bare, None, ref.content)
        if self._blocked and self._blocked.blocks(ref.content):
            failure = Failure(FailureStep.READ, FailureCode.BLOCKED, "it is on the block list")
            return FailedImage(bare, _facts_of(ref.content), failure)
        found = self._known.find(hashlib.sha256(ref.content).hexdigest()) if self._known else None
        if found is not None:
            return EmbeddedImage(bare, *found, is_reused=True)
        worker = self._take()
        try:
            facts, result = unpack_reply(
                worker.ask(ref.content, self._timeout_s), self._size_px, for_eyes=self._for_eyes
            )
        except TimeoutError:
            failure = self._replace(worker, FailureCode.TIMED_OUT, f"not decoded within {self._timeout_s:g} s")
            return FailedImage(bare, _facts_of(ref.content), failure)
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            failure = self._replace(worker, FailureCode.DECODER_CRASHED, "the decoder process died")
            return FailedImage(bare, _facts_of(ref.content), failure)
        self._idle.put(worker)
        if isinstance(result, Failure):
            return FailedImage(bare, facts, result)
        return DecodedImage(bare, facts or _facts_of(ref.content), result)

    def _take(self) -> _Worker:
        """Wait for an idle worker; one that has died while idle, of nothing that an image did, is replaced."""
        worker = self._idle.get()
        if worker is None:
            raise CancelledError  # the pool closes, and nobody waits for this image any more
        return worker if worker.process.poll() is None else self._renew(worker)

    def _renew(self, worker: _Worker) -> _Worker:
        worker.end()
        fresh = _Worker(self._setup, self._size_px, self._timeout_s)
        self._workers[self._workers.index(worker)] = fresh
        return fresh

    def _replace(self, worker: _Worker, code: FailureCode, detail: str) -> Failure:
        """End a worker that can no longer be trusted, put a fresh one in its place, and say what happened."""
        status = worker.end()
        if code is FailureCode.DECODER_CRASHED and status < 0:
            detail = f"{detail}: {_signal_name(-status)}"
        if not self._closing:
            self._idle.put(self._renew(worker))
        return Failure(FailureStep.DECODE, code, detail)

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._threads.shutdown(wait=False, cancel_futures=True)  # first: no thread may begin another image
        for worker in self._workers:
            worker.process.kill()  # wakes the thread that waits for it
            self._idle.put(None)  # wakes the thread that waits for a worker
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.end()


def _facts_of(content: bytes) -> FileFacts:
    """Return what is known of a file that no decoder has reported on."""
    return FileFacts(hashlib.sha256(content).hexdigest(), len(content), None, None, None)


def _cannot_start(found: str) -> EngineError:
    return EngineError(
        "the decoding process cannot be started",
        found=found,
        state="finished parts are kept",
        hint=f"`{sys.executable} -m clipsieve.images.worker` shows why, if it says more than that an argument is missing",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
