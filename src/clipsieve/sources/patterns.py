"""Names with braces and stars, as WebDataset's users write them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clipsieve.errors import UsageError

__all__ = ["expand_braces", "has_braces", "is_glob"]

MAX_NAMES = 1_000_000

# A pair of braces without another inside: `{00..99}`, `{00...99}`, `{a,b}`.
_BRACES = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")


def is_glob(location: str) -> bool:
    """Return whether a location holds `*`, `?` or `[`; a URL's query begins with `?` too, and is none."""
    marks = "*[" if location.startswith(("http://", "https://")) else "*?["
    return any(mark in location for mark in marks)


def has_braces(location: str) -> bool:
    """Return whether a location holds braces that stand for several names."""
    return _BRACES.search(location) is not None


def expand_braces(location: str) -> list[str]:
    """Return every name that braces stand for, in order.

    >>> expand_braces("s3://bucket/{train,val}-{08..11}.tar")[:3]
    ['s3://bucket/train-08.tar', 's3://bucket/train-09.tar', 's3://bucket/train-10.tar']

    Raises
    ------
    UsageError
        If they stand for more than a million.
    """
    names = [location]
    while any(has_braces(name) for name in names):
        names = [new for name in names for new in _expand_first(name)]
        if len(names) > MAX_NAMES:
            raise UsageError(f"`{location}` stands for more than {MAX_NAMES:,} names")
    return names


def _expand_first(name: str) -> Iterator[str]:
    match = _BRACES.search(name)
    if match is None:
        yield name
        return
    for choice in _choices(match[1]):
        yield f"{name[: match.start()]}{choice}{name[match.end() :]}"


def _choices(inside: str) -> list[str]:
    bounds = _RANGE.fullmatch(inside)
    if bounds is None:
        return inside.split(",")
    first, last = int(bounds[1]), int(bounds[2])
    if abs(last - first) >= MAX_NAMES:
        raise UsageError(f"`{{{inside}}}` stands for more than {MAX_NAMES:,} names")
    padded = any(len(bound) > 1 and bound.startswith("0") for bound in bounds.groups())
    width = max(map(len, bounds.groups())) if padded else 0
    step = 1 if last >= first else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]
