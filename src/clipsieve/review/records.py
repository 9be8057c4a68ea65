"""What travels between the people who review, the ledger that remembers, and the page that shows."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

__all__ = [
    "MAX_ID_CHARS",
    "MAX_NAME_CHARS",
    "MAX_NOTE_CHARS",
    "Choice",
    "CurrentVerdict",
    "Item",
    "OpenedSession",
    "QueueName",
    "QueueSpec",
    "Role",
    "VerdictRow",
    "Voice",
    "is_name",
]

MAX_ID_CHARS, MAX_NAME_CHARS, MAX_NOTE_CHARS = 100, 80, 2_000  # of a verdict's id, of a person's name, of a note


def is_name(name: str) -> bool:
    r"""Return whether a person can go by a name: 1 to 80 characters that print, with no space at its ends.

    >>> is_name("Ana María"), is_name(""), is_name("a\x00"), is_name("x" * 81)
    (True, False, False, False)
    """
    return 1 <= len(name) <= MAX_NAME_CHARS and name.isprintable() and name == name.strip()


class Choice(enum.StrEnum):
    """What a person did about an image."""

    KEEP = "keep"
    REMOVE = "remove"
    UNSURE = "unsure"
    UNDO = "undo"  # takes an earlier row of the same person back; says nothing of the image itself


class Voice(enum.StrEnum):
    """In which part a person spoke: as one of several, or to settle what they differ about."""

    REVIEW = "review"
    ADJUDICATION = "adjudication"


class Role(enum.StrEnum):
    """What a person may do on the page."""

    REVIEWER = "reviewer"
    ADJUDICATOR = "adjudicator"  # all that a reviewer may, and settle what others differ about


class QueueName(enum.StrEnum):
    """The orders in which images can be reviewed."""

    UNCERTAIN = "uncertain"
    HIGHEST = "highest"
    CLASS = "class"  # of one class, named by the value; the highest score first
    CONCEPT = "concept"  # of one concept of the taxonomy, named by the value; the highest score first
    AUDIT = "audit"  # the random sample that `prevalence` draws, in its own order
    DUPLICATES = "duplicates"  # groups of near-duplicates, each shown by its highest score
    DISAGREEMENTS = "disagreements"  # reviewers differ, or all that were asked were unsure: for adjudicators


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue: its name, and for a class or concept which one."""

    name: QueueName
    value: str | None = None


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One row of the ledger; rows are only ever added.

    Attributes
    ----------
    verdict_id : str
        A UUID that the page made when the person pressed the key: the same row sent twice is one row.
    image_id : str
        As in the run.
    sha256 : str or None
        Of the encoded image that was seen; None where the run does not know it.
    annotator : str
        Who; 1 to 80 characters.
    choice : Choice
        What they said, or that they take an earlier row back.
    made : datetime
        When, in UTC, by the clock of whoever wrote it down first.
    voice : Voice
        As a reviewer, or as an adjudicator.
    undoes : str or None
        With `Choice.UNDO` alone: the `verdict_id` that is taken back.
    concepts : tuple of str
        Names of what the person says the image shows.
    note : str
        Free text, at most 2,000 characters.
    guideline : str
        The version of the instructions that the person had before them; may be empty.
    classifier : str or None
        Name of the scores that were shown or decided the order.
    score : float or None
        The probability of the unwanted class then, 0-1.
    duration_s : float or None
        From when the image was shown to the decision.
    queue : str or None
        In which order it came up: the name of a queue, `search`, `similar`, or `import`.
    group_id : str or None
        The same for all rows of one decision about a group.
    """

    verdict_id: str
    image_id: str
    sha256: str | None
    annotator: str
    choice: Choice
    made: datetime
    voice: Voice = Voice.REVIEW
    undoes: str | None = None
    concepts: tuple[str, ...] = ()
    note: str = ""
    guideline: str = ""
    classifier: str | None = None
    score: float | None = None
    duration_s: float | None = None
    queue: str | None = None
    group_id: str | None = None


@dataclass(frozen=True, slots=True)
class CurrentVerdict:
    """What holds for one image now: the latest of each annotator, then the majority, then adjudication.

    Attributes
    ----------
    image_id : str
        As in the run.
    unwanted : bool or None
        None if nobody has decided: no choice has more than half of the voices, or that choice is unsure.
    by_annotator : dict of str to Choice
        The latest of each reviewer that was not taken back, in the order in which they first spoke.
    is_adjudicated : bool
        Whether an adjudicator has settled it; then `unwanted` is what they said.
    adjudicator : str or None
        Who.
    concepts : tuple of str
        All that were named in the rows that count, sorted.
    """

    image_id: str
    unwanted: bool | None
    by_annotator: dict[str, Choice]
    is_adjudicated: bool = False
    adjudicator: str | None = None
    concepts: tuple[str, ...] = ()

    @property
    def is_disputed(self) -> bool:
        """Whether two or more have looked at it, and there is still no decision."""
        return self.unwanted is None and len(self.by_annotator) > 1 and not self.is_adjudicated


@dataclass(frozen=True, slots=True)
class Item:
    """One image as the page shows it; every text in it is legible: nothing turns, hides or steers its surroundings.

    Attributes
    ----------
    row : int
        Its place in the run, from 0: what the page calls it.
    image_id : str
        Exactly as in the run; sent back with a decision, never shown.
    sha256 : str or None
        Of the encoded file; its first 16 hex digits stand in the picture's address.
    name : str
        The id as a person can read it.
    label, caption : str or None
        What the data set says, cut at 120 and 400 characters.
    concept : str or None
        Title of the concept that its embedding is nearest to; None for "other" and where nothing is known.
    classifier : str or None
        Whose score it is; None as there.
    score : float or None
        Probability of the unwanted class, 0-1; None without one, and in the audit, where it would sway.
    is_flagged : bool or None
        Whether the score is at or above the threshold; None as above.
    picture : str or None
        Address of its picture without the size and ending, `/images/ROW/SHA16`; None if it cannot be shown.
    why_no_picture : str or None
        In words.
    n_like_it : int
        With `duplicates`: how many images the group has, this one included; 1 elsewhere.
    mine : Choice or None
        What the asking person has said of it so far.
    voices : tuple of (str, str, str)
        For adjudication alone: annotator, choice and note of each reviewer.
    similarity : float or None
        With search and "more like this": the cosine, -1 to 1.
    """

    row: int
    image_id: str
    sha256: str | None
    name: str
    label: str | None
    caption: str | None
    concept: str | None
    classifier: str | None
    score: float | None
    is_flagged: bool | None
    picture: str | None
    why_no_picture: str | None
    n_like_it: int = 1
    mine: Choice | None = None
    voices: tuple[tuple[str, str, str], ...] = ()
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """Somebody who has logged in.

    Attributes
    ----------
    annotator : str
        Their name.
    role : Role
        What they may do.
    csrf : str
        What each of their writes must carry, beside the cookie.
    expires : datetime
        UTC.
    page : str
        Which of the pages that they have open; may be empty.
    """

    annotator: str
    role: Role
    csrf: str
    expires: datetime
    page: str = ""

    @property
    def holder(self) -> str:
        """Who holds a lease: a person, and of several pages that they have open, which one."""
        return f"{self.annotator}\n{self.page}" if self.page else self.annotator
