"""What a few images of a source cost to decode and to encode, measured with the parts that a scan is made of."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8

from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine
from clipsieve.engines.batches import open_pool
from clipsieve.engines.options import ScanOptions
from clipsieve.engines.pool import Result
from clipsieve.engines.sample import sample
from clipsieve.engines.workplace import Workplace
from clipsieve.sources import Source
from clipsieve.store import StoredEmbeddings
from clipsieve.types import DecodedImage, FileFacts, ImageRef, Preprocessing

__all__ = ["N_PROBE", "Probe", "measure"]

N_PROBE = 200
HELD_BYTES = 256 * 1024**2  # of encoded files at once
MOST_TASKS = 8  # of decoding: more would have too few images each
DECODE_S, ENCODE_S = 1.0, 2.0  # at least so long; small images are done over again
MOST_ENCODE_S = 20.0  # every image costs an encoder the same


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured.

    Attributes
    ----------
    n_images, n_failed : int
        Looked at, and those without an embedding among them.
    image_bytes, image_bytes_error : float
        Of a file on average, and the standard error of that.
    megapixels : float
        Of an image on average, of those with a header; 0 if there is none.
    read_s : float
        Seconds to get one file after the other from the source.
    decode_s : float
        Seconds of a core, for an image, with other cores busy as well.
    encode_s : float
        Seconds of a core, or of a GPU, for an image; the first batches do not count.
    start_s : float
        Until the first image is decoded; on a cluster, workers have been started and the model loaded before.
    """

    n_images: int
    n_failed: int
    image_bytes: float
    image_bytes_error: float
    megapixels: float
    read_s: float
    decode_s: float
    encode_s: float
    start_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """What one task has decoded, and how long each image took it."""

    rows: list[Result]
    start_s: float
    image_s: float
    elapsed_s: float


def measure(
    source: Source,
    encoder: Encoder,
    engine: Engine,
    workplace: Workplace,
    options: ScanOptions,
    on_images: Callable[[int], object] = lambda _n: None,
    n: int = N_PROBE,
) -> Probe:
    """Read, decode and encode some images, evenly spread over a source.

    Each decoding task has one process, as many at once as there are cores, and repeats what is done too soon to be measured. Then
    the encoder works alone, at as many batches at once as in a scan. Both times are those of a clock: where others use the
    machine as well, they are longer, as those of a scan are.

    Parameters
    ----------
    source : Source
        Only read.
    encoder, engine
        As for `scan`; an encoder of a cluster loads its model once more.
    workplace : Workplace
        Of these two.
    options : ScanOptions
        As for `scan`.
    on_images : callable
        Called with the number of images just decoded.
    n : int
        Images, >= 1; all if there are fewer.

    Raises
    ------
    SourceError
        If it cannot be listed.
    ClipsieveError
        What decoding and encoding raise.
    """
    clock = _ReadClock()
    decode = partial(decode_some, encoder.recipe, options)
    n_tasks = max(1, min(MOST_TASKS, workplace.probe_tasks))
    encoder_is_elsewhere = workplace.engine == "ray"
    if encoder_is_elsewhere:
        encoder.close()  # decoding needs what it was given
    found: list[_Decoded] = []
    wait_s = 0.0  # for a worker of a cluster, which has to be started
    for held in _held(clock.of(sample(source, n))):
        begun_s = time.perf_counter()
        for task in engine.map(decode, [held[place::n_tasks] for place in range(min(n_tasks, len(held)))]):
            wait_s = wait_s if found else max(0.0, time.perf_counter() - begun_s - task.elapsed_s)
            found.append(task)
            on_images(len(task.rows))
    rows = [row for task in found for row in task.rows]
    pixels = [row.pixels for row in rows if isinstance(row, DecodedImage)]
    encode_s, warm_s, finite = _encode(encoder, pixels, workplace)
    n_failed = len(rows) - round(len(pixels) * finite)
    return Probe(
        n_images=len(rows),
        n_failed=n_failed,
        **_sizes([row.facts for row in rows]),
        read_s=clock.seconds / max(1, clock.n),
        decode_s=sum(task.image_s * len(task.rows) for task in found) / max(1, len(rows)),
        encode_s=encode_s,
        start_s=wait_s + max(task.start_s for task in found) + (warm_s if encoder_is_elsewhere else 0.0),
    )


