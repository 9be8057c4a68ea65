"""Which compositions training never saw: decided by a hash, so that anyone can check it."""

from __future__ import annotations

import hashlib
import itertools

from clipsieve.demo.table import load_pictograms

__all__ = ["is_reserved"]

_SHARE = 0.15


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
