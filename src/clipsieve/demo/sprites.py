"""The sprite sheets: every pictogram in every trained drawing style, 64 pixels wide."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipsieve.demo.table import load_pictograms

__all__ = ["COLUMNS", "SPRITE_DIR", "SPRITE_PX", "STYLES", "cut_sheet", "drawn_in", "load_sheet", "sprite"]

SPRITE_DIR = Path(__file__).with_name("sprites")
SPRITE_PX = 64
COLUMNS = 24
STYLES = ("noto", "twemoji", "fluent", "emojitwo", "blob")


def cut_sheet(sheet: Image.Image) -> UInt8[np.ndarray, "n s s 4"]:
    """Return the cells of a sheet in the order of the table, RGBA with straight alpha."""
    rows = sheet.height // SPRITE_PX
    grid = np.asarray(sheet.convert("RGBA")).reshape(rows, SPRITE_PX, COLUMNS, SPRITE_PX, 4)
    cells = grid.transpose(0, 2, 1, 3, 4).reshape(-1, SPRITE_PX, SPRITE_PX, 4)
    return np.ascontiguousarray(cells[: len(load_pictograms())])


@functools.cache
def load_sheet(style: str) -> UInt8[np.ndarray, "n s s 4"]:
    """Return the sprites of one style; a pictogram that the style lacks is fully transparent.

    Parameters
    ----------
    style : str
        One of `STYLES`, or the absolute path of a sheet of some other style without its suffix `.webp`.
    """
    with Image.open(SPRITE_DIR / f"{style}.webp") as sheet:
        sprites = cut_sheet(sheet)
    sprites.flags.writeable = False  # it is shared
    return sprites


@functools.cache
def drawn_in(style: str) -> frozenset[int]:
    """Return the positions in the table of the pictograms that a style has."""
    present = load_sheet(style)[..., 3].any(axis=(1, 2))
    return frozenset(int(i) for i in np.flatnonzero(present))


def sprite(style: str, index: int, size_px: int) -> UInt8[np.ndarray, "s s 4"]:
    """Return one sprite at a size, RGB already multiplied by alpha.

    Parameters
    ----------
    style : str
        As for :func:`load_sheet`.
    index : int
        Position in the table.
    size_px : int
        Side of the result; bicubic from 64.

    Returns
    -------
    uint8 array of shape (size_px, size_px, 4)
        RGBA; no colour exceeds its alpha.
    """
    straight = Image.fromarray(load_sheet(style)[index]).convert("RGBa")
    resized = np.array(straight.resize((size_px, size_px), Image.Resampling.BICUBIC))
    resized[..., :3] = np.minimum(resized[..., :3], resized[..., 3:])  # bicubic overshoots
    return resized
