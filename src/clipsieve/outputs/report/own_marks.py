"""What people have written into the list of flagged images: a later report must not take it away."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.engines.verdicts import VERDICT_WORDS
from clipsieve.errors import ExportError

__all__ = ["check_nothing_lost"]


def check_nothing_lost(folder: Path, new: Path, columns: Sequence[str]) -> None:
    """Raise ExportError if `flagged.csv` holds columns or verdicts of people's own that the list to replace it does not.

    Parameters
    ----------
    folder : Path
        With the list of an earlier report or none. `flagged.parquet` beside it says what the report itself had written.
    new : Path
        The list that is to replace it.
    columns : sequence of str
        Its own.
    """
    path = folder / "flagged.csv"
    if not path.exists():
        return
    names, marks = _read(path)
    _, said = _read(new)
    added = [name for name in names if name not in columns]
    written = _written(folder / "flagged.parquet")
    lost = [name for name, mark in marks.items() if mark not in (written.get(name), said.get(name))]
    if added or lost:
        own = f"{len(lost):,} verdicts" if lost else "columns: " + ", ".join(f"`{name[:60]}`" for name in added[:5])
        raise ExportError(
            f"somebody has written into `{path}`, and a new report would replace it",
            expected="the list as a report had written it",
            found=own,
            state="every file that is there is as it was",
            hint="move it out of the report's folder, and name it with `--verdicts`",
        )


def _read(path: Path) -> tuple[list[str], dict[str, str]]:
    """Return the columns of a list, and the verdict on each image that has one; other marks than commas make other columns."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        marks: dict[str, str] = {}
        # A cell that is too long for the reader ends it: such a list was not filled in by hand.
        with contextlib.suppress(csv.Error):
            for row in reader:
                if word := (row.get("verdict") or "").strip():
                    marks[row.get("image_id") or ""] = _meaning(word)
            return list(reader.fieldnames or ()), marks
        return [], {}


def _written(path: Path) -> dict[str, str]:
    try:
        table = pq.read_table(path, columns=["image_id", "verdict"])
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    except (OSError, ValueError, pa.ArrowException):
        return {}
    return {name: _meaning(word) for name, word in rows if word is not None}


def _meaning(word: str) -> str:
    """Return one word for all that mean the same; what means nothing is itself."""
    lower = word.strip().lower()
    return {True: "unwanted", False: "wanted", None: "unsure"}[VERDICT_WORDS[lower]] if lower in VERDICT_WORDS else word
