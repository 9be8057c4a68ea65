"""An encoder's own recipe from RGB pixels to its square input: pure, 8 bits in, 8 bits out."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipsieve.types import Preprocessing

__all__ = ["fit_to_recipe"]

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}

# Beyond this aspect ratio only the part that the crop keeps is resized: 1 x 100,000 pixels would become 224 x 22,400,000.
MAX_WHOLE_ASPECT = 16


def fit_to_recipe(pixels: UInt8[np.ndarray, "h w 3"], recipe: Preprocessing) -> UInt8[np.ndarray, "s s 3"]:
    """Resize and crop one image as the model's reference preprocessing does.

    Equal bit for bit to transformers' `CLIPImageProcessor` (Pillow) for "shortest", and to `SiglipImageProcessor` for
    "squash". Images longer than 16 times their width are resized only where the crop keeps them, which may differ by one
    level of 255 through rounding.

    Parameters
    ----------
    pixels : uint8 array of shape (h, w, 3)
        RGB; h, w >= 1.
    recipe : Preprocessing
        The encoder's.

    Returns
    -------
    uint8 array of shape (s, s, 3)
        With s = `recipe.size_px`. Scaling and normalizing are the encoder's part.
    """
    image = Image.fromarray(pixels)
    fit = {"shortest": _shortest, "squash": _squash, "longest": _longest}[recipe.resize_mode]
    return np.asarray(fit(image, recipe))


def _shortest(image: Image.Image, recipe: Preprocessing) -> Image.Image:
    size, short, long = recipe.size_px, min(image.size), max(image.size)
    scaled = int(size * long / short)
    width, height = (size, scaled) if image.width <= image.height else (scaled, size)
    left, top = (width - size) // 2, (height - size) // 2
    if long > MAX_WHOLE_ASPECT * short:
        return _resize_kept_part(image, (width, height), (left, top), recipe)
    resized = image.resize((width, height), FILTERS[recipe.interpolation])
    return resized.crop((left, top, left + size, top + size))


def _resize_kept_part(
    image: Image.Image, whole: tuple[int, int], corner: tuple[int, int], recipe: Preprocessing
) -> Image.Image:
    """Return what a resize to `whole` and a crop at `corner` would give, without making the whole."""
    size, resampling = recipe.size_px, FILTERS[recipe.interpolation]
    x, y = image.width / whole[0], image.height / whole[1]
    left, top = corner
    # Columns first, rows second, each in a call of its own: Pillow's own order, and with the same roundings in between.
    columns = image.resize((size, image.height), resampling, box=(left * x, 0, (left + size) * x, image.height))
    return columns.resize((size, size), resampling, box=(0, top * y, size, (top + size) * y))


def _squash(image: Image.Image, recipe: Preprocessing) -> Image.Image:
    return image.resize((recipe.size_px, recipe.size_px), FILTERS[recipe.interpolation])


def _longest(image: Image.Image, recipe: Preprocessing) -> Image.Image:
    size, scale = recipe.size_px, recipe.size_px / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", (size, size), (recipe.fill_color,) * 3)
    resized = image.resize((width, height), FILTERS[recipe.interpolation])
    canvas.paste(resized, ((size - width) // 2, (size - height) // 2))
    return canvas
