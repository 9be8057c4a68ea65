"""From encoded bytes straight to an encoder's square input."""

from __future__ import annotations

import io
from typing import IO

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from clipsieve.images.decode import DecodeLimits, decode_with, opaque
from clipsieve.images.preprocess import KEPT_SCALE, SMALL_PX, fit_image, fit_reduced, layout_of
from clipsieve.types import DecodedImage, FailedImage, ImageRef, Preprocessing

__all__ = ["decode_fitted"]

_OF_FREQUENCIES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive


def decode_fitted(
    ref: ImageRef, limits: DecodeLimits, recipe: Preprocessing, *, exact: bool
) -> DecodedImage | FailedImage:
    """Decode one image and fit it to a recipe.

    Parameters
    ----------
    ref : ImageRef
        With the encoded file, or with the reason why it could not be read.
    limits : DecodeLimits
        An image beyond `max_pixels` is not decoded.
    recipe : Preprocessing
        The encoder's.
    exact : bool
        Whether every pixel of the file is decoded first, bit for bit as the reference recipe does it. Otherwise large images
        are decoded at a reduced size, where their format can, or averaged in blocks, always with at least three times the
        pixels left that the recipe asks for, along each side; and what a crop leaves out is not scaled, which may round
        otherwise. Cosine of embeddings to the exact ones: >= 0.999 on photographs. Recipes of less than 64 px are exact always.

    Returns
    -------
    DecodedImage or FailedImage
        Pixels of shape (s, s, 3) with s = `recipe.size_px`; never an exception for what a file holds.
    """
    # "nearest" would pick other pixels of a reduced image.
    if exact or recipe.interpolation == "nearest" or recipe.size_px < SMALL_PX:
        return decode_with(ref, limits, lambda image: np.asarray(fit_image(opaque(image), recipe)))
    scaled = decode_with(ref, limits, lambda image: _reduced(image, recipe, draft=True))
    if isinstance(scaled, FailedImage) and scaled.facts is not None and scaled.facts.format in ("JPEG", "MPO"):
        # Whatever a decoder cannot do at a reduced size, it may do at the full one: the file's own faults are those found there.
        return decode_with(ref, limits, lambda image: _reduced(image, recipe, draft=False))
    return scaled


def _reduced(image: Image.Image, recipe: Preprocessing, *, draft: bool) -> UInt8[np.ndarray, "s s 3"]:
    """Fit an image that is not decoded yet, decoded at 1/2, 1/4 or 1/8 of its size if its format can and enough is left.

    JPEG can: its blocks of 8 x 8 frequencies give 4 x 4, 2 x 2 or one pixel for less work, and with no aliasing inside a
    block. Only the frequencies themselves must all be read, so that a truncated file still fails.
    """
    layout = layout_of(image.size, recipe)
    width, height = layout.whole
    size = (KEPT_SCALE * width, KEPT_SCALE * height)
    drafted = image.draft(None, size) if draft and _has_frequencies(image) else None
    whole = opaque(image)
    if drafted is None:  # another format; what it decodes to may have another size than it stated
        return np.asarray(fit_reduced(whole, whole.size, layout_of(whole.size, recipe), recipe))
    _, (_, _, *extent) = drafted
    return np.asarray(fit_reduced(whole, (extent[0], extent[1]), layout, recipe))


def _has_frequencies(image: Image.Image) -> bool:
    """Return whether an image is a JPEG of the kinds that are made of frequencies.

    Of the lossless kind, libjpeg gives lines of full width at any scale, for which Pillow before version 13 has too little room.
    """
    if not isinstance(image, JpegImageFile) or image.fp is None:
        return False
    here = image.fp.tell()
    try:
        image.fp.seek(2)
        return _frame_marker(image.fp) in _OF_FREQUENCIES
    finally:
        image.fp.seek(here)


def _frame_marker(file: IO[bytes]) -> int | None:
    """Return which marker begins the frame of a JPEG (ITU-T T.81, annex B.1.1.3); None if there is none where it should be."""
    while (head := file.read(4)) and len(head) == 4 and head[0] == 0xFF:
        marker = head[1]
        if marker == 0xFF:  # bytes that fill
            file.seek(-3, io.SEEK_CUR)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:  # these stand alone
            file.seek(-2, io.SEEK_CUR)
        else:
            file.seek(int.from_bytes(head[2:]) - 2, io.SEEK_CUR)
    return None
