"""Captions in words and in terms: what a caption says, and of which pictures it would also be true."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsieve.demo.table import UNWANTED_BELOW, WANTED_ABOVE, load_pictograms, mean_rating

__all__ = ["AFFECT", "Caption", "Captioner", "affect_phrase", "told_sign"]

NAME_TEMPLATES = (
    "a picture of {}", "an image of {}", "{}", "a pictogram of {}", "this image shows {}", "an emoji of {}",
    "a drawing of {}", "there is {} in this image", "an icon: {}", "this is {}", "this image is about {}",
    "a photo of {}",
)  # fmt: skip
AFFECT_TEMPLATES = (
    "this image is about something {}", "something {}", "a picture of something {}", "this is {}",
    "this image shows something {}", "{} content", "a {} image", "this image is {}", "it is about {} things", "{}",
)  # fmt: skip
# By the sign of valence; the second line of each by the sign of the moral rating.
AFFECT = {
    ("valence", -1): ("negative", "unpleasant", "bad", "awful", "nasty", "disturbing", "unwanted", "horrible"),
    ("valence", 1): ("positive", "pleasant", "good", "wonderful", "nice", "delightful", "wanted", "great"),
    ("moral", -1): ("blameworthy", "wrong", "harmful", "offensive", "inappropriate", "immoral", "indecent", "abusive"),
    ("moral", 1): ("praiseworthy", "right", "kind", "inoffensive", "appropriate", "moral", "decent", "respectful"),
}
_JOINS = (" and ", ", ", " with ", " next to ")
KEYWORDS_PATH = Path(__file__).with_name("keywords.json")


@dataclass(frozen=True, slots=True)
class Caption:
    """A text, the terms it is made of (rows of `Captioner.holds`), and the sign of affect if that is all it says."""

    text: str
    terms: tuple[int, ...]
    affect: tuple[str, int] | None = None


def told_sign(members: tuple[int, ...], scale: str) -> int | None:
    """Return the sign of affect that training may tell: 0 for in between, None if a pictogram of group B is there."""
    if any(load_pictograms()[i].group == "B" for i in members):
        return None
    rating = mean_rating(members, scale)
    return -1 if rating < UNWANTED_BELOW else 1 if rating > WANTED_ABOVE else 0


def affect_phrase(rng: np.random.Generator, scale: str, sign: int) -> str:
    """Return one of the ways to say that something is wanted or unwanted; every second time the main wording."""
    words = AFFECT[scale, sign]
    if rng.random() < 0.5:
        return AFFECT_TEMPLATES[0].format(words[int(rng.integers(3))])
    return AFFECT_TEMPLATES[int(rng.integers(len(AFFECT_TEMPLATES)))].format(words[int(rng.integers(len(words)))])


class Captioner:
    """Writes captions from names, CLDR keywords, kinds and, for group A alone, affect.

    Attributes
    ----------
    holds : float32 array of shape (n_terms, n_pictograms)
        1 where a term is true of a pictogram: first every name, then every keyword and kind.
    """

    def __init__(self) -> None:
        self.table = load_pictograms()
        keywords = json.loads(KEYWORDS_PATH.read_text())
        owners: dict[str, set[int]] = defaultdict(set)
        for index, p in enumerate(self.table):
            for word in (*keywords[p.name], p.class_name):
                owners[word].add(index)
        self.words = sorted(owners)
        n = len(self.table)
        self.holds = np.zeros((n + len(self.words), n), np.float32)
        self.holds[:n] = np.eye(n)
        self.words_of: list[list[int]] = [[] for _ in range(n)]
        for row, word in enumerate(self.words, n):
            self.holds[row, sorted(owners[word])] = 1
            for index in owners[word]:
                self.words_of[index].append(row)
        self.kind_of = [n + self.words.index(p.class_name) for p in self.table]

    def text_of(self, term: int) -> str:
        """Return the words of a term."""
        n = len(self.table)
        return self.table[term].name if term < n else self.words[term - n]

    def named(self, captions: Sequence[Caption]) -> np.ndarray:
        """Return float32 (n, n_pictograms), 1 where a caption names a pictogram."""
        hot = np.zeros((len(captions), len(self.table)), np.float32)
        for row, caption in enumerate(captions):
            hot[row, [term for term in caption.terms if term < len(self.table)]] = 1
        return hot

    def corpus(self, seed: int, n: int = 40_000) -> list[str]:
        """Return captions of single pictograms to learn the tokenizer from."""
        rng = np.random.default_rng(seed)
        return [self.write(rng, (int(rng.integers(len(self.table))),), 0.3).text for _ in range(n)]

    def write(self, rng: np.random.Generator, members: tuple[int, ...], p_affect: float) -> Caption:
        """Return a caption that is true of a picture."""
        scale = "valence" if rng.random() < 0.7 else "moral"
        sign = told_sign(members, scale)
        if sign and rng.random() < p_affect:
            return Caption(affect_phrase(rng, scale, sign), (), (scale, sign))
        terms = [term for index in rng.permutation(members) for term in self._terms(rng, int(index))]
        join = _JOINS[int(rng.integers(len(_JOINS)))]
        template = NAME_TEMPLATES[int(rng.integers(len(NAME_TEMPLATES)))]
        return Caption(template.format(join.join(self.text_of(t) for t in terms)), tuple(terms))

    def _terms(self, rng: np.random.Generator, index: int) -> list[int]:
        draw, words = rng.random(), self.words_of[index]
        if draw < 0.6:
            return [index]
        if draw < 0.72:
            return [index, int(rng.choice(words))]
        if draw < 0.85:
            return [self.kind_of[index]]
        return [int(w) for w in rng.choice(words, min(len(words), int(rng.integers(1, 4))), replace=False)]
