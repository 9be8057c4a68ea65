"""An image as a person looks at it: turned as its EXIF says, no larger than asked for, and otherwise as it is."""

from __future__ import annotations

import io
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from clipsieve.images.decode import FORMATS

__all__ = ["fit_upright", "orientation_of", "shrink"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_OF_PNG = (b"eXIf", b"Raw profile type exif")
_GAP = 2.0  # a large photo is first shrunk in whole steps: several times as fast, and nobody sees it


def orientation_of(content: bytes) -> int:
    """Return the orientation that an encoded image states in its EXIF, 1-8; 1, upright, where it says nothing sensible.

    To be asked where images are decoded and nowhere else: what it reads was written by strangers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no failure
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.format == "TIFF":  # Pillow turns these itself
                    return 1
                if image.format == "PNG" and not any(mark in content for mark in _EXIF_OF_PNG):
                    return 1  # to look, Pillow would decode the whole image once more
                found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - decoders raise nearly everything, and no picture is lost for its metadata
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


def fit_upright(
    pixels: UInt8[np.ndarray, "h w 3"], orientation: int, longest_px: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image upright and with no side longer than asked for; it is never enlarged.

    Parameters
    ----------
    pixels : uint8 array of shape (h, w, 3)
        RGB, as stored; h, w >= 1.
    orientation : int
        As EXIF counts, 1-8; 1 is upright.
    longest_px : int
        >= 1.
    """
    image = shrink(Image.fromarray(pixels), longest_px)
    turn = _TURNS.get(orientation)
    return np.asarray(image if turn is None else image.transpose(turn))


def shrink(image: Image.Image, longest_px: int) -> Image.Image:
    """Return an image with no side longer than asked for; a smaller one as it is."""
    scale = longest_px / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=_GAP)
