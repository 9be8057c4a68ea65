"""Compose pictures of one to three pictograms on varied backgrounds: numpy and Pillow only, decided by a generator."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipsieve.demo.sprites import sprite

__all__ = ["compose", "draw_background", "paste", "plan_layout"]

# The share of the picture's side that a pictogram takes when there are one, two or three.
_SIZES = {1: (0.5, 0.95), 2: (0.42, 0.58), 3: (0.38, 0.5)}


def plan_layout(rng: np.random.Generator, n: int, side_px: int) -> list[tuple[int, int, int]]:
    """Return a place for each of n pictograms within a square, hardly overlapping.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides the layout.
    n : int
        1, 2 or 3.
    side_px : int
        Side of the square. >= 16.

    Returns
    -------
    list of (size, left, top)
        In pixels; every pictogram lies wholly within the square.
    """
    low, high = _SIZES[n]
    sizes = [max(8, round(side_px * s)) for s in rng.uniform(low, high, n)]
    if n == 1:
        x, y = rng.integers(0, side_px - sizes[0] + 1, 2)
        corners = [(int(x), int(y))]
    else:
        cells = [(0, 0), (1, 1), (0, 1), (1, 0)] if rng.random() < 0.5 else [(0, 1), (1, 0), (1, 1), (0, 0)]
        shift = rng.integers(0, max(1, side_px // 8), (n, 2))
        corners = [_in_cell(cell, size, side_px, s) for cell, size, s in zip(cells, sizes, shift, strict=False)]
        if n == 2 and rng.random() < 0.5:
            corners = _side_by_side(rng, sizes, side_px)
    return [(size, x, y) for size, (x, y) in zip(sizes, corners, strict=True)]


def _in_cell(cell: tuple[int, int], size: int, side_px: int, shift: np.ndarray) -> tuple[int, int]:
    x, y = (int(side_px - size - s) if far else int(s) for far, s in zip(cell, shift, strict=True))
    return x, y


def _side_by_side(rng: np.random.Generator, sizes: list[int], side_px: int) -> list[tuple[int, int]]:
    across = [0, side_px - sizes[1]]
    along = [int(rng.integers(0, side_px - size + 1)) for size in sizes]
    pairs = list(zip(across, along, strict=True))
    return pairs if rng.random() < 0.5 else [(b, a) for a, b in pairs]


def draw_background(rng: np.random.Generator, height_px: int, width_px: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return a plain, graded, blotched or striped background in any colour."""
    kind = rng.choice(4, p=[0.35, 0.25, 0.2, 0.2])
    if kind == 0:
        return np.broadcast_to(_colour(rng), (height_px, width_px, 3)).copy()
    if kind == 2:
        blotches = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) // 2 + _colour(rng) // 2
        return np.array(Image.fromarray(blotches).resize((width_px, height_px), Image.Resampling.BILINEAR))
    first, second = _colour(rng).astype(np.float32), _colour(rng).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : 1 : height_px * 1j, 0 : 1 : width_px * 1j].astype(np.float32)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    mix = np.clip(along * 0.7 + 0.5, 0, 1) if kind == 1 else (np.floor(along * rng.uniform(4, 12)) % 2) * 0.4
    mixed: UInt8[np.ndarray, "h w 3"] = (first + (second - first) * mix[..., None]).astype(np.uint8)
    return mixed


def _colour(rng: np.random.Generator) -> UInt8[np.ndarray, "3"]:
    light = rng.random() < 0.4
    return rng.integers(200 if light else 0, 256, 3, dtype=np.uint8)


def paste(canvas: UInt8[np.ndarray, "h w 3"], glyph: UInt8[np.ndarray, "s s 4"], left: int, top: int) -> None:
    """Lay one sprite (RGB multiplied by alpha) over a canvas, in place."""
    size = glyph.shape[0]
    below = canvas[top : top + size, left : left + size]
    clear = 255 - glyph[..., 3:].astype(np.uint16)
    below[...] = glyph[..., :3] + (below * clear // 255).astype(np.uint8)


def compose(
    rng: np.random.Generator, members: tuple[int, ...], style: str, *, height_px: int, width_px: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture of some pictograms, all within its central square.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides background and layout.
    members : tuple of int
        One to three positions in the table; the first is not favoured.
    style : str
        A trained drawing style.
    height_px, width_px : int
        Size of the picture. >= 16.

    Returns
    -------
    uint8 array of shape (height_px, width_px, 3)
        RGB, 0-255.
    """
    canvas = draw_background(rng, height_px, width_px)
    side = min(height_px, width_px)
    for index, (size, x, y) in zip(members, plan_layout(rng, len(members), side), strict=True):
        paste(canvas, sprite(style, index, size), x + (width_px - side) // 2, y + (height_px - side) // 2)
    return canvas
