"""From encoded bytes to RGB pixels, within limits; whatever a file holds, the answer is an image or a reason."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, UnidentifiedImageError

from clipsieve.types import DecodedImage, FailedImage, Failure, FailureCode, FailureStep, FileFacts, ImageRef

__all__ = ["FORMATS", "DecodeLimits", "decode", "decode_with", "opaque"]

# Pillow's decoders that only read the bytes given. EPS runs another program, FITS unfolds gzip without a bound, and the rest
# (WMF, PDF, HDF5, MPEG, ...) are stubs that need another library.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "AVIF", "PPM", "TGA", "ICO", "ICNS"),
    *("PCX", "SGI", "QOI", "PSD", "DDS", "BLP", "CUR", "DCX", "FLI", "FTEX", "GBR", "MSP", "PCD"),
    *("PIXAR", "SPIDER", "SUN", "XBM", "XPM", "XVTHUMB"),
)

MAX_PIXELS = 178_000_000  # where Pillow itself calls an image a decompression bomb


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What an image may cost.

    Attributes
    ----------
    max_pixels : int
        Width times height, checked before decoding.
    max_seconds : float
        Wall-clock time for one image; enforced by the engine, which ends the process that overran it.
    """

    max_pixels: int = MAX_PIXELS
    max_seconds: float = 60.0


def decode(ref: ImageRef, limits: DecodeLimits) -> DecodedImage | FailedImage:
    """Decode one image as the reference recipes do: first frame, RGB, transparency on white, no EXIF turn.

    Parameters
    ----------
    ref : ImageRef
        With the encoded file, or with the reason why it could not be read.
    limits : DecodeLimits
        An image beyond `max_pixels` is not decoded.

    Returns
    -------
    DecodedImage or FailedImage
        Never an exception for what a file holds; only running out of memory in mid-allocation can end a process.
    """
    return decode_with(ref, limits, _all_pixels)


def _all_pixels(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    whole = opaque(image)
    return np.asarray(whole if whole.mode == "RGB" else whole.convert("RGB"))


def decode_with(
    ref: ImageRef, limits: DecodeLimits, to_pixels: Callable[[Image.Image], UInt8[np.ndarray, "h w 3"]]
) -> DecodedImage | FailedImage:
    """Open one image, and let a function decode it: its facts and its failures are the same whatever that function makes.

    Parameters
    ----------
    ref, limits
        As for :func:`decode`.
    to_pixels : callable
        From an image that is opened and within its limits, but not yet decoded, to pixels. What it raises is taken for a
        fault of the file.
    """
    content, bare = ref.content, replace(ref, content=b"")
    if isinstance(content, Failure):
        return FailedImage(bare, None, content)
    facts = FileFacts(hashlib.sha256(content).hexdigest(), len(content), None, None, None)
    if not content:
        return FailedImage(bare, facts, Failure(FailureStep.DECODE, FailureCode.EMPTY_FILE, "0 bytes"))
    try:
        with warnings.catch_warnings(), _pillow_limit(limits.max_pixels):
            warnings.simplefilter("ignore")  # odd metadata is no failure; the limits are ours, not Pillow's warnings
            return _decode(bare, content, facts, limits, to_pixels)
    except Exception as error:  # noqa: BLE001 - decoders raise nearly everything; each input must end as one row
        return FailedImage(bare, facts, explain(error))


@contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow's own checks, which look inside containers too, follow ours."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode(
    ref: ImageRef,
    content: bytes,
    facts: FileFacts,
    limits: DecodeLimits,
    to_pixels: Callable[[Image.Image], UInt8[np.ndarray, "h w 3"]],
) -> DecodedImage | FailedImage:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        facts = replace(facts, width=image.width, height=image.height, format=image.format)
        if image.width * image.height > limits.max_pixels:
            detail = f"{image.width} x {image.height} pixels, allowed {limits.max_pixels:,}"
            return FailedImage(ref, facts, Failure(FailureStep.DECODE, FailureCode.TOO_MANY_PIXELS, detail))
        try:
            pixels = to_pixels(image)
        except Exception as error:  # noqa: BLE001 - as above, and now the size and format are known
            return FailedImage(ref, facts, explain(error))
    return DecodedImage(ref, facts, pixels)


def opaque(image: Image.Image) -> Image.Image:
    """Decode and convert as transformers' image processors do: what is transparent lies on white.

    Returns
    -------
    PIL.Image.Image
        Of mode RGB, or L where that is what the file holds: its three channels would be the same, whatever resizes them.
    """
    image.load()
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image if image.mode in ("RGB", "L") else image.convert("RGB")  # to convert RGB to itself is a copy
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), layer).convert("RGB")


def explain(error: Exception) -> Failure:
    """Return which code of the closed list a decoder's exception means, with its words on one line."""
    return Failure(FailureStep.DECODE, _code(error), _one_line(error))


def _code(error: Exception) -> FailureCode:
    words = str(error).lower()
    if isinstance(error, UnidentifiedImageError):
        return FailureCode.NOT_AN_IMAGE
    if isinstance(error, Image.DecompressionBombError):
        return FailureCode.TOO_MANY_PIXELS
    if isinstance(error, MemoryError):
        return FailureCode.OUT_OF_MEMORY
    if "truncated" in words or "not processed" in words or isinstance(error, EOFError):
        return FailureCode.TRUNCATED
    return FailureCode.CORRUPT


def _one_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"  # Pillow's own words name a memory address
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200] if words else type(error).__name__


# Half an image is a failure, not an image with a grey half.
ImageFile.LOAD_TRUNCATED_IMAGES = False