class _ReadClock:
    """Measures what the source takes for its files; not for the first, which the listing comes before."""

    def __init__(self) -> None:
        self.seconds, self.n = 0.0, 0

    def of(self, refs: Iterator[ImageRef]) -> Iterator[ImageRef]:
        """Yield the same references."""
        yield from itertools.islice(refs, 1)
        while True:
            begun_s = time.perf_counter()
            ref = next(refs, None)
            if ref is None:
                return
            self.seconds += time.perf_counter() - begun_s
            self.n += 1
            yield ref


def _held(refs: Iterator[ImageRef]) -> Iterator[list[ImageRef]]:
    """Yield images, as many at once as may be held."""
    held: list[ImageRef] = []
    n_bytes = 0
    for ref in refs:
        held.append(ref)
        n_bytes += len(ref.content) if isinstance(ref.content, bytes) else 0
        if n_bytes >= HELD_BYTES:
            yield held
            held, n_bytes = [], 0
    if held:
        yield held


def decode_some(recipe: Preprocessing, options: ScanOptions, refs: list[ImageRef]) -> _Decoded:
    """Decode some images in one process, over and over if they take no time."""
    begun_s = time.perf_counter()
    known = StoredEmbeddings([], max_pixels=options.limits.max_pixels)
    with open_pool(recipe, options, known, 1, len(refs)) as pool:
        list(pool.map(refs[:1]))
        ready_s = time.perf_counter()
        rows, n = list(pool.map(refs)), len(refs)
        while time.perf_counter() - ready_s < DECODE_S:
            n += len(list(pool.map(refs)))
        done_s = time.perf_counter()
        return _Decoded(rows, ready_s - begun_s, (done_s - ready_s) / n, done_s - begun_s)


def _encode(
    encoder: Encoder, images: Sequence[UInt8[np.ndarray, "s s 3"]], workplace: Workplace
) -> tuple[float, float, float]:
    """Return seconds of a core or GPU for an image, seconds of the first batches, and the share of finite embeddings."""
    size, side = encoder.best_batch_size, encoder.recipe.size_px
    turns = itertools.cycle(images or [np.zeros((side, side, 3), np.uint8)])

    def encode(batch: np.ndarray) -> int:
        return int(np.isfinite(encoder.encode_images(batch)).all(axis=1).sum())

    def batches(n: int) -> list[np.ndarray]:
        return [np.stack(list(itertools.islice(turns, size))) for _ in range(n)]

    calls = workplace.probe_calls
    with ThreadPoolExecutor(calls, thread_name_prefix="encode") as threads:
        begun_s = time.perf_counter()
        list(threads.map(encode, batches(calls)))
        warm_s = time.perf_counter() - begun_s
        n = n_finite = 0
        spent_s = 0.0
        while n == 0 or spent_s < ENCODE_S or (n < len(images) and spent_s < MOST_ENCODE_S):
            some = batches(calls if warm_s > 1 else 8 * calls)
            begun_s = time.perf_counter()
            n_finite += sum(threads.map(encode, some))
            spent_s += time.perf_counter() - begun_s
            n += size * len(some)
    return spent_s / n * workplace.probe_devices, warm_s, n_finite / n


def _sizes(facts: Sequence[FileFacts | None]) -> dict[str, float]:
    known = [each for each in facts if each is not None]
    sizes = np.array([each.n_bytes for each in known] + [0] * (len(facts) - len(known)), dtype=np.float64)
    areas = [each.width * each.height for each in known if each.width is not None and each.height is not None]
    error = float(sizes.std(ddof=1)) / math.sqrt(len(sizes)) if len(sizes) > 1 else 0.0
    return {
        "image_bytes": float(sizes.mean()) if len(sizes) else 0.0,
        "image_bytes_error": error,
        "megapixels": float(np.mean(areas)) / 1e6 if areas else 0.0,
    }
