"""Images that are known and must never be opened: lists of the hashes of their files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clipsieve.errors import UsageError

__all__ = ["BlockList", "load_block_list"]

_ALGORITHMS = {32: "md5", 64: "sha256"}


@dataclass(frozen=True)
class BlockList:
    """Hashes of files, by algorithm.

    Attributes
    ----------
    sha256, md5 : frozenset of bytes
        Digests of 32 and 16 bytes.
    """

    sha256: frozenset[bytes] = frozenset()
    md5: frozenset[bytes] = frozenset()

    def __len__(self) -> int:
        return len(self.sha256) + len(self.md5)

    @property
    def fingerprint(self) -> str:
        """The sha256 over all hashes, in whatever order they were listed."""
        digest = hashlib.sha256()
        for hashes in (self.sha256, self.md5):
            digest.update(b"%d:" % len(hashes))
            for value in sorted(hashes):
                digest.update(value)
        return digest.hexdigest()

    def blocks(self, content: bytes) -> bool:
        """Return whether a file with this content is on the list."""
        if self.sha256 and hashlib.sha256(content).digest() in self.sha256:
            return True
        # md5 finds known files here, as published lists are of it; it proves nothing.
        return bool(self.md5) and hashlib.md5(content, usedforsecurity=False).digest() in self.md5


def load_block_list(path: str | Path) -> BlockList:
    """Read a list of hashes: sha256 or md5 in hex, one a line; what follows on a line, such as a name, is passed over.

    Empty lines and lines that begin with `#` are passed over too.

    Raises
    ------
    UsageError
        If the file cannot be read, a line begins with no hash (names it), or there is no hash at all: a list that is
        misread in silence would block nothing.
    """
    found: dict[str, set[bytes]] = {"sha256": set(), "md5": set()}
    try:
        with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                words = line.split()
                if words and not words[0].startswith("#"):
                    algorithm, digest = _parse(words[0], path, number)
                    found[algorithm].add(digest)
    except OSError as error:
        raise UsageError(f"cannot read the list of hashes `{path}`: {error.strerror}") from error
    if not any(found.values()):
        raise UsageError(f"the list of hashes `{path}` is empty", expected="sha256 or md5 in hex, one a line")
    return BlockList(frozenset(found["sha256"]), frozenset(found["md5"]))


def _parse(word: str, path: str | Path, number: int) -> tuple[str, bytes]:
    try:
        return _ALGORITHMS[len(word)], bytes.fromhex(word)
    except (KeyError, ValueError):
        raise UsageError(
            f"line {number:,} of `{path}` begins with no hash",
            expected="64 hex digits (sha256) or 32 (md5)",
            found=f"`{word[:80]}`",
            state="nothing was read",
        ) from None
