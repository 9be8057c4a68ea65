"""Which compositions training never saw, and which ones tuning may see: decided by hashes, so that anyone can check it."""

from __future__ import annotations

import hashlib
import itertools

from clipsieve.demo.table import load_pictograms

__all__ = ["is_reserved", "tuning_part"]

_SHARE = 0.15
_UNSEEN_SHARE = 0.2
_TEST_SHARE = 0.25


def _hashed_share(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def is_reserved(members: tuple[int, ...], style: str) -> bool:
    """Return whether a composition belongs to the evaluation and the demo, and is never composed in training.

    One pictogram alone is reserved per drawing style; two or three are reserved as an unordered set in whatever
    style, and three also if any two of them are. About 15% of the singles and pairs, 48% of the triples.

    Parameters
    ----------
    members : tuple of int
        One to three different positions in the table.
    style : str
        The drawing style; decides for single pictograms only.
    """
    table = load_pictograms()
    codes = sorted(table[i].code_point for i in members)
    if len(codes) == 1:
        return _hashed_share(f"{style}:{codes[0]}") < _SHARE
    sizes = range(2, len(codes) + 1)
    return any(_hashed_share("+".join(c)) < _SHARE for n in sizes for c in itertools.combinations(codes, n))


def tuning_part(members: tuple[int, ...], style: str) -> str:
    """Return which part of a data set a picture belongs to, for tuning a classifier on some pictures and testing it on others.

    A fifth of the pictograms are unseen: no picture for tuning shows one. Of the compositions without any, a quarter is for
    testing; as in `is_reserved`, pictograms together are one composition in whatever style, and one alone is one in each style.

    Parameters
    ----------
    members : tuple of int
        One to three different positions in the table.
    style : str
        The drawing style; decides for single pictograms only.

    Returns
    -------
    {"train", "test", "unseen"}
        "unseen" if all its pictograms are; "test" if some are, or if it is for testing; else "train".
    """
    table = load_pictograms()
    codes = sorted(table[i].code_point for i in members)
    unseen = [_hashed_share(f"unseen:{code}") < _UNSEEN_SHARE for code in codes]
    if all(unseen):
        return "unseen"
    composition = f"{style}:{codes[0]}" if len(codes) == 1 else "+".join(codes)
    is_tested = any(unseen) or _hashed_share(f"test:{composition}") < _TEST_SHARE
    return "test" if is_tested else "train"
