"""Pictures for the page: of images of the run alone, made anew from their pixels, in three sizes."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipsieve.engines.pictures import CLOSED, ELSEWHERE, NoPicture, PictureReader, Place
from clipsieve.errors import UsageError
from clipsieve.images.upright import shrink
from clipsieve.review.catalog import Catalog
from clipsieve.review.kept import ByteBounded, Once
from clipsieve.review.prefetch import Prefetcher
from clipsieve.store import Run

__all__ = ["SIZES", "NoPicture", "Pictures"]

SIZES = {"small": 160, "medium": 480, "large": 1200}  # px, the longest side; a smaller image is not enlarged
AGAIN_S = 10.0  # a picture that could not be had is not tried again before that
MAX_MISSES = 10_000
_QUALITIES = {"small": 75, "medium": 80, "large": 82}
_EFFORT = 2  # of WebP's 0-6: a third of the time of 4, and a few percent more bytes

Pixels = UInt8[np.ndarray, "h w 3"]


class Pictures:
    """Makes and keeps pictures of a run's images; any thread may ask. Use :meth:`open`.

    A picture is WebP made from pixels alone: no byte of the original, no EXIF, no colour profile is in it. It shows the image
    upright, as its EXIF says, and what is transparent on white. An image is read only from the run's own source, and shown only
    if its file is still the one that was scanned. Those that are blocked or have failed are not opened.

    Parameters
    ----------
    reader : PictureReader or None
        Finds and decodes images; None where there are none.
    catalog : Catalog
        The run's rows.
    n_workers : int
        Threads that fetch ahead, >= 1.
    cache_bytes : int
        Half of it is for pictures, half for the pixels that other sizes are made of.
    """

    def __init__(self, reader: PictureReader | None, catalog: Catalog, *, n_workers: int, cache_bytes: int) -> None:
        self._reader = reader
        self._catalog = catalog
        self._made: ByteBounded[tuple[int, str], bytes] = ByteBounded(cache_bytes // 2, len)
        self._pixels: ByteBounded[int, Pixels] = ByteBounded(cache_bytes // 2, lambda pixels: int(pixels.nbytes))
        self._misses: dict[int, tuple[float, NoPicture]] = {}
        self._once: Once[tuple[int, str], bytes | NoPicture] = Once()
        self._decode_once: Once[int, Pixels | NoPicture] = Once()
        self._is_closed = False
        self._ahead = Prefetcher(self._fetch, n_workers)

    @classmethod
    def open(
        cls,
        run: Run,
        catalog: Catalog,
        *,
        location: str | None = None,
        n_workers: int = 2,
        cache_bytes: int = 256 * 1024**2,
    ) -> Pictures:
        """Start what makes pictures; the source itself is opened when the first picture is asked for.

        Parameters
        ----------
        run : Run
            That the images belong to.
        catalog : Catalog
            Of the same run.
        location : str, optional
            Where the source lies now, if not where it was scanned.
        n_workers : int, default=2
            Decoding processes, >= 1.
        cache_bytes : int, default=256 MiB
            The most that is kept in memory.

        Raises
        ------
        EngineError
            If no decoding process can be started.
        """
        is_elsewhere = run.manifest.source_kind == "embeddings"
        longest_px = max(SIZES.values())
        reader = (
            None if is_elsewhere else PictureReader(run, location=location, longest_px=longest_px, n_workers=n_workers)
        )
        return cls(reader, catalog, n_workers=n_workers, cache_bytes=cache_bytes)

    def get(self, row: int, size: str) -> bytes | NoPicture:
        """Return a picture as WebP, or in words why there is none.

        Parameters
        ----------
        row : int
            Of the run, from 0; there is no picture of any other.
        size : {"small", "medium", "large"}
            At most 160, 480 or 1,200 pixels on the longest side.

        Raises
        ------
        UsageError
            If there is no such size.
        """
        if size not in SIZES:
            raise UsageError(
                "there is no picture of that size", expected=", ".join(f"`{name}`" for name in SIZES), found=f"`{size}`"
            )
        why = self.why_not(row)
        if why is not None:
            return NoPicture(why)
        made = self._made.get((row, size))
        return made if made is not None else self._once.do((row, size), lambda: self._make(row, size))

    def prefetch(self, rows: Sequence[int], size: str) -> None:
        """Make pictures in the background, in this order and before all that waits; rows without one are passed over."""
        if size in SIZES and not self._is_closed:
            self._ahead.wish([(row, size) for row in rows if self.why_not(row) is None])

    def why_not(self, row: int) -> str | None:
        """Return in words why an image has no picture, as far as that is known without opening it; None if it may have one."""
        if not 0 <= row < self._catalog.n:
            return "there is no such image in this run"
        if self._reader is None:
            return ELSEWHERE
        if self._catalog.is_blocked[row]:
            return "it is on the block list, and is never opened"
        if not self._catalog.is_seen[row] or self._catalog.sha256(row) is None:
            return "it could not be read or decoded when it was scanned"
        return None

    def close(self) -> None:
        """End all processes and threads; whoever waits for a picture is told so."""
        self._is_closed = True
        if self._reader is not None:
            self._reader.close()
        self._ahead.close()

    def __enter__(self) -> Pictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fetch(self, wish: tuple[int, str]) -> None:
        self.get(*wish)

    def _make(self, row: int, size: str) -> bytes | NoPicture:
        made = self._made.get((row, size))  # another thread may have finished it just now
        if made is not None:
            return made
        pixels = self._decode_once.do(row, lambda: self._decode(row))
        if isinstance(pixels, NoPicture):
            return pixels
        content = _webp(pixels, size)
        self._made.put((row, size), content)
        return content

    def _decode(self, row: int) -> Pixels | NoPicture:
        found = self._pixels.get(row)
        if found is not None:
            return found
        made, miss = self._misses.get(row, (0.0, None))
        if miss is not None and time.monotonic() - made < AGAIN_S:
            return miss
        part, row_in_part = self._catalog.place(row)
        place = Place(part, row_in_part, self._catalog.image_id(row), self._catalog.sha256(row) or "")
        pixels = NoPicture(CLOSED) if self._reader is None or self._is_closed else self._reader.read(place)
        if isinstance(pixels, NoPicture):
            if len(self._misses) >= MAX_MISSES:
                self._misses.clear()
            self._misses[row] = time.monotonic(), pixels
        else:
            self._misses.pop(row, None)
            self._pixels.put(row, pixels)
        return pixels


def _webp(pixels: Pixels, size: str) -> bytes:
    file = io.BytesIO()
    shrink(Image.fromarray(pixels), SIZES[size]).save(file, "WEBP", quality=_QUALITIES[size], method=_EFFORT)
    return file.getvalue()
