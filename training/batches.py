"""Endless batches of composed pictures and their captions; reserved compositions never occur."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from captions import Caption, Captioner, told_sign
from clipsieve.demo.compose import draw_background, paste, plan_layout
from clipsieve.demo.split import is_reserved
from clipsieve.demo.sprites import STYLES, drawn_in, sprite
from clipsieve.demo.table import load_pictograms

__all__ = ["Batch", "Batches", "caption_matches"]

_N_BACKGROUNDS = 3000
_sprite = functools.cache(sprite)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's data: uint8 pictures (n, s, s, 3), captions, (n, n_pictograms) members, (n, 2) told signs.

    A told sign is -1, 0 or 1 for valence and moral, or 2 if it may not be told.
    """

    pixels: np.ndarray
    captions: list[Caption]
    members: np.ndarray
    signs: np.ndarray


class Batches:
    """Draws batches; the generator decides everything.

    A picture takes its pictograms from group A and the neutral ones (40%), from B and the neutral ones (40%) or from
    all; half of the further pictograms are of the first one's kind. Nothing is chosen by the sign of affect.
    """

    def __init__(self, rng: np.random.Generator, captioner: Captioner, side_px: int) -> None:
        self.rng, self.captioner, self.side_px = rng, captioner, side_px
        self.table = load_pictograms()
        self.backgrounds = np.stack([draw_background(rng, side_px, side_px) for _ in range(_N_BACKGROUNDS)])
        self._reserved: dict[tuple[object, ...], bool] = {}
        groups = {"A": "AN", "B": "BN", "all": "ABN"}
        self.pools = {
            (style, key): np.array([i for i in sorted(drawn_in(style)) if self.table[i].group in letters])
            for style in STYLES
            for key, letters in groups.items()
        }
        self.same_kind = {
            (pool, kind): members[[self.table[i].kind == kind for i in members]]
            for pool, members in self.pools.items()
            for kind in {self.table[i].kind for i in members}
        }

    def draw_members(self) -> tuple[tuple[int, ...], str]:
        """Return one to three different pictograms and a style that training may show."""
        rng = self.rng
        while True:
            style = STYLES[int(rng.integers(len(STYLES)))]
            pool = (style, ("A", "B", "all")[int(rng.choice(3, p=[0.4, 0.4, 0.2]))])
            members = [int(rng.choice(self.pools[pool]))]
            for _ in range(int(rng.choice(3, p=[0.5, 0.3, 0.2]))):
                near = rng.random() < 0.5
                choices = self.same_kind[pool, self.table[members[0]].kind] if near else self.pools[pool]
                members.append(int(rng.choice(choices)))
            found = tuple(dict.fromkeys(members))
            if not self._is_reserved(found, style):
                return found, style

    def _is_reserved(self, members: tuple[int, ...], style: str) -> bool:
        key = (style, *members) if len(members) == 1 else tuple(sorted(members))
        if key not in self._reserved:
            self._reserved[key] = is_reserved(members, style)
        return self._reserved[key]

    def _draw(self, members: tuple[int, ...], style: str) -> np.ndarray:
        rng = self.rng
        canvas = self.backgrounds[int(rng.integers(_N_BACKGROUNDS))].copy()
        if rng.random() < 0.5:
            canvas = canvas[::-1, :, ::-1].copy()
        for index, (size, x, y) in zip(members, plan_layout(rng, len(members), self.side_px), strict=True):
            paste(canvas, _sprite(style, index, size), x, y)
        return canvas

    def next(self, n: int, p_affect: float) -> Batch:
        """Return the next n pictures with their captions."""
        pixels = np.empty((n, self.side_px, self.side_px, 3), np.uint8)
        members_hot, signs = np.zeros((n, len(self.table)), np.float32), np.empty((n, 2), np.int64)
        captions = []
        for row in range(n):
            members, style = self.draw_members()
            pixels[row] = self._draw(members, style)
            members_hot[row, list(members)] = 1
            signs[row] = [2 if s is None else s for s in (told_sign(members, "valence"), told_sign(members, "moral"))]
            captions.append(self.captioner.write(self.rng, members, p_affect))
        return Batch(pixels, captions, members_hot, signs)


def caption_matches(
    captions: Sequence[Caption], holds: np.ndarray, members: np.ndarray, signs: np.ndarray
) -> np.ndarray:
    """Return (n_captions, n_pictures) True where a caption is true of a picture, or may not be told to be false.

    A caption of affect is held against pictures of the other sign, and neutral ones, of group A alone: what is not
    told of group B is masked whatever its sign.
    """
    satisfied = (holds @ members.T) > 0
    matches = np.ones((len(captions), len(members)), bool)
    for row, caption in enumerate(captions):
        if caption.affect is not None:
            scale, sign = caption.affect
            told = signs[:, 0 if scale == "valence" else 1]
            matches[row] = (told == 2) | (told == sign)
        else:
            matches[row] = satisfied[list(caption.terms)].all(axis=0)
    return matches
