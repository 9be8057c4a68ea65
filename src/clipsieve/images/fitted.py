"""From encoded bytes straight to an encoder's square input."""

from __future__ import annotations

from dataclasses import replace

from clipsieve.images.decode import DecodeLimits, decode
from clipsieve.images.preprocess import fit_to_recipe
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
        Whether every pixel of the file is decoded first, bit for bit as the reference recipe does it.

    Returns
    -------
    DecodedImage or FailedImage
        Pixels of shape (s, s, 3) with s = `recipe.size_px`; never an exception for what a file holds.
    """
    decoded = decode(ref, limits)
    if isinstance(decoded, FailedImage):
        return decoded
    return replace(decoded, pixels=fit_to_recipe(decoded.pixels, recipe))
