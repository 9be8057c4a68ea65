"""A report as files: JSON for machines, tables, and lists of the flagged images."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO, TextIO
from urllib.parse import unquote_to_bytes

import numpy as np

from clipsieve.engines.private_places import as_printable
from clipsieve.errors import ExportError, RunConflictError, RunError
from clipsieve.outputs.report.as_json import report_to_json
from clipsieve.outputs.report.flagged import FlaggedImage
from clipsieve.outputs.report.flagged_table import FlaggedTable
from clipsieve.outputs.report.own_marks import check_nothing_lost
from clipsieve.outputs.report.records import ClassFlags, Concept, Failure, Figure, HistogramBin, Report, Term
from clipsieve.outputs.text_files import write_text
from clipsieve.store import locked

__all__ = ["FLAGGED_COLUMNS", "REPORT_FILES", "check_folder", "write_report_files"]

FLAGGED_COLUMNS = tuple(field.name for field in fields(FlaggedImage))
_TABLES = ("figures.csv", "classes.csv", "taxonomy.csv", "terms-class-names.csv", "terms-captions.csv", "failures.csv")
_LISTS = ("flagged.csv", "flagged.parquet", "published-list.csv")
REPORT_FILES = ("report.json", *_TABLES, "histogram.csv", *_LISTS)


def write_report_files(
    report: Report,
    rows: Iterable[FlaggedImage],
    folder: str | Path,
    *,
    ours: Sequence[str] = (),
    texts: Mapping[Path, str] | None = None,
) -> list[Path]:
    """Write a report into a folder, and its flagged images one by one; files of an earlier report are replaced.

    Texts stand in the tables exactly as the source gives them, whatever they begin with: they must be found again.
    `published-list.csv` has the form of the lists that were published with arXiv:2110.04222: no heading, and for each image
    the classifier's unwanted class, its place among the classes, the probability with two decimals, and the file's name.

    Parameters
    ----------
    report : Report
        What is known of the whole.
    rows : iterable of FlaggedImage
        As `flagged_rows` gives them; none is held.
    folder : str or Path
        A new or empty one, or that of an earlier report.
    ours : sequence of str
        Names of further files that may lie there.
    texts : mapping of Path to str, optional
        Files that belong to the report and lie elsewhere: they are written last.

    Returns
    -------
    list of Path
        The files, in the order of `REPORT_FILES`.

    Raises
    ------
    ExportError
        If a file cannot be written, each file then being whole, that of an earlier report or this one's; if the folder holds
        files that are no report's; or if people have written into `flagged.csv` what would be lost.
    RunConflictError
        If another process writes to the folder.
    """
    folder = Path(folder)
    check_folder(folder, ours)
    with _held(folder), _mended(folder):
        with _all_or_none(folder) as paths:
            paths["report.json"].write_bytes(_json(report))
            for name, columns, records in _tables(report):
                _write_table(paths[name], columns, records)
            _write_lists(paths, rows, report.source_kind)
            check_nothing_lost(folder, paths["flagged.csv"], FLAGGED_COLUMNS)
        for path, text in (texts or {}).items():
            write_text(path, text)
    return [folder / name for name in REPORT_FILES]


def check_folder(folder: Path, ours: Sequence[str] = ()) -> None:
    """Raise ExportError if a folder holds something, and no earlier report: `classes.csv` is a name that others give, too.

    Names that begin with a dot do not count, nor do those of `ours`.
    """
    with _mended(folder):
        there = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.exists() else []
    strange = [name for name in there if name not in ours]
    try:
        is_report = not strange or "format_version" in json.loads((folder / "report.json").read_bytes())
    except (OSError, ValueError, TypeError):
        is_report = False
    if not is_report:
        shown = ", ".join(f"`{as_printable(name)}`" for name in strange[:5])
        raise ExportError(
            f"the folder `{folder}` holds files that are no report's",
            expected="a new or empty folder, or one with an earlier report",
            found=shown + (", ..." if len(strange) > 5 else ""),
            state="nothing was written",
            hint="name another place, or move them away",
        )


@contextlib.contextmanager
def _mended(folder: Path) -> Iterator[None]:
    """Say what the system says in our own words."""
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"cannot write the report into `{folder}`: {error.strerror or error}",
            state="every file that is there is whole",
            hint="make room or mend the permissions, or name another place",
        ) from error


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder, so that two reports that are written to it at once do not mix."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except RunConflictError:
            raise
        except RunError as error:
            raise ExportError(error.what, found=error.found, state=error.state, hint=error.hint) from error
        yield


@contextlib.contextmanager
def _all_or_none(folder: Path) -> Iterator[dict[str, Path]]:
    """Yield a temporary path for each file; they take their names once all are written, and vanish otherwise."""
    temporary = {name: folder / f".{name}.tmp" for name in REPORT_FILES}
    try:
        yield temporary
        for path in temporary.values():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        for name, path in temporary.items():
            path.replace(folder / name)
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _json(report: Report) -> bytes:
    text = json.dumps(report_to_json(report), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace") + b"\n"


def _tables(report: Report) -> Iterator[tuple[str, Sequence[str], Iterable[Sequence[object]]]]:
    """Yield name, columns and rows of each table."""
    for name, kind, records in (
        ("figures.csv", Figure, report.figures),
        ("classes.csv", ClassFlags, report.classes),
        ("failures.csv", Failure, report.failures),
        ("histogram.csv", HistogramBin, report.histogram),
    ):
        yield name, *_columns(kind, records)
    concepts = report.taxonomy.concepts if report.taxonomy else ()
    names, rows = _columns(Concept, concepts)
    yield "taxonomy.csv", names, ([" | ".join(v) if isinstance(v, tuple) else v for v in row] for row in rows)
    sections = {section.field: section for section in report.terms}
    for field in ("class names", "captions"):
        section = sections.get(field)
        # A frequent term may be over-represented, too: each stands in the table once, the over-represented first.
        terms = tuple(dict.fromkeys((*section.terms, *section.frequent))) if section else ()
        yield f"terms-{field.replace(' ', '-')}.csv", *_columns(Term, terms)


def _columns(kind: type, records: Iterable[object]) -> tuple[list[str], list[list[object]]]:
    names = [field.name for field in fields(kind)]
    return names, [[getattr(record, name) for name in names] for record in records]


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write = _CsvWriter(file)
        write(columns)
        for row in rows:
            write(row)


def _write_lists(paths: dict[str, Path], rows: Iterable[FlaggedImage], source_kind: str) -> None:
    with contextlib.ExitStack() as stack:
        texts = [
            stack.enter_context(paths[name].open("w", encoding="utf-8", newline="")) for name in (_LISTS[0], _LISTS[2])
        ]
        every, published = map(_CsvWriter, texts)
        binary: BinaryIO = stack.enter_context(paths[_LISTS[1]].open("wb"))
        table = stack.enter_context(FlaggedTable(binary))
        every(FLAGGED_COLUMNS)
        for row in rows:
            values = [getattr(row, name) for name in FLAGGED_COLUMNS]
            table.add(values)
            every([_shown(value) for value in values])
            published(
                (row.class_name, row.class_index, f"{row.probability:.2f}", _file_name(row.image_id, source_kind))
            )


def _shown(value: object) -> object:
    """Return a number of the run with the digits that float32 holds."""
    return str(np.float32(value)) if isinstance(value, float) else value


def _file_name(image_id: str, source_kind: str) -> str:
    """Return the last part of an id, as the file is called."""
    name = image_id.rsplit("/", 1)[-1]
    is_escaped = source_kind in ("folder", "webdataset")
    return unquote_to_bytes(name).decode(errors="backslashreplace") if is_escaped else name


class _CsvWriter:
    """Writes rows of a CSV file with line feeds, and nothing for None."""

    def __init__(self, file: TextIO) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def __call__(self, row: Sequence[object]) -> None:
        # Python 3.11 quotes line feeds, but no carriage returns, where lines end with a line feed.
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in row)
        (self._quoted if has_return else self._plain).writerow(row)
