"""From encoded bytes straight to an encoder's square input."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipsieve.images.decode import DecodeLimits, decode_with, opaque
from clipsieve.images.preprocess import fit_image, fit_reduced, kept_scale, layout_of
from clipsieve.types import DecodedImage, FailedImage, ImageRef, Preprocessing

__all__ = ["decode_fitted"]


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
        pixels left that the recipe asks for, along each side. Cosine of embeddings to the exact ones: >= 0.999 on photographs.

    Returns
    -------
    DecodedImage or FailedImage
        Pixels of shape (s, s, 3) with s = `recipe.size_px`; never an exception for what a file holds.
    """
    if exact or recipe.interpolation == "nearest":  # which would pick other pixels of a reduced image
        return decode_with(ref, limits, lambda image: np.asarray(fit_image(opaque(image), recipe)))
    return decode_with(ref, limits, lambda image: _reduced(image, recipe))


def _reduced(image: Image.Image, recipe: Preprocessing) -> UInt8[np.ndarray, "s s 3"]:
    """Fit an image that is not decoded yet, decoded at 1/2, 1/4 or 1/8 of its size if its format can and enough is left.

    JPEG can: its blocks of 8 x 8 frequencies give 4 x 4, 2 x 2 or one pixel for less work, and with no aliasing inside a
    block. Only the frequencies themselves must all be read, so that a truncated file still fails.
    """
    layout = layout_of(image.size, recipe)
    width, height = layout.whole
    drafted = image.draft(None, (kept_scale(recipe) * width, kept_scale(recipe) * height))
    whole = opaque(image)
    if drafted is None:  # another format; what it decodes to may have another size than it stated
        return np.asarray(fit_reduced(whole, whole.size, layout_of(whole.size, recipe), recipe))
    _, (_, _, *extent) = drafted
    return np.asarray(fit_reduced(whole, (extent[0], extent[1]), layout, recipe))
