"""Small pictures of examples, from the source opened again: only these images are read, and other processes decode them."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt8
from PIL import Image

from clipsieve.engines.pictures import Originals, Place, limits_of
from clipsieve.engines.pool import DecodePool
from clipsieve.engines.private_places import without_folders
from clipsieve.errors import ClipsieveError
from clipsieve.outputs.report.records import Example
from clipsieve.outputs.report.words import count_of
from clipsieve.store import Run
from clipsieve.types import DecodedImage, ImageRef, Preprocessing

__all__ = ["add_thumbnails"]

SIDE_PX = 96
MAX_THUMBNAIL_BYTES = 4096
_NONE = "no example has a thumbnail"
_QUALITIES = (60, 45, 30, 15, 1)
_RECIPE = Preprocessing(SIDE_PX, "longest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def add_thumbnails(
    run: Run,
    examples: Sequence[Example],
    *,
    location: str | None = None,
    n_workers: int = 2,
    max_seconds: float = 300.0,
) -> tuple[tuple[Example, ...], str | None]:
    """Return the examples with thumbnails, as far as their images can be had, and in words why others have none.

    An image gets one only if it is still the file that was scanned: its name and its sha256 are those in the run, whatever became
    of the files beside it. Images that failed or are on the block list are not opened.

    Parameters
    ----------
    run : Run
        That the examples come from.
    examples : sequence of Example
        Images of the run.
    location : str, optional
        Where the source lies now, if not where it was scanned.
    n_workers : int, default=2
        Decoding processes, >= 1.
    max_seconds : float, default=300.0
        No further image is read after that; those of a remote tar may cost the whole tar.

    Returns
    -------
    tuple of Example, and str or None
        In the same order: WebP of at most 96 pixels and, as a rule, 4 kB; and a whole sentence without a full stop, None if
        every example has a thumbnail.

    Raises
    ------
    RunCorruptError
        If a part of the run is missing or damaged.
    EngineError
        If no decoding process can be started.
    """
    if not examples:
        return (), None
    if run.manifest.source_kind == "embeddings":
        return tuple(
            examples
        ), f"{_NONE}: the run holds embeddings that were computed elsewhere, so there are no images to show"
    places = _find(run, {example.image_id for example in examples})
    originals = Originals(run, location)
    try:
        originals.open()
    except ClipsieveError as error:
        return tuple(examples), f"{_NONE}: the source cannot be opened any more ({_said(error)})"
    deadline = time.monotonic() + max_seconds
    with closing(originals):
        made = _decode(_read(originals, places, deadline), run, n_workers)
    shown = tuple(_with(example, made.get(example.image_id)) for example in examples)
    n_missing = sum(example.thumbnail is None for example in shown)
    return shown, _words(n_missing, len(shown), is_late=time.monotonic() > deadline) if n_missing else None


def _find(run: Run, ids: set[str]) -> list[Place]:
    """Return where images lie that were seen, in the order of the run: those that failed, or are blocked, are not among them."""
    wanted = pa.array(sorted(ids), pa.string())
    found = []
    for part, table in enumerate(run.iter_images(["image_id", "sha256", "failure_code"])):
        for row in np.flatnonzero(pc.is_in(table.column("image_id"), value_set=wanted).to_numpy()).tolist():
            cells = {name: table.column(name)[row].as_py() for name in table.column_names}
            if cells["failure_code"] is None and cells["sha256"] is not None:
                found.append(Place(part, row, cells["image_id"], cells["sha256"]))
    return found


def _read(originals: Originals, places: Sequence[Place], deadline: float) -> Iterator[ImageRef]:
    """Yield the images that could be read, in the order of the data set, so that no file is gone through twice."""
    for place in places:
        content = originals.read(place, max_seconds=deadline - time.monotonic())
        if isinstance(content, bytes):
            yield ImageRef(place.image_id, "", None, None, content)


def _decode(refs: Iterator[ImageRef], run: Run, n_workers: int) -> dict[str, tuple[bytes, int, int]]:
    made: dict[str, tuple[bytes, int, int]] = {}
    with DecodePool(n_workers, _RECIPE, limits_of(run), window=2 * n_workers) as pool:
        for image in pool.map(refs):
            if isinstance(image, DecodedImage):
                pixels = _without_padding(image.pixels, image.facts.width, image.facts.height)
                made[image.ref.image_id] = (_webp(pixels), pixels.shape[1], pixels.shape[0])
    return made


def _without_padding(
    pixels: UInt8[np.ndarray, "s s 3"], width: int | None, height: int | None
) -> UInt8[np.ndarray, "h w 3"]:
    """Cut off what "longest" has put around an image; see `fit_to_recipe`."""
    if not width or not height:
        return pixels
    side = len(pixels)
    w, h = (max(1, round(length * side / max(width, height))) for length in (width, height))
    top, left = (side - h) // 2, (side - w) // 2
    return pixels[top : top + h, left : left + w]


def _webp(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return the first of some qualities that is small enough, or the smallest."""
    image = Image.fromarray(pixels)
    content = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality, method=4)
        content = file.getvalue()
        if len(content) <= MAX_THUMBNAIL_BYTES:
            break
    return content


def _with(example: Example, made: tuple[bytes, int, int] | None) -> Example:
    return example if made is None else replace(example, thumbnail=made[0], width=made[1], height=made[2])


def _words(n_missing: int, n: int, *, is_late: bool) -> str:
    reason = "the time for them ran out" if is_late else "their files have changed since the scan, or cannot be read"
    have = "has" if n_missing == 1 else "have"
    return f"{n_missing:,} of {count_of(n, 'example')} {have} no thumbnail: {reason}"


def _said(error: ClipsieveError) -> str:
    return without_folders(" ".join(error.what.split()))
