"""The file in which people write their verdicts: a CSV with one line for each image of a sample."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipsieve.errors import RunError, UsageError

__all__ = [
    "COLUMNS",
    "EXPECTED_VERDICTS",
    "NEEDED",
    "VERDICT_WORDS",
    "SampledImage",
    "Verdict",
    "read_verdicts",
    "write_sample",
]

COLUMNS = ("image_id", "uri", "stratum", "stratum_size", "flagged", "verdict")
NEEDED = ("image_id", "stratum", "stratum_size", "flagged", "verdict")
VERDICT_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("1", "yes", "true", "unwanted", "remove"), True),
    **dict.fromkeys(("0", "no", "false", "wanted", "keep"), False),
    **dict.fromkeys(("unsure", "review"), None),
}
"""What a verdict may say in every file that holds some, in any case: unwanted, wanted, or that somebody was unsure."""
EXPECTED_VERDICTS = (
    "`unwanted` or `remove` (also `1`, `yes`, `true`), `wanted` or `keep` (`0`, `no`, `false`), `unsure`"
)
_FLAG_WORDS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class SampledImage:
    """One image that a person should look at.

    Attributes
    ----------
    image_id, uri : str
        As in the run.
    stratum : int
        Its stratum, from 1.
    stratum_size : int
        How many images of the run are in that stratum.
    flagged : bool
        Whether its probability was at or above the classifier's threshold.
    """

    image_id: str
    uri: str
    stratum: int
    stratum_size: int
    flagged: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the file.

    Attributes
    ----------
    line : int
        Where it stands, from 1; the last line of a record that spans several.
    image_id, stratum, stratum_size, flagged
        As in `SampledImage`.
    unwanted : bool or None
        What a person said; None if nobody has yet, or somebody was unsure.
    is_unsure : bool
        Whether somebody has looked at it and could not say.
    """

    line: int
    image_id: str
    stratum: int
    stratum_size: int
    flagged: bool
    unwanted: bool | None
    is_unsure: bool = False


def write_sample(path: str | Path, images: Iterable[SampledImage]) -> None:
    """Write a file with empty verdicts, whole or not at all; an older one without verdicts is replaced.

    Image ids and URIs stand exactly as in the run, whatever they begin with: they must be found again.

    Raises
    ------
    UsageError
        If the file holds verdicts, or is no such file.
    RunError
        If it cannot be written.
    """
    path = Path(path)
    if path.exists():
        _check_replaceable(path)
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(COLUMNS)
    for image in images:
        # Python 3.11 quotes line feeds, but no carriage returns, where lines end with a line feed.
        writer = quoted if "\r" in image.image_id + image.uri else plain
        flagged = "yes" if image.flagged else "no"
        writer.writerow((image.image_id, image.uri, image.stratum, image.stratum_size, flagged, ""))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(text.getvalue().encode())
        os.replace(temporary, path)  # noqa: PTH105 - atomic on every system, as the name says
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write `{path}`: {error.strerror}", hint="choose another place with `--plan`") from error


def _check_replaceable(path: Path) -> None:
    hint = "choose another file with `--plan`, or move this one away"
    try:
        n_judged = sum(verdict.unwanted is not None or verdict.is_unsure for verdict in read_verdicts(path))
    except UsageError as error:
        raise UsageError(
            f"`{path}` is there already, and is no sample that could be replaced",
            found=error.what,
            state="nothing was written",
            hint=hint,
        ) from None
    if n_judged:
        raise UsageError(
            f"`{path}` holds verdicts",
            expected="a new file, or a sample that nobody has judged yet",
            found=f"{n_judged:,} verdicts",
            state="nothing was written",
            hint=hint,
        )


def read_verdicts(path: str | Path) -> list[Verdict]:
    """Read a file that people have filled in; commas, semicolons or tabs may separate its columns.

    Returns
    -------
    list of Verdict
        In the order of the file; lines that are entirely empty are left out.

    Raises
    ------
    UsageError
        If it cannot be read, a column is missing, or a value makes no sense; names the line and what was expected.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"there is no file `{path}`", hint=f"make a sample with `clipsieve prevalence RUN --plan {path}`"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"`{path}` is no text in UTF-8", hint="save it as CSV with the encoding UTF-8") from None
    try:
        return list(_parse(path, text))
    except csv.Error as error:
        raise UsageError(f"`{path}` is no CSV file: {error}", expected=f"the columns {', '.join(COLUMNS)}") from None


def _parse(path: Path, text: str) -> Iterator[Verdict]:
    heading = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=heading.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(
            f"`{path}` lacks the column{'s' if len(missing) > 1 else ''} {', '.join(f'`{name}`' for name in missing)}",
            expected=", ".join(COLUMNS),
            found=", ".join(reader.fieldnames or ())[:300] or "an empty file",
        )
    for row in reader:
        where = f"`{path}`, line {reader.line_num:,}"
        if any(row[name] is None for name in NEEDED) or None in row:
            raise UsageError(f"{where}: the number of values differs from the heading's")
        if any(row.values()):
            yield _verdict(where, reader.line_num, row)


def _verdict(where: str, line: int, row: dict[str, str]) -> Verdict:
    word = row["verdict"].strip()
    unwanted = (
        _word(where, "verdict", row, VERDICT_WORDS, f"{EXPECTED_VERDICTS}; empty if not judged") if word else None
    )
    return Verdict(
        line=line,
        image_id=row["image_id"],
        stratum=_whole_number(where, "stratum", row),
        stratum_size=_whole_number(where, "stratum_size", row),
        flagged=bool(_word(where, "flagged", row, _FLAG_WORDS, "`yes` or `no`, as it was written")),
        unwanted=unwanted,
        is_unsure=bool(word) and unwanted is None,
    )


def _whole_number(where: str, column: str, row: dict[str, str]) -> int:
    value = row[column].strip()
    if not (value.isascii() and value.isdigit() and len(value) <= 15 and int(value) >= 1):
        raise UsageError(
            f"{where}: `{column}` is no whole number",
            expected="1 or more, as it was written",
            found=f"`{value[:60]}`" if value else "nothing",
        )
    return int(value)


def _word(
    where: str, column: str, row: Mapping[str, str], words: Mapping[str, bool | None], expected: str
) -> bool | None:
    value = row[column].strip()
    if value.lower() not in words:
        raise UsageError(
            f"{where}: `{column}` is none of the known words",
            expected=expected,
            found=f"`{value[:60]}`" if value else "nothing",
        )
    return words[value.lower()]
