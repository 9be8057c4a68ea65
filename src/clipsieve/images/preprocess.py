"""An encoder's own recipe from RGB pixels to its square input: pure, 8 bits in, 8 bits out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipsieve.types import Preprocessing

__all__ = ["KEPT_SCALE", "SMALL_PX", "Layout", "fit_image", "fit_reduced", "fit_to_recipe", "layout_of"]

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}

# Beyond this aspect ratio only the part that the crop keeps is resized: 1 x 100,000 pixels would become 224 x 22,400,000.
MAX_WHOLE_ASPECT = 16

# An image is never reduced, on the way to the recipe's own filter, to less than this many times what that filter makes of it.
# With 2, some embeddings fell below a cosine of 0.999 to the exact ones. 3 makes four times the pixels of a 12-megapixel
# photograph needless.
KEPT_SCALE = 3

# A recipe of fewer pixels gets each of them exactly: where an image is a few dozen wide, every level of a pixel counts.
SMALL_PX = 64


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
    return np.asarray(fit_image(Image.fromarray(pixels), recipe))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a recipe puts an image.

    Attributes
    ----------
    whole : (int, int)
        Width and height that the whole image is scaled to, in px.
    kept : (int, int, int, int)
        The part of that which the encoder sees: left, top, right, bottom.
    """

    whole: tuple[int, int]
    kept: tuple[int, int, int, int]

    @property
    def crops(self) -> bool:
        """Whether some of the scaled image is not seen."""
        return self.kept != (0, 0, *self.whole)


def layout_of(size: tuple[int, int], recipe: Preprocessing) -> Layout:
    """Return where a recipe puts an image of a width and a height."""
    return {"shortest": _shortest, "squash": _squash, "longest": _longest}[recipe.resize_mode](size, recipe.size_px)


def fit_image(image: Image.Image, recipe: Preprocessing) -> Image.Image:
    """Do what :func:`fit_to_recipe` does, to Pillow's image of mode RGB or L; the result is RGB."""
    layout, resampling = layout_of(image.size, recipe), FILTERS[recipe.interpolation]
    if layout.crops and max(image.size) > MAX_WHOLE_ASPECT * min(image.size):
        return _finish(_resize_kept_part(image, layout, resampling), recipe)
    resized = image.resize(layout.whole, resampling)
    return _finish(resized.crop(layout.kept) if layout.crops else resized, recipe)


def fit_reduced(image: Image.Image, extent: tuple[float, float], layout: Layout, recipe: Preprocessing) -> Image.Image:
    """Do nearly what :func:`fit_image` does, in less time: only the kept part is scaled, and large images in two steps.

    The first step averages blocks of whole pixels and leaves several times the size (`KEPT_SCALE`) that the second one,
    the recipe's own filter, makes of it.

    Parameters
    ----------
    image : PIL.Image.Image
        Of mode RGB or L; may have been decoded at a reduced size.
    extent : (float, float)
        Width and height of what the file holds, in pixels of `image`: at most its size, and less where its last blocks
        are not full.
    layout : Layout
        Of the size that the file states.
    recipe : Preprocessing
        The encoder's; its filter must not be "nearest", which would pick other pixels.
    """
    left, top, right, bottom = layout.kept
    x, y = extent[0] / layout.whole[0], extent[1] / layout.whole[1]
    box = (left * x, top * y, min(right * x, extent[0]), min(bottom * y, extent[1]))
    resampling, size = FILTERS[recipe.interpolation], (right - left, bottom - top)
    return _finish(image.resize(size, resampling, box=box, reducing_gap=KEPT_SCALE), recipe)


def _shortest(size: tuple[int, int], side: int) -> Layout:
    scaled = int(side * max(size) / min(size))
    width, height = (side, scaled) if size[0] <= size[1] else (scaled, side)
    left, top = (width - side) // 2, (height - side) // 2
    return Layout((width, height), (left, top, left + side, top + side))


def _squash(size: tuple[int, int], side: int) -> Layout:  # noqa: ARG001 - one signature for all three
    return Layout((side, side), (0, 0, side, side))


def _longest(size: tuple[int, int], side: int) -> Layout:
    scale = side / max(size)
    width, height = (max(1, round(length * scale)) for length in size)
    return Layout((width, height), (0, 0, width, height))


def _resize_kept_part(image: Image.Image, layout: Layout, resampling: Image.Resampling) -> Image.Image:
    """Return what a resize to the whole and a crop would give, without making the whole."""
    left, top, right, bottom = layout.kept
    x, y = image.width / layout.whole[0], image.height / layout.whole[1]
    # Columns first, rows second, each in a call of its own: Pillow's own order, and with the same roundings in between.
    columns = image.resize((right - left, image.height), resampling, box=(left * x, 0, right * x, image.height))
    return columns.resize((right - left, bottom - top), resampling, box=(0, top * y, right - left, bottom * y))


def _finish(fitted: Image.Image, recipe: Preprocessing) -> Image.Image:
    """Pad to the square of the recipe what does not fill it, and return RGB."""
    side = recipe.size_px
    image = fitted if fitted.mode == "RGB" else fitted.convert("RGB")
    if image.size == (side, side):
        return image
    canvas = Image.new("RGB", (side, side), (recipe.fill_color,) * 3)
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas
