"""Where the datasheet's files may be written: over those of an earlier datasheet, and over nothing of the owner's."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from clipsieve.errors import ExportError, UsageError
from clipsieve.outputs.datasheet.answer import TITLE
from clipsieve.outputs.datasheet.card import is_section
from clipsieve.outputs.datasheet.croissant import is_description

__all__ = ["ANSWER", "CARD", "CROISSANT_FILE", "MAX_BYTES", "check_not_written_over", "check_replaceable"]

ANSWER, CARD, CROISSANT_FILE = "datasheet.md", "dataset-card.md", "croissant.json"
MAX_BYTES = 64 * 1024**2  # of a card or a Croissant file


def check_not_written_over(sources: Iterable[Path], targets: Iterable[Path]) -> None:
    """Raise UsageError if a file that is only to be read is one of those that will be written."""
    written = [target for target in targets if target.exists()]
    for source in sources:
        if source.exists() and any(source.samefile(target) for target in written):
            raise UsageError(
                f"`{source}` is to be read, and would be written over",
                expected="an output folder in which it does not lie",
                state="nothing was written",
                hint="name another folder with `-o`",
            )


def check_replaceable(folder: Path, *, has_card: bool, has_croissant: bool) -> None:
    """Raise ExportError if a folder holds a file of the datasheet's names with words that no datasheet wrote.

    What an earlier one made of the owner's card or description may be replaced if theirs is given again (`has_card`,
    `has_croissant`); without it, their words would go.
    """
    answer, card, croissant = (_text_of(folder / name) for name in (ANSWER, CARD, CROISSANT_FILE))
    can_go = {
        ANSWER: answer is None or answer.startswith(TITLE),
        CARD: card is None or is_section(card, is_alone=not has_card),
        CROISSANT_FILE: croissant is None or _is_description(croissant, is_alone=not has_croissant),
    }
    strange = [name for name, can in can_go.items() if not can]
    if strange:
        raise ExportError(
            f"the folder `{folder}` holds files with words of somebody's own",
            expected="those of an earlier datasheet, or none",
            found=", ".join(f"`{name}`" for name in strange),
            state="nothing was written, and every file that is there is whole",
            hint="move them away, or name another folder; `--card` and `--croissant` take what should be kept from elsewhere",
        )


def _text_of(path: Path) -> str | None:
    """Return what a file holds; None if there is none, and a text that is nobody's if it is no text."""
    if not os.path.lexists(path):
        return None
    with contextlib.suppress(OSError, UnicodeDecodeError), path.open("rb") as file:
        return file.read(MAX_BYTES).decode()
    return ""


def _is_description(text: str, *, is_alone: bool) -> bool:
    try:
        return is_description(json.loads(text), is_alone=is_alone)
    except (ValueError, RecursionError):
        return False
