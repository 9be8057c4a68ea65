"""What an export is told, and what it tells in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from clipsieve.engines.decisions import Decision, Policy
from clipsieve.engines.verdict_files import ImageVerdicts
from clipsieve.errors import UsageError
from clipsieve.outputs.export.base import HowToPlace
from clipsieve.outputs.export.fates import Undecided

__all__ = ["ExportForm", "ExportOptions", "ExportReport", "PlaceReport"]

ExportForm: TypeAlias = Literal["same", "csv", "parquet", "datacomp", "torchvision"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What decides an export, beside the run and the place.

    Attributes
    ----------
    policy : Policy
        Who may decide without whom.
    scores_name : str or None
        Whose scores; None for the only ones there are.
    verdicts : ImageVerdicts or None
        What people have said; a verdict outdoes the machine.
    undecided : {"keep", "remove", "fail"}
        Where what nobody has decided goes, unless there is a place for review: never anywhere in silence.
    review_to, remove_to : str or None
        Places for what is for review, and for what is removed; without one, it is left out.
    form : {"same", "csv", "parquet", "datacomp", "torchvision"}
        A data set of the same kind, or a list alone.
    how : {"copy", "hardlink", "symlink"}
        How files of this machine come to a place on it.
    location : str or None
        Where the source lies now, if not where it was scanned.
    """

    policy: Policy = Policy.THRESHOLDS
    scores_name: str | None = None
    verdicts: ImageVerdicts | None = None
    undecided: Undecided = "fail"
    review_to: str | None = None
    remove_to: str | None = None
    form: ExportForm = "same"
    how: HowToPlace = "copy"
    location: str | None = None

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[str, ...]] = {
            "policy": tuple(Policy),
            "undecided": get_args(Undecided),
            "form": get_args(ExportForm),
            "how": get_args(HowToPlace),
        }
        for name, words in allowed.items():
            if getattr(self, name) not in words:
                raise UsageError(
                    f"there is no {name} `{getattr(self, name)}`", expected=", ".join(f"`{word}`" for word in words)
                )
        object.__setattr__(self, "policy", Policy(self.policy))
        if self.review_to is not None and self.undecided != "fail":
            raise UsageError(
                "a place for review and a choice for undecided images exclude each other",
                expected="one of them: with the place, undecided images go there",
                found=f"`--review-to` and `--undecided {self.undecided}`",
            )

    def locations(self, destination: str) -> dict[Decision, str]:
        """Return the place of each decision that has one."""
        places = {Decision.KEEP: destination, Decision.REVIEW: self.review_to, Decision.REMOVE: self.remove_to}
        return {decision: place for decision, place in places.items() if place is not None}


@dataclass(frozen=True, slots=True)
class PlaceReport:
    """What has one decision.

    Attributes
    ----------
    n_images, n_bytes : int
        Inputs, and the size of their encoded files as far as they were read.
    url : str or None
        Where they went; None if they were left out.
    reasons : mapping of str to int
        Inputs by reason.
    """

    n_images: int
    n_bytes: int
    url: str | None
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did, or would do.

    Attributes
    ----------
    policy, undecided, form, scores_name : str
        As they were told.
    places : mapping of str to PlaceReport
        For "keep", "review" and "remove".
    n_undecided : int
        Inputs that nobody has decided on, wherever an option has sent them.
    n_unhashed_kept : int
        Inputs that are kept although their content was never read.
    warnings : tuple of str
        What a person should know of the data set that is left.
    n_files, n_bytes_written : int
        Files in all places, and their size.
    n_problems : int
        Inputs and other files that should have gone to a place and could not.
    problems : tuple of str
        The first 20 of them: which, and why.
    is_dry_run : bool
        Whether nothing was written.
    elapsed_s : float
        Wall-clock time.
    """

    policy: str
    undecided: str
    form: str
    scores_name: str
    places: Mapping[str, PlaceReport]
    n_undecided: int
    n_unhashed_kept: int
    warnings: tuple[str, ...] = ()
    n_files: int = 0
    n_bytes_written: int = 0
    n_problems: int = 0
    problems: tuple[str, ...] = ()
    is_dry_run: bool = True
    elapsed_s: float = 0.0
