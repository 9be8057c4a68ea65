"""Which images a classifier was tuned on, and the prompts that it began with: figures on these flatter it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["ID_PREFIX", "digest_of", "is_in_words", "is_same_kind", "tuned_on"]

ID_PREFIX = "id-"  # of a digest of an image's id, where the image itself was never hashed


def digest_of(image_id: str, sha256: str | None) -> str:
    """Return what stands for an image among those that a classifier was tuned on: of its content, or else of its id."""
    return sha256[:16] if sha256 else ID_PREFIX + hashlib.sha256(image_id.encode()).hexdigest()[:13]


def tuned_on(provenance: Mapping[str, Any]) -> tuple[frozenset[str], bool]:
    """Return the images of a classifier's training and of that of the prompts it began with, and whether those are all."""
    found: set[str] = set()
    while True:
        digests = provenance.get("tuned_on")
        if not isinstance(digests, list) or not all(isinstance(digest, str) for digest in digests):
            return frozenset(found), False
        found.update(digests)
        before = provenance.get("begins_with")
        if before is None:
            return frozenset(found), True
        provenance = before if isinstance(before, Mapping) else {}


def is_in_words(method: object, provenance: Mapping[str, Any]) -> bool:
    """Return whether a classifier is prompts in words, which were tuned on nothing."""
    return method in (None, "zero-shot") and "begins_with" not in provenance


def is_same_kind(seen: Iterable[str], here: Iterable[str]) -> bool:
    """Return whether digests can meet: those of contents never meet those of ids, which stand for embeddings of others."""
    kinds = {digest.startswith(ID_PREFIX) for digest in seen}
    return not kinds or bool(kinds & {digest.startswith(ID_PREFIX) for digest in here})
