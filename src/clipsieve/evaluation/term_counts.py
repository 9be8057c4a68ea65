"""From captions and class names to counted terms, whatever stands in them, in bounded memory."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

__all__ = ["MAX_TERMS", "STOP_WORDS", "TermCounter", "iter_terms", "whole_term"]

MIN_CHARS, MAX_CHARS = 2, 40
MAX_CAPTION_CHARS = 100_000
MAX_TERMS = 500_000

# English words that only hold a caption together; what could tell flagged images from others is not among them.
STOP_WORDS = frozenset(
    """
    about above after again all along also although am among an and another any are around as at away back be because been
    before behind being below beneath beside besides between beyond both but by can could did do does doing done down during
    each either else ever every few for from further get gets got had has have having he her here hers him his how however
    if in inside into is it it's its itself just less like lot lots made make many may me might more most much must my near
    nearly next no nor not now of off often on once one only onto or other others our ours out outside over own per quite
    rather really same several shall she should since so some such than that that's the their theirs them themselves then
    there there's these they this those through to together too toward towards under until up upon us very via was we were what
    when where whether which while who whom whose why will with within without would yet you your yours
    """.split()  # noqa: SIM905 - a list would have a line for each
)


def iter_terms(text: str) -> Iterator[str]:
    """Yield the words of a caption.

    Words are runs of letters, digits and marks of any script, with apostrophes inside them, in normalization form KC and with
    case folded. Words of less than 2 or more than 40 characters are left out, and so are `STOP_WORDS` and whatever stands
    beyond 100,000 characters. Scripts that set no spaces give whole phrases. Markup is text: `<b>` is the letter b.

    Examples
    --------
    >>> list(iter_terms("The dog's BALL, a dog & <i>the</i> cafe\u0301"))
    ["dog's", 'ball', 'dog', 'café']
    """
    for word in _pattern().findall(_folded(text[:MAX_CAPTION_CHARS]).replace("_", " ")):
        if MIN_CHARS <= len(word) <= MAX_CHARS and word not in STOP_WORDS:
            yield word


def whole_term(name: str) -> str:
    """Return a class name as one term: case folded, on one line, without characters that do not show.

    Examples
    --------
    >>> whole_term("Military  Uniform"), whole_term("n02123045")
    ('military uniform', 'n02123045')
    """
    shown = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in _folded(name))
    return " ".join(shown.split())


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Folding can undo the normal form, and undoing what does not show can make letters meet.
    seen = unicodedata.normalize("NFKC", text).translate(_hidden())
    return unicodedata.normalize("NFKC", seen.casefold()).replace("\u2019", "'")


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    r"""Return what a word is; Python's own `\w` knows no combining marks, without which many scripts fall apart."""
    letter = rf"[\w{_ranges('M')}]"
    return re.compile(rf"{letter}+(?:'{letter}+)*")


def _ranges(major_category: str) -> str:
    """Return the characters of a category as ranges for a regular expression."""
    points = [n for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n))[0] == major_category]
    starts = [n for n, before in zip(points, [-2, *points[:-1]], strict=True) if n != before + 1]
    ends = [n for n, after in zip(points, [*points[1:], -2], strict=True) if n != after - 1]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))


@lru_cache(maxsize=1)
def _hidden() -> dict[int, None]:
    """Return the characters that only steer how others show, among them all marks of direction."""
    return {n: None for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) == "Cf"}


class TermCounter:
    """Counts in how many texts each term stands, among flagged images and among all.

    A term counts once for each text, however often it stands there: a caption that repeats a word a thousand times says no
    more than another. When there are more terms than `max_terms`, the rarest half is forgotten, so that a term which is rare
    throughout may be counted too low; `n_forgotten` says how many counts were lost so.

    Parameters
    ----------
    max_terms : int
        How many different terms are held, >= 2.
    """

    def __init__(self, max_terms: int = MAX_TERMS) -> None:
        self.flagged: Counter[str] = Counter()
        self.n_forgotten = 0
        self._all: Counter[str] = Counter()
        self._max_terms = max_terms

    @property
    def rest(self) -> Counter[str]:
        """The counts among all others."""
        return self._all - self.flagged

    def add_captions(self, captions: Iterable[str], *, flagged: bool) -> None:
        """Count the words of some captions."""
        for caption in captions:
            terms = set(iter_terms(caption))
            self._all.update(terms)
            if flagged:
                self.flagged.update(terms)
            if len(self._all) > self._max_terms:
                self._forget()

    def merge(self, other: TermCounter) -> None:
        """Add what another has counted in other texts."""
        self._all.update(other._all)
        self.flagged.update(other.flagged)
        self.n_forgotten += other.n_forgotten
        if len(self._all) > self._max_terms:
            self._forget()

    def add_names(self, names: Iterable[tuple[str, int]], *, flagged: bool) -> None:
        """Count some class names, each with the number of its images."""
        for name, n in names:
            term = whole_term(name)
            if term and n:
                self._all[term] += n
                if flagged:
                    self.flagged[term] += n

    def _forget(self) -> None:
        n_before = self._all.total()
        self._all = Counter(dict(self._all.most_common(self._max_terms // 2)))
        self.flagged = Counter({term: n for term, n in self.flagged.items() if term in self._all})
        self.n_forgotten += n_before - self._all.total()
