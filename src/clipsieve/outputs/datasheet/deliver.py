"""From a run to the files of its datasheet."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clipsieve.errors import UsageError
from clipsieve.outputs.datasheet.files import as_json_text, build_texts, write_datasheet_files
from clipsieve.outputs.datasheet.places import (
    ANSWER,
    CARD,
    CROISSANT_FILE,
    MAX_BYTES,
    check_not_written_over,
    check_replaceable,
)
from clipsieve.outputs.report.deliver import Findings, ReportOptions, check_places, find
from clipsieve.outputs.report.files import REPORT_FILES, check_folder, write_report_files
from clipsieve.store import Run

__all__ = ["write_datasheet"]

_OURS = (ANSWER, CARD, CROISSANT_FILE)


def write_datasheet(
    run: Run,
    folder: str | Path | None,
    options: ReportOptions | None = None,
    *,
    card: str | Path | None = None,
    croissant: str | Path | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> Findings:
    """Write the answer to the datasheet's question on offensive content, in each of its forms, and the report that it cites.

    Parameters
    ----------
    run : Run
        With scores.
    folder : str or Path, or None
        Where to; with None nothing is written, and `write_answer` gives the text.
    options : ReportOptions, optional
        As for `write_report`; no image is opened.
    card, croissant : str or Path, optional
        A data set card and a Croissant file of the owner's: they are read, and what is written holds all of theirs. They
        do not lie where a file is written.
    on_progress : callable
        Called with the number of images done and in all.

    Raises
    ------
    UsageError
        If the card or the Croissant file cannot be read, makes no sense or would be written over; also as for `write_report`.
        Then nothing is written.
    ExportError
        If a file cannot be written, or the folder holds files of these names that no datasheet left there.
    """
    told = options or ReportOptions()
    if folder is not None:
        _check_place(run, told, Path(folder), card, croissant)
    own_card = None if card is None else _read(Path(card))
    own_croissant = None if croissant is None else _parse(Path(croissant))
    if folder is not None:
        check_replaceable(Path(folder), has_card=own_card is not None, has_croissant=own_croissant is not None)
    found = find(run, told, with_examples=False, on_progress=on_progress)
    if folder is not None:
        # What cannot be said or joined is known before any file is replaced.
        build_texts(found.report, card=own_card, existing=own_croissant)
        write_report_files(found.report, found.flagged(told.scores_name), folder, ours=_OURS)
        write_datasheet_files(found.report, folder, card=own_card, existing=own_croissant)
    return found


def _check_place(
    run: Run, options: ReportOptions, folder: Path, card: str | Path | None, croissant: str | Path | None
) -> None:
    check_places(run, options, folder)
    check_folder(folder, _OURS)
    own = [Path(path) for path in (card, croissant) if path is not None]
    check_not_written_over(own, [folder / name for name in (*REPORT_FILES, *_OURS)])


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"`{path}` is too large", expected=f"at most {MAX_BYTES:,} bytes")
        return content.decode()
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"`{path}` is no text in UTF-8") from None


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(_read(path).removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"`{path}` is no JSON: {error}", expected="a Croissant file") from None
    if not isinstance(found, dict):
        raise UsageError(f"`{path}` describes no data set", expected="a JSON object, as Croissant files are")
    as_json_text(found)
    return found
