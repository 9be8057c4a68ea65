"""Decoding in processes of its own, so that neither a crash nor a hang costs more than the image that caused it."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeAlias, TypeVar

import numpy as np

from clipsieve.engines.decoder import Decoded, DecoderDiedError, DecoderProcess, cannot_start
from clipsieve.errors import ClipsieveError, EngineError
from clipsieve.images import BlockList, DecodeLimits
from clipsieve.images.worker import MAX_IMAGES, pack_setup
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

__all__ = ["DecodePool", "Result", "until_failure"]

T = TypeVar("T")
Result: TypeAlias = DecodedImage | EmbeddedImage | FailedImage

MAX_HELD_BYTES = 1024**3  # of encoded files on their way, however many they are
MAX_TOGETHER_BYTES = 256 * 1024  # of encoded files in one request; a larger file goes alone
TOGETHER_S = 10.0  # for a request of several images, if the time for one is not shorter: small ones take milliseconds
STARTS = 3  # of a process that something ends while it starts


@dataclass(slots=True, eq=False)
class _Job:
    """One image on its way."""

    ref: ImageRef
    future: Future[Result] = field(default_factory=Future)

    @property
    def n_bytes(self) -> int:
        return len(self.ref.content) if isinstance(self.ref.content, bytes) else 0


class DecodePool:
    """Decodes a stream of images in worker processes, in order, with bounded memory.

    Small images that wait are handed over several at once. Which ones share a request decides nothing: where one of them ends
    the process or takes too long, each of them is decoded anew and alone.

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
    exact : bool, default=False
        Whether every pixel of a file is decoded first, bit for bit as the reference recipe does it.
    for_eyes : bool, default=False
        Whether images come back for a person to look at: upright, no side longer than the recipe's size, never enlarged and
        without padding, in place of fitted to the recipe. `exact` is then of no effect.
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
        exact: bool = False,
        for_eyes: bool = False,
    ) -> None:
        self._blocked = blocked or BlockList()
        self._known = known
        self._setup = pack_setup(recipe, limits, exact=exact, for_eyes=for_eyes)
        self._for_eyes = for_eyes
        self._size_px = recipe.size_px
        self._timeout_s = limits.max_seconds
        self._window = max(window, n_workers)
        self._max_together = 1 if for_eyes else MAX_IMAGES  # people wait for each picture
        self._is_closing = False
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition(threading.Lock())  # of the two above, and of who the workers are
        self._workers: list[DecoderProcess] = []
        try:
            for _ in range(n_workers):
                self._workers.append(self._start())
        except EngineError:
            for worker in self._workers:
                worker.end()
            raise
        self._threads = [
            threading.Thread(target=self._work, args=(place,), name=f"decode-{place}", daemon=True)
            for place in range(n_workers)
        ]
        for thread in self._threads:
            thread.start()

    def map(self, refs: Iterable[ImageRef]) -> Iterator[Result]:
        """Yield one result for each reference, in order; if these fail, the error comes after what was there before it."""
        pending: deque[tuple[Future[Result], int]] = deque()
        failures: list[ClipsieveError] = []
        held = 0
        for ref in until_failure(refs, failures):
            job = _Job(ref)
            n_bytes = job.n_bytes
            self._add(job)
            pending.append((job.future, n_bytes))
            held += n_bytes
            del ref, job  # whoever decodes it lets go of the file as soon as it can
            while len(pending) >= self._window or (held > MAX_HELD_BYTES and pending):
                first, n_bytes = pending.popleft()
                held -= n_bytes
                yield first.result()
        while pending:
            yield pending.popleft()[0].result()
        for failure in failures:
            raise failure

    def submit(self, ref: ImageRef) -> Future[Result]:
        """Decode one image when its turn comes; any thread may ask.

        The result is cancelled if the pool closes first; RuntimeError if it has closed already.
        """
        job = _Job(ref)
        self._add(job)
        return job.future

    def _add(self, job: _Job) -> None:
        with self._changed:
            if self._is_closing:
                raise RuntimeError("the pool has been closed")
            self._jobs.append(job)
            self._changed.notify()

    def _take(self) -> list[_Job]:
        """Wait for images and return what one worker shall decode next; none if the pool closes.

        That is its share of what waits, as far as it is small. Nobody waits for a request to be filled.
        """
        with self._changed:
            while not self._jobs and not self._is_closing:
                self._changed.wait()
            if self._is_closing:
                return []
            share = min(self._max_together, -(-len(self._jobs) // len(self._workers)))
            taken = [self._jobs.popleft()]
            n_bytes = taken[0].n_bytes
            while len(taken) < share and n_bytes + self._jobs[0].n_bytes <= MAX_TOGETHER_BYTES:
                taken.append(self._jobs.popleft())
                n_bytes += taken[-1].n_bytes
            return taken

    def _work(self, place: int) -> None:
        """Hand images to the worker at a place until the pool closes."""
        while jobs := self._take():
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            try:
                self._decode(place, running)
            except BaseException as error:  # noqa: BLE001 - raised again where the results are asked for
                for job in running:
                    if not job.future.done():
                        job.future.set_exception(error)
            del jobs, running  # not held while waiting for the next ones

    def _decode(self, place: int, jobs: Sequence[_Job]) -> None:
        """Settle some images, or raise what becomes of those that are left."""
        asked: list[tuple[_Job, bytes]] = []
        for job in jobs:
            content = job.ref.content
            if isinstance(content, Failure):
                job.future.set_result(FailedImage(_bare(job.ref), None, content))
            elif (found := self._without_decoding(job.ref, content)) is not None:
                job.future.set_result(found)
            else:
                asked.append((job, content))
        answers = self._answers(place, [content for _, content in asked])
        for (job, _), answer in zip(asked, answers, strict=True):
            job.future.set_result(_result(job.ref, *answer))

    def _without_decoding(self, ref: ImageRef, content: bytes) -> Result | None:
        """Return what becomes of an image that no decoder shall see; None of any other."""
        if self._blocked and self._blocked.blocks(content):
            failure = Failure(FailureStep.READ, FailureCode.BLOCKED, "it is on the block list")
            return FailedImage(_bare(ref), _facts_of(content), failure)
        found = self._known.find(hashlib.sha256(content).hexdigest()) if self._known else None
        return None if found is None else EmbeddedImage(_bare(ref), *found, is_reused=True)

    def _answers(self, place: int, contents: Sequence[bytes]) -> Iterator[Decoded]:
        """Yield what becomes of each file; where a request of several fails, each goes alone, so that blame is exact."""
        if len(contents) > 1:
            try:
                yield from self._worker(place).ask(contents, min(TOGETHER_S, self._timeout_s))
            except (TimeoutError, DecoderDiedError):
                self._raise_if_closing()
            else:
                return
        for content in contents:
            yield self._answer(place, content)

    def _answer(self, place: int, content: bytes) -> Decoded:
        try:
            (found,) = self._worker(place).ask([content], self._timeout_s)
        except TimeoutError:
            code, detail = FailureCode.TIMED_OUT, f"not decoded within {self._timeout_s:g} s"
        except DecoderDiedError as error:
            code, detail = FailureCode.DECODER_CRASHED, str(error)
        else:
            return found
        self._raise_if_closing()
        return _facts_of(content), Failure(FailureStep.DECODE, code, detail)

    def _worker(self, place: int) -> DecoderProcess:
        """Return the worker at a place, a fresh one where the last one has ended, of whatever, and be it while it started."""
        for n_left in reversed(range(STARTS)):
            worker = self._workers[place]
            if worker.has_ended:
                worker.end()
                with self._changed:
                    self._raise_if_closing()
                    worker = self._workers[place] = self._start()
            try:
                worker.wait_until_ready()
                break
            except DecoderDiedError as error:
                if not n_left:
                    raise cannot_start(str(error)) from error
        return worker

    def _start(self) -> DecoderProcess:
        return DecoderProcess(self._setup, self._size_px, for_eyes=self._for_eyes)

    def _raise_if_closing(self) -> None:
        if self._is_closing:
            raise CancelledError  # nobody waits for this image any more

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_closing = True
            for worker in self._workers:
                worker.process.kill()  # wakes the thread that waits for it
            self._changed.notify_all()  # wakes the threads that wait for images
        for job in self._jobs:  # no thread takes one any more
            job.future.cancel()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.end()


def until_failure(items: Iterable[T], failures: list[ClipsieveError]) -> Iterator[T]:
    """Yield items until they fail, and keep the failure: what came before is not lost to it."""
    try:
        yield from items
    except ClipsieveError as failure:
        failures.append(failure)


def _bare(ref: ImageRef) -> ImageRef:
    """Return a reference without its file."""
    return ImageRef(ref.image_id, ref.uri, ref.label, ref.caption, b"", ref.metadata)


def _result(ref: ImageRef, facts: FileFacts, found: Failure | np.ndarray) -> Result:
    bare = _bare(ref)
    return FailedImage(bare, facts, found) if isinstance(found, Failure) else DecodedImage(bare, facts, found)


def _facts_of(content: bytes) -> FileFacts:
    """Return what is known of a file that no decoder has reported on."""
    return FileFacts(hashlib.sha256(content).hexdigest(), len(content), None, None, None)
