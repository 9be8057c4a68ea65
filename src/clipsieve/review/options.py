"""What a review is told before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipsieve.errors import UsageError

__all__ = ["MAX_GROUP", "DeskOptions"]

MAX_GROUP = 500  # images of one group that are shown, so that a person can look at each of them before they decide


@dataclass(frozen=True, slots=True)
class DeskOptions:
    """How images are handed out and what is shown of them.

    Attributes
    ----------
    scores_name : str or None
        Whose scores; None for the only ones there are.
    reviews_per_image : int
        How many people look at each image, 1 to 9.
    lease_s : float
        How long an image is kept for the person it was handed to, > 0.
    guideline : str
        The version of the instructions that people have before them; every verdict carries it.
    audit_width, audit_seed : float, int
        Of the random sample; see `plan_prevalence`.
    min_similarity : float
        From which cosine on two images are near-duplicates, 0.5 to 1.
    taxonomy : str or None
        A file of concepts, "none" to leave them out, None for the built-in ones.
    model : str or None
        Where the run's encoder lies now; None for where it lay when the run was scanned.
    location : str or None
        Where the source lies now, if not where it was scanned.
    n_workers : int
        Processes that decode pictures, >= 1.
    """

    scores_name: str | None = None
    reviews_per_image: int = 1
    lease_s: float = 600.0
    guideline: str = ""
    audit_width: float = 0.02
    audit_seed: int = 0
    min_similarity: float = 0.95
    taxonomy: str | Path | None = None
    model: str | None = None
    location: str | None = None
    n_workers: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.reviews_per_image <= 9:
            raise UsageError(
                "the number of reviews of an image makes no sense", expected="1 to 9", found=f"{self.reviews_per_image}"
            )
        if not 0.5 <= self.min_similarity <= 1:
            raise UsageError(
                "the similarity of near-duplicates makes no sense", expected="0.5 to 1", found=f"{self.min_similarity}"
            )
        if not self.lease_s > 0:
            raise UsageError("an image is handed out for some seconds", expected="more than 0", found=f"{self.lease_s}")
