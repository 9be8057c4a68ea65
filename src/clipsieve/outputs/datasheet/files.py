"""The datasheet's files, beside those of the report."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipsieve.errors import ExportError, UsageError
from clipsieve.outputs.datasheet.answer import write_answer
from clipsieve.outputs.datasheet.card import insert_into_card, write_card_section
from clipsieve.outputs.datasheet.croissant import ReportFile, build_croissant
from clipsieve.outputs.datasheet.places import ANSWER, CARD, CROISSANT_FILE, check_replaceable
from clipsieve.outputs.report.records import Report
from clipsieve.outputs.text_files import write_text

__all__ = ["as_json_text", "build_texts", "describe_files", "write_datasheet_files"]

_DESCRIBED = ("report.json", "flagged.csv", "flagged.parquet")


def write_datasheet_files(
    report: Report, folder: str | Path, *, card: str | None = None, existing: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write `datasheet.md`, `dataset-card.md` and `croissant.json`; each is whole or absent, and older ones are replaced.

    Write the files of the report into the folder first: the Croissant file names those that are there, with their hashes.

    Parameters
    ----------
    report : Report
        What was found.
    folder : str or Path
        Where to; it is made if it is not there.
    card : str, optional
        A card that the section joins, as by `insert_into_card`; without it the section stands alone.
    existing : mapping, optional
        A description that the properties join, as by `build_croissant`.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ExportError
        If one cannot be written, a file of the report cannot be read, or the folder holds files of these names that no
        datasheet left there.
    UsageError
        As for `insert_into_card` and `build_croissant`, or if a text of `existing` is none in Unicode; then nothing is written.
    """
    folder = Path(folder)
    check_replaceable(folder, has_card=card is not None, has_croissant=existing is not None)
    texts = build_texts(report, card=card, existing=existing, files=describe_files(folder))
    return [write_text(folder / name, text) for name, text in texts.items()]


def build_texts(
    report: Report,
    *,
    card: str | None = None,
    existing: Mapping[str, Any] | None = None,
    files: tuple[ReportFile, ...] = (),
) -> dict[str, str]:
    """Return what the files are to hold, by name; errors as for `write_datasheet_files`."""
    section = write_card_section(report)
    return {
        ANSWER: write_answer(report),
        CARD: section if card is None else insert_into_card(card, section),
        CROISSANT_FILE: as_json_text(build_croissant(report, files=files, existing=existing)),
    }


def as_json_text(description: Mapping[str, Any]) -> str:
    """Return a description as the text of a JSON file.

    Raises
    ------
    UsageError
        If it holds a number that JSON has no digits for (RFC 8259, section 6), or half a character.
    """
    try:
        text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        text.encode()
    except ValueError as error:  # a UnicodeEncodeError is one, too
        raise UsageError(
            "the description cannot be written as JSON",
            expected="finite numbers, and texts in Unicode",
            found="half of a surrogate pair" if isinstance(error, UnicodeError) else "`NaN` or an infinite number",
            state="nothing was written",
            hint="mend that in the Croissant file",
        ) from None
    return text


def describe_files(folder: str | Path) -> tuple[ReportFile, ...]:
    """Return the files of a report that lie in a folder, with sizes and hashes; ExportError if one cannot be read."""
    paths = [Path(folder) / name for name in _DESCRIBED]
    return tuple(_describe(path) for path in paths if path.is_file())


def _describe(path: Path) -> ReportFile:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        columns: tuple[str, ...] = ()
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as text:
                columns = tuple(next(csv.reader(text), ()))
        return ReportFile(path.name, digest, path.stat().st_size, columns)
    except OSError as error:
        raise ExportError(f"cannot read `{path}`: {error.strerror or error}", state="nothing was written") from error
