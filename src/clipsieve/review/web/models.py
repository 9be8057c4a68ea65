"""The form of what the page sends and gets: bounds on everything, and nothing that is not named here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from clipsieve.review.deciding import SentVerdict
from clipsieve.review.records import MAX_NOTE_CHARS, Choice, Item, QueueName, QueueSpec, Voice

__all__ = [
    "Group",
    "GroupBody",
    "Items",
    "LearnAnswer",
    "Nothing",
    "Problem",
    "QueueBody",
    "ReleaseBody",
    "RenewBody",
    "Renewed",
    "SearchBody",
    "SimilarBody",
    "State",
    "Summary",
    "TakeBody",
    "Taken",
    "VerdictBody",
    "VerdictsAnswer",
    "VerdictsBody",
]

_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_NO_NUL = r"^[^\x00]*$"
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _text(low: int, high: int) -> Any:  # noqa: ANN401
    return StringConstraints(strict=True, min_length=low, max_length=high, pattern=_NO_NUL)


def _written_out(value: object) -> object:
    """Refuse numbers for times: nobody could tell seconds from milliseconds."""
    if not isinstance(value, str) or not 19 <= len(value) <= 40 or "T" not in value:
        raise ValueError("a time of ISO 8601 with its zone")
    return value


def _in_reach(value: datetime) -> datetime:
    if value.tzinfo is None or not _FIRST <= value <= _LAST:
        raise ValueError("a time of ISO 8601 with its zone, from 2000 to 2200")
    return value.astimezone(UTC)


def _number(value: object) -> object:
    """Refuse what is no number in JSON; 2.0 is a whole one there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a whole number")  # noqa: TRY004 - the form of a refusal in this library
    return value


_WHOLE = BeforeValidator(_number)
Row = Annotated[int, Field(ge=0, lt=2**31), _WHOLE]
Uuid = Annotated[str, StringConstraints(strict=True, pattern=_UUID, min_length=36, max_length=36)]
Time = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_in_reach)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QueueBody(_Body):
    """Which queue."""

    name: QueueName
    value: Annotated[str, _text(0, 4096)] | None = None

    def spec(self) -> QueueSpec:
        """Return the record."""
        return QueueSpec(self.name, self.value)


class TakeBody(_Body):
    """What somebody wants to look at next."""

    queue: QueueBody
    n: Annotated[int, Field(ge=1, le=100), _WHOLE] = 24
    skip: Annotated[list[Row], Field(max_length=5000)] = []


class VerdictBody(_Body):
    """One decision."""

    verdict_id: Uuid
    row: Row
    image_id: Annotated[str, _text(1, 4096)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    choice: Choice
    made: Time
    voice: Voice = Voice.REVIEW
    undoes: Uuid | None = None
    concepts: Annotated[list[Annotated[str, _text(1, 200)]], Field(max_length=50)] = []
    note: Annotated[str, _text(0, MAX_NOTE_CHARS)] = ""
    classifier: Annotated[str, _text(1, 200)] | None = None
    score: Share | None = None
    duration_s: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)] | None = None
    queue: Annotated[str, _text(1, 40)] | None = None
    group_id: Annotated[str, _text(1, 80)] | None = None

    def sent(self) -> SentVerdict:
        """Return the record."""
        facts = {name: getattr(self, name) for name in type(self).model_fields}
        return SentVerdict(**facts | {"concepts": tuple(self.concepts)})


class VerdictsBody(_Body):
    """Decisions, in the order in which they were made."""

    verdicts: Annotated[list[VerdictBody], Field(min_length=1, max_length=200)]


class SearchBody(_Body):
    """What to look for, in words."""

    text: Annotated[str, _text(1, 500)]
    n: Annotated[int, Field(ge=1, le=200), _WHOLE] = 48
    is_blind: bool = False


class SimilarBody(_Body):
    """What the images found shall be like."""

    row: Row
    n: Annotated[int, Field(ge=1, le=200), _WHOLE] = 48
    is_blind: bool = False


class GroupBody(_Body):
    """Whose near-duplicates, and how near."""

    row: Row
    min_similarity: Annotated[float, Field(ge=0.5, le=1, allow_inf_nan=False, strict=True)] = 0.95
    is_blind: bool = False


class ReleaseBody(_Body):
    """What somebody will not look at after all."""

    rows: Annotated[list[Row], Field(max_length=5000)]


class RenewBody(_Body):
    """What somebody still has before them."""

    rows: Annotated[list[Row], Field(max_length=200)]


class Renewed(BaseModel):
    """Which of these somebody else holds by now."""

    lost: list[int]


class Nothing(_Body):
    """An object that holds nothing."""


class Problem(BaseModel):
    """What went wrong, and what to do."""

    error: str
    hint: str | None


class Taken(BaseModel):
    """Images of a queue, kept for whoever asked."""

    items: list[Item]
    n_left: int
    message: str | None


class Items(BaseModel):
    """Images that were found."""

    items: list[Item]
    elapsed_s: float


class Group(BaseModel):
    """An image and its near-duplicates."""

    items: list[Item]
    n: int
    min_similarity: float


class Refusal(BaseModel):
    """A decision that cannot stand."""

    verdict_id: str
    why: str


class VerdictsAnswer(BaseModel):
    """Which decisions are durable now."""

    accepted: list[str]
    refused: list[Refusal]
    progress: dict[str, Any]
    now: datetime


class Queue(BaseModel):
    """A queue that can be chosen."""

    name: QueueName
    value: str | None
    title: str
    about: str
    n: int
    n_done: int


class State(BaseModel):
    """All that a page needs to begin."""

    annotator: str
    role: str
    run: dict[str, Any]
    guideline: str
    reviews_per_image: int
    concepts: list[str]
    queues: list[Queue]
    progress: dict[str, Any]
    index: dict[str, Any]
    min_similarity: float
    can_adjudicate: bool
    now: datetime


class Summary(BaseModel):
    """How far the review is, and how well people agree."""

    model_config = ConfigDict(extra="allow")

    by_annotator: list[dict[str, Any]]
    agreement: dict[str, Any]
    by_queue: list[dict[str, Any]]
    by_concept: list[dict[str, Any]]


class LearnAnswer(BaseModel):
    """What was learned."""

    model_config = ConfigDict(extra="allow")

    name: str
    n_train: int
    n_held_out: int
    sentence: str
