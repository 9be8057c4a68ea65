"""Word clouds: the terms that stand out, the larger the more they do, as a picture for light and dark pages alike."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsieve.legible import shorten
from clipsieve.outputs.lettering import clean
from clipsieve.outputs.report.records import TermSection

if TYPE_CHECKING:
    from PIL.Image import Image
else:  # annotations are checked at run time by the tests, and nobody who draws nothing loads the library
    Image = Any

__all__ = ["Cloud", "draw_cloud"]

WIDTH_PX, HEIGHT_PX, SCALE = 720, 320, 2
MAX_TERMS, MAX_CHARS = 60, 30
_FONT_PX = (11, 60)  # the smallest and the largest letters
_N_COLORS = 48  # of the file; letters have few, and shades of them at their edges
_SEED = 1

# Each has a contrast of 3.9 or more on white and on near-black: those that stand out most, the middle, the rest.
_INKS = ("#C7602B", "#3D80BD", "#787D84")


@dataclass(frozen=True, slots=True)
class Cloud:
    """A picture of terms.

    Attributes
    ----------
    png : bytes
        On a transparent ground.
    width, height : int
        In pixels.
    n_drawn : int
        Terms in it.
    n_left_out : int
        Terms that stand out and are not in it, since the font lacks a letter of theirs.
    """

    png: bytes
    width: int
    height: int
    n_drawn: int
    n_left_out: int


def draw_cloud(section: TermSection) -> Cloud | None:
    """Draw the terms that are over-represented among the flagged; None if there is nothing to draw.

    The size of a term follows its z-score. The same terms give the same picture on the same machine.

    Parameters
    ----------
    section : TermSection
        At most 60 of its terms are drawn, each cut at 30 characters. Terms with letters that DejaVu Sans lacks (Chinese,
        Japanese, emoji) would be boxes and are left out; so are Hebrew and Arabic where the library that sets them is
        missing.

    Returns
    -------
    Cloud or None
        1440 pixels wide and at most 640 high, less than 150 kB.
    """
    weights, n_left_out = _weights(section)
    if not weights:
        return None
    from wordcloud import WordCloud

    ink = _inks(list(weights))
    height_px = min(HEIGHT_PX, 100 + 16 * len(weights))  # a few words in a wide field look lost
    cloud = WordCloud(
        font_path=str(_font_path()),
        width=WIDTH_PX,
        height=height_px,
        scale=SCALE,
        margin=6,
        mode="RGBA",
        background_color=None,
        max_words=MAX_TERMS,
        min_font_size=_FONT_PX[0],
        max_font_size=_FONT_PX[1],
        prefer_horizontal=1.0,  # words on their side are a puzzle
        relative_scaling=0.8,
        random_state=_SEED,
        color_func=lambda word, **_: ink[word],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Pillow, for how the library calls it
        cloud.generate_from_frequencies(weights)
        if not cloud.layout_:
            return None
        return Cloud(_png(cloud.to_image()), WIDTH_PX * SCALE, height_px * SCALE, len(cloud.layout_), n_left_out)


def _weights(section: TermSection) -> tuple[dict[str, float], int]:
    """Return what to draw, and how many terms were left out for want of letters."""
    found: dict[str, float] = {}
    n_left_out = 0
    for term in section.terms[:MAX_TERMS]:
        word = shorten(clean(term.term[: 2 * MAX_CHARS]), MAX_CHARS)
        if not word or not math.isfinite(term.z_score) or term.z_score <= 0:
            continue
        if not _can_set(word):
            n_left_out += 1
        else:
            found[word] = max(term.z_score, found.get(word, 0.0))
    return found, n_left_out


def _inks(words: list[str]) -> Mapping[str, str]:
    """Return the colour of each word, by its place among them."""
    thirds = max(1, math.ceil(len(words) / 3))
    return {word: _INKS[place // thirds] for place, word in enumerate(words)}


def _can_set(word: str) -> bool:
    """Return whether the font has all letters of a word, and they can be set in their order."""
    known, can_turn = _letters()
    turns = any("\u0590" <= letter <= "\u08ff" or "\ufb1d" <= letter <= "\ufefc" for letter in word)
    return all(ord(letter) in known for letter in word) and (can_turn or not turns)


@lru_cache(maxsize=1)
def _letters() -> tuple[frozenset[int], bool]:
    """Return the letters that the font has, and whether scripts that run from right to left can be set."""
    from matplotlib.ft2font import FT2Font
    from PIL import features

    can_turn = bool(features.check("raqm") and features.check("fribidi"))
    return frozenset(FT2Font(str(_font_path())).get_charmap()), can_turn


def _font_path() -> Path:
    from matplotlib import get_data_path

    return Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _png(image: Image) -> bytes:
    """Return a small file: few colours, and no note of when or by what it was made."""
    file = io.BytesIO()
    image.quantize(_N_COLORS, method=2).save(file, "PNG", optimize=True)  # octrees alone keep what is transparent
    return file.getvalue()
