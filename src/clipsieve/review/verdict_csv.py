"""Verdicts as CSV: every row of a ledger with all that is known of it, or one line for each image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from clipsieve.engines.verdicts import DELIMITERS, EXPECTED_VERDICTS, VERDICT_WORDS
from clipsieve.errors import UsageError
from clipsieve.review.records import Choice, CurrentVerdict, VerdictRow
from clipsieve.review.verdict_fields import FIELDS, NEEDED_FIELDS, id_from, row_from, texts_of

__all__ = ["read_csv", "write_csv", "write_current_csv"]

CHOICE_OF = {True: Choice.REMOVE, False: Choice.KEEP, None: Choice.UNSURE}


def write_csv(rows: Iterable[VerdictRow]) -> str:
    """Return rows as CSV, all columns of `VerdictRow`; `read_csv` gives the same rows again.

    Texts stand exactly as they are, whatever they begin with: ids must be found again. Every cell is in quotes.
    """
    return _table(FIELDS, (texts_of(row).values() for row in rows))


def write_current_csv(verdicts: Iterable[CurrentVerdict]) -> str:
    """Return what holds for each image as CSV with the columns that `read_image_verdicts` takes, by image id."""
    lines = (
        (v.image_id, CHOICE_OF[v.unwanted].value, v.adjudicator or ", ".join(v.by_annotator))
        for v in sorted(verdicts, key=lambda verdict: verdict.image_id)
    )
    return _table(("image_id", "verdict", "annotator"), lines)


def _table(heading: Sequence[str], lines: Iterable[Iterable[str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(heading)
    writer.writerows(lines)
    return text.getvalue()


def read_csv(text: str, *, name: str, annotator: str | None = None) -> list[VerdictRow]:
    """Return the rows of a CSV that `write_csv` wrote, or of one with the columns `image_id` and `verdict`.

    The second kind has no ids: the same image, annotator and verdict always give the same, so that nothing is added when it is
    read twice. Its verdicts are as old as the reading, in the order of the file.

    Parameters
    ----------
    text : str
        Commas, semicolons or tabs separate its columns.
    name : str
        Of the file, for messages.
    annotator : str, optional
        Who said it, where there is no column `annotator`.

    Raises
    ------
    UsageError
        If it is no such table, or a value makes no sense; names the line.
    """
    try:
        return list(_rows(text, name, annotator))
    except csv.Error as error:
        raise UsageError(f"`{name}` is no CSV file: {error}") from None


def _rows(text: str, name: str, annotator: str | None) -> Iterator[VerdictRow]:
    heading = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=heading.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = list(reader.fieldnames or ())
    if len(set(columns)) < len(columns):
        raise UsageError(f"`{name}` has two columns of one name")
    is_history = set(NEEDED_FIELDS) <= set(columns)
    if not is_history and not {"image_id", "verdict"} <= set(columns):
        raise UsageError(
            f"`{name}` is no table of verdicts",
            expected=f"the columns `image_id` and `verdict`, or {', '.join(NEEDED_FIELDS)}",
            found=", ".join(columns)[:300] or "an empty file",
        )
    now = datetime.now(UTC)
    for number, cells in enumerate(reader):
        where = f"`{name}`, line {reader.line_num:,}"
        if None in cells or None in cells.values():
            raise UsageError(f"{where}: the number of values differs from the heading's")
        if is_history:
            yield row_from(cells, where)
        elif cells["verdict"].strip():
            made = now + timedelta(microseconds=number)
            yield _told(cells, where, made, annotator)


def _told(cells: dict[str, str], where: str, made: datetime, annotator: str | None) -> VerdictRow:
    word = cells["verdict"].strip().lower()
    if word not in VERDICT_WORDS:
        raise UsageError(
            f"{where}: `verdict` is none of the known words", expected=EXPECTED_VERDICTS, found=f"`{word[:60]}`"
        )
    who, choice = cells.get("annotator", "").strip() or annotator, CHOICE_OF[VERDICT_WORDS[word]]
    if not who:
        raise UsageError(f"{where}: it does not say who decided", hint="name them with `--annotator`")
    texts = {"image_id": cells["image_id"], "annotator": who, "choice": choice.value, "made": made.isoformat()}
    verdict_id = id_from("csv", cells["image_id"], who, choice.value)
    return row_from({**texts, "verdict_id": verdict_id, "queue": "import"}, where)
