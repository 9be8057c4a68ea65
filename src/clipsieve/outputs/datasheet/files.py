"""The datasheet's files, beside those of the report."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipsieve.errors import ExportError
from clipsieve.outputs.datasheet.answer import write_answer
from clipsieve.outputs.datasheet.card import insert_into_card, write_card_section
from clipsieve.outputs.datasheet.croissant import ReportFile, build_croissant
from clipsieve.outputs.report.records import Report
from clipsieve.outputs.text_files import write_text

__all__ = ["ANSWER", "CARD", "CROISSANT_FILE", "describe_files", "write_datasheet_files"]

ANSWER, CARD, CROISSANT_FILE = "datasheet.md", "dataset-card.md", "croissant.json"
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
        If one cannot be written, or a file of the report cannot be read.
    UsageError
        As for `insert_into_card` and `build_croissant`; then nothing is written.
    """
    folder = Path(folder)
    croissant = build_croissant(report, files=describe_files(folder), existing=existing)
    contents = {
        ANSWER: write_answer(report),
        CARD: write_card_section(report) if card is None else insert_into_card(card, write_card_section(report)),
        CROISSANT_FILE: json.dumps(croissant, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    return [write_text(folder / name, text) for name, text in contents.items()]


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
