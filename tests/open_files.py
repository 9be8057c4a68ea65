"""What this process has open: earlier tests may give theirs back at any time, so only what is new counts."""

import gc
from pathlib import Path


def open_files() -> set[tuple[str, str]]:
    """Return the descriptors with what they are of, when all that nobody refers to any more is gone."""
    gc.collect()
    return _listed()


def opened_since(before: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return what is open and was not; nothing is collected, so what waits for that counts too."""
    return _listed() - before


def _listed() -> set[tuple[str, str]]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.add((descriptor.name, str(descriptor.readlink())))
        except FileNotFoundError:
            continue  # that of the listing itself
    return found
