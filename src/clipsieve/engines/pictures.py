"""Pictures of single images of a run: the file found again in the source, known by its hash, and decoded in other processes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from clipsieve.engines.lookup import Lookup, Place, lookup_in
from clipsieve.engines.originals import reopen
from clipsieve.engines.pool import DecodePool
from clipsieve.engines.private_places import without_folders
from clipsieve.errors import ClipsieveError
from clipsieve.images import DecodeLimits
from clipsieve.store import Run
from clipsieve.types import DecodedImage, FailedImage, Failure, FailureCode, ImageRef, Preprocessing

__all__ = ["NoPicture", "Originals", "PictureReader", "Place", "limits_of"]

READ_S = 20.0  # a person waits; the scan was more patient
AGAIN_S = 5.0  # until a source that could not be opened is tried again
N_READS = 16  # at once; one that hangs keeps its thread
CLOSED = "the pictures have been closed"
ELSEWHERE = "the run holds embeddings that were computed elsewhere, so there are no images to show"
CHANGED = "its file has changed since the scan"


@dataclass(frozen=True, slots=True)
class NoPicture:
    """Why an image cannot be shown, for people: no full stop, no folder of this machine.

    Attributes
    ----------
    why : str
        In words, on one line.
    """

    why: str


class Originals:
    """The files of a run's images, one at a time, each exactly what was scanned; any thread may ask.

    The source is opened when the first image is asked for, and only for a run of images: where embeddings came from
    elsewhere, nothing is opened and no address that their metadata names is ever asked.

    Parameters
    ----------
    run : Run
        That the images belong to.
    location : str, optional
        Where the source lies now, if not where it was scanned.
    """

    def __init__(self, run: Run, location: str | None = None) -> None:
        self._run = run
        self._location = location
        self._opening = threading.Lock()
        self._lookup: Lookup | None = None
        self._problem: tuple[float, str] | None = None
        self._free = threading.BoundedSemaphore(N_READS)
        self._answers: set[SimpleQueue[bytes | NoPicture | BaseException]] = set()
        self._is_closed = False

    def open(self) -> None:
        """Open the source now; SourceError if it is not there, UsageError for embeddings from elsewhere."""
        with self._opening:
            if self._lookup is None:
                self._lookup = lookup_in(reopen(self._run, self._location), self._run.manifest.part_size)

    def read(self, place: Place, *, max_seconds: float = READ_S) -> bytes | NoPicture:
        """Return the encoded file of an image, or in words why there is none.

        Parameters
        ----------
        place : Place
            The image, and its hash: a file with another one is not given out.
        max_seconds : float, default=20.0
            A source that does not answer within that is left to itself.
        """
        if self._run.manifest.source_kind == "embeddings":
            return NoPicture(ELSEWHERE)
        content = self._within(max_seconds, lambda: self._read(place))
        if isinstance(content, bytes) and hashlib.sha256(content).hexdigest() != place.sha256:
            return NoPicture(CHANGED)
        return content

    def close(self) -> None:
        """Let go of the source; whoever waits for it is told so."""
        self._is_closed = True
        for answer in tuple(self._answers):
            answer.put(NoPicture(CLOSED))
        self._lookup = None

    def _read(self, place: Place) -> bytes | NoPicture:
        try:
            lookup = self._opened()
            if not isinstance(lookup, Lookup):
                return NoPicture(lookup)
            content = lookup.read(place)
        except ClipsieveError as error:
            return NoPicture(f"its source cannot be read: {_plain(error.what)}")
        return content if isinstance(content, bytes) else NoPicture(_why_not_read(content))

    def _opened(self) -> Lookup | str:
        """Return the opened source, or what is wrong with it; that is not found out anew for each image."""
        with self._opening:
            if self._lookup is not None:
                return self._lookup
            if self._problem is not None and time.monotonic() - self._problem[0] < AGAIN_S:
                return self._problem[1]
        try:
            self.open()
        except ClipsieveError as error:
            self._problem = time.monotonic(), f"the source cannot be opened any more ({_plain(error.what)})"
            return self._problem[1]
        return self._lookup or CLOSED

    def _within(self, max_seconds: float, read: Callable[[], bytes | NoPicture]) -> bytes | NoPicture:
        """Return what a read gives in time: it has a thread of its own, which nobody waits for at the end."""
        until = time.monotonic() + max_seconds
        late = NoPicture(f"its source did not answer within {max_seconds:g} s")
        if self._is_closed or max_seconds <= 0 or not self._free.acquire(timeout=max_seconds):
            return NoPicture(CLOSED) if self._is_closed else late
        answer: SimpleQueue[bytes | NoPicture | BaseException] = SimpleQueue()
        self._answers.add(answer)
        threading.Thread(target=self._answer, args=(answer, read), name="original", daemon=True).start()
        try:
            found = answer.get(timeout=max(until - time.monotonic(), 0.001))
        except Empty:
            return late
        finally:
            self._answers.discard(answer)
        if isinstance(found, BaseException):
            raise found
        return found

    def _answer(
        self, answer: SimpleQueue[bytes | NoPicture | BaseException], read: Callable[[], bytes | NoPicture]
    ) -> None:
        try:
            answer.put(NoPicture(CLOSED) if self._is_closed else read())
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            answer.put(error)
        finally:
            self._free.release()


class PictureReader:
    """The pixels of a run's images, one at a time, as a person looks at them; any thread may ask.

    Images are turned upright as their EXIF says, which the scan does not do: an encoder sees what its recipe shows it, a person
    wants to see the photo. Decoding happens in processes of its own: what crashes or hangs one costs its own image alone.

    Parameters
    ----------
    run : Run
        That the images belong to.
    location : str, optional
        Where the source lies now, if not where it was scanned.
    longest_px : int, default=1200
        No side is longer; nothing is enlarged.
    n_workers : int, default=2
        Decoding processes, >= 1.
    max_seconds : float, default=20.0
        For reading one image; the run's own limit holds for decoding it.

    Raises
    ------
    EngineError
        If no decoding process can be started.
    """

    def __init__(
        self,
        run: Run,
        *,
        location: str | None = None,
        longest_px: int = 1200,
        n_workers: int = 2,
        max_seconds: float = READ_S,
    ) -> None:
        self._originals = Originals(run, location)
        self._max_seconds = max_seconds
        self._is_closed = False
        recipe = Preprocessing(longest_px, "longest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        self._pool = DecodePool(n_workers, recipe, limits_of(run), window=n_workers, for_eyes=True)

    def read(self, place: Place) -> UInt8[np.ndarray, "h w 3"] | NoPicture:
        """Return the pixels of one image, RGB, or in words why there are none."""
        content = self._originals.read(place, max_seconds=self._max_seconds)
        if isinstance(content, NoPicture):
            return content
        try:
            decoded = self._pool.submit(ImageRef(place.image_id, "", None, None, content)).result()
        except (CancelledError, RuntimeError):
            return NoPicture(CLOSED)
        except ClipsieveError as error:  # a process that died has no successor
            return NoPicture(_plain(error.what))
        if isinstance(decoded, DecodedImage):
            return decoded.pixels
        if self._is_closed:
            return NoPicture(CLOSED)
        detail = decoded.failure.detail if isinstance(decoded, FailedImage) else "no pixels came back"
        return NoPicture(f"it cannot be decoded: {_plain(detail)}")

    def close(self) -> None:
        """End the decoding processes; whoever waits for a picture is told so."""
        self._is_closed = True
        self._originals.close()
        self._pool.__exit__(None, None, None)

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def limits_of(run: Run) -> DecodeLimits:
    """Return what decoding one image of a run may cost: as in its scan."""
    options, usual = run.manifest.options, DecodeLimits()
    return DecodeLimits(
        max_pixels=int(options.get("max_pixels", usual.max_pixels)),
        max_seconds=float(options.get("max_seconds", usual.max_seconds)),
    )


def _why_not_read(failure: Failure) -> str:
    if failure.code is FailureCode.NOT_FOUND:
        return "its file is not there any more"
    return f"its file cannot be read: {_plain(failure.detail)}"


def _plain(words: str) -> str:
    return without_folders(" ".join(words.split()))[:300]
