"""One row of a ledger as plain texts, and back: what every file of verdicts is checked by."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from clipsieve.errors import UsageError
from clipsieve.review.records import MAX_ID_CHARS, MAX_NAME_CHARS, MAX_NOTE_CHARS, Choice, VerdictRow, Voice

__all__ = ["FIELDS", "NEEDED_FIELDS", "id_from", "row_from", "texts_of", "time_from"]

FIELDS = tuple(field.name for field in fields(VerdictRow))
NEEDED_FIELDS = ("verdict_id", "image_id", "annotator", "choice", "made")
_NAMESPACE = uuid.UUID("5b1bd0fa-0a2e-5f0e-9c39-9b8a4c0f6f0d")  # of ids made from content: never to be changed
_NULLABLE = ("sha256", "undoes", "classifier", "queue", "group_id")


def texts_of(row: VerdictRow) -> dict[str, str]:
    """Return each field as text: what is not known is empty, concepts are a JSON array, numbers lose no digit."""
    texts = {name: "" if getattr(row, name) is None else str(getattr(row, name)) for name in FIELDS}
    texts["made"] = row.made.astimezone(UTC).isoformat()
    texts["concepts"] = json.dumps(row.concepts, ensure_ascii=False) if row.concepts else ""
    return texts


def row_from(texts: Mapping[str, str], where: str) -> VerdictRow:
    """Return what `texts_of` was given; fields that are missing are not known.

    Parameters
    ----------
    texts : mapping of str to str
        With `NEEDED_FIELDS` at least.
    where : str
        The file and the line, for messages.

    Raises
    ------
    UsageError
        If a field makes no sense; names it.
    """
    given = {name: texts.get(name, "") for name in FIELDS}
    for name in NEEDED_FIELDS:
        if not given[name]:
            raise UsageError(f"{where}: `{name}` is empty", expected="a value in every row")
    _check_length(where, given)
    choice, voice = _word(where, "choice", given, Choice), _word(where, "voice", given, Voice) or Voice.REVIEW
    if (choice is Choice.UNDO) != bool(given["undoes"]):
        raise UsageError(f"{where}: `undoes` names the row that an `undo` takes back, and stands nowhere else")
    optional = {name: given[name] or None for name in _NULLABLE}
    return VerdictRow(
        verdict_id=given["verdict_id"],
        image_id=given["image_id"],
        annotator=given["annotator"],
        choice=choice,
        made=time_from(given["made"], where),
        voice=voice,
        concepts=_concepts(where, given["concepts"]),
        note=given["note"],
        guideline=given["guideline"],
        score=_number(where, "score", given, most=1.0),
        duration_s=_number(where, "duration_s", given, most=math.inf),
        **optional,
    )


def id_from(*content: str) -> str:
    """Return an id that is the same for the same content, for files that give their verdicts none."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps(content)))


def time_from(text: str, where: str) -> datetime:
    """Read a time in ISO 8601, in UTC if it names no zone; UsageError if it is none."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{where}: `made` is no time", expected="such as `2026-01-31T12:00:00+00:00`", found=f"`{text[:60]}`"
        ) from None


def _check_length(where: str, given: Mapping[str, str]) -> None:
    for name, most in (("annotator", MAX_NAME_CHARS), ("note", MAX_NOTE_CHARS), ("verdict_id", MAX_ID_CHARS)):
        if len(given[name]) > most:
            raise UsageError(
                f"{where}: `{name}` is too long", expected=f"at most {most:,} characters", found=f"{len(given[name]):,}"
            )


def _word(where: str, name: str, given: Mapping[str, str], words: type[Any]) -> Any:  # noqa: ANN401
    try:
        return words(given[name]) if given[name] else None
    except ValueError:
        expected = ", ".join(f"`{word.value}`" for word in words)
        raise UsageError(
            f"{where}: `{name}` is none of the known words", expected=expected, found=f"`{given[name][:60]}`"
        ) from None


def _number(where: str, name: str, given: Mapping[str, str], *, most: float) -> float | None:
    if not given[name]:
        return None
    try:
        value = float(given[name])
    except ValueError:
        value = math.nan
    if not (0 <= value <= most and math.isfinite(value)):
        expected = "a number from 0 to 1" if math.isfinite(most) else "a number, 0 or more"
        raise UsageError(f"{where}: `{name}` makes no sense", expected=expected, found=f"`{given[name][:60]}`")
    return value


def _concepts(where: str, text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"{where}: `concepts` is no list of names", expected='such as `["weapons"]`')
    return tuple(found)
