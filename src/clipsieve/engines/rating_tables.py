"""The cells of a table that people have filled in, CSV or Parquet, and where each stands, so that errors can say it."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.errors import UsageError

__all__ = ["MAX_BYTES", "MAX_ROWS", "Cells", "RatingTable"]

MAX_BYTES = 256 * 1024**2
MAX_ROWS = 10_000_000  # a small Parquet file may hold any number of equal rows
_DELIMITERS = (",", ";", "\t")
_N_SHOWN = 5
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class RatingTable:
    """A table of which only the heading has been understood.

    Attributes
    ----------
    path : Path
        The file.
    sha256 : str
        Hex digest of its bytes.
    unit : {"line", "row"}
        What its records are counted in: lines of a CSV, the last one of a record that spans several; rows of Parquet.
    names : tuple of str
        Of its columns; those of Parquet that hold neither text nor numbers are not among them.
    content : bytes
        All of it.
    """

    path: Path
    sha256: str
    unit: Literal["line", "row"]
    names: tuple[str, ...]
    content: bytes

    @classmethod
    def open(cls, path: Path, *, what: str = "ratings") -> RatingTable:
        """Read a file of ratings or of something else; UsageError if it is not there, too large, or no table."""
        content = _content(path, what)
        is_parquet = content.startswith(b"PAR1")
        _, names = next(_understood(path, content), (0, []))
        unit: Literal["line", "row"] = "row" if is_parquet else "line"
        return cls(path, hashlib.sha256(content).hexdigest(), unit, tuple(name.strip() for name in names), content)

    def check_column(self, name: str) -> None:
        """Raise UsageError unless there is exactly one column of this name; it lists the columns, the nearest first."""
        n_found = self.names.count(name)
        if n_found == 1:
            return
        near = get_close_matches(name, self.names, n=1)
        raise UsageError(
            f"there {f'are {n_found} columns' if n_found else 'is no column'} `{name}` in `{self.path}`",
            found=self.listed(),
            hint=f"did you mean `{near[0]}`?" if near and not n_found else None,
        )

    def listed(self) -> str:
        """Return the names of the columns, for messages."""
        shown = ", ".join(f"`{name[:60]}`" for name in self.names[:20]) or "no columns"
        return f"{shown}, ... ({len(self.names):,} in all)" if len(self.names) > 20 else shown

    def read(self, columns: Sequence[str]) -> Cells:
        """Read some columns, as text; UsageError if there are no rows, too many, or one has not as many cells as names."""
        places = {name: self.names.index(name) for name in columns}
        lines: list[int] = []
        cells: dict[str, list[str]] = {name: [] for name in places}
        records = _understood(self.path, self.content)
        next(records)
        for line, record in records:
            self._check_record(line, len(record), len(lines))
            lines.append(line)
            for name, place in places.items():
                cells[name].append(record[place])
        if not lines:
            raise UsageError(
                f"`{self.path}` has no rows", expected="a row for each image below the names of the columns"
            )
        return Cells(self, lines, cells)

    def _check_record(self, line: int, n_cells: int, n_before: int) -> None:
        if n_cells != len(self.names):
            raise UsageError(
                f"`{self.path}`, {self.unit} {line:,}: the number of cells differs from the heading's",
                expected=f"{len(self.names):,}",
                found=f"{n_cells:,}",
                hint="a cell that holds the mark between columns stands in quotation marks",
            )
        if n_before >= MAX_ROWS:
            raise UsageError(f"`{self.path}` has too many rows", expected=f"at most {MAX_ROWS:,}")


@dataclass(frozen=True, slots=True)
class Cells:
    """Some columns of a table as text.

    Attributes
    ----------
    table : RatingTable
        Where they come from.
    lines : list of int
        Where each record stands, from 1, in the table's unit.
    columns : dict of str to list of str
        The cells of each column that was read; empty text where Parquet has null.
    """

    table: RatingTable
    lines: list[int]
    columns: dict[str, list[str]]

    def refuse(self, column: str, bad: Iterable[int], problem: str, *, expected: str, hint: str | None = None) -> None:
        """Raise UsageError if any positions are bad; it names their lines and what stands there."""
        positions = list(bad)
        if not positions:
            return
        texts = dict.fromkeys(self.columns[column][i][:60] for i in positions)
        shown = [f"`{text}`" if text else "nothing" for text in list(texts)[:_N_SHOWN]]
        raise UsageError(
            f"`{self.table.path}`, {self.places(positions)}: `{column}` {problem}",
            expected=expected,
            found=", ".join(shown) + (", ..." if len(texts) > _N_SHOWN else ""),
            hint=hint,
        )

    def places(self, positions: Sequence[int]) -> str:
        """Return where records stand, in words."""
        shown = ", ".join(f"{self.lines[i]:,}" for i in positions[:_N_SHOWN])
        rest = f" and {len(positions) - _N_SHOWN:,} more" if len(positions) > _N_SHOWN else ""
        return f"{self.table.unit}{'s' if len(positions) > 1 else ''} {shown}{rest}"


def _content(path: Path, what: str) -> bytes:
    try:
        n_bytes = path.stat().st_size
        if n_bytes > MAX_BYTES:
            raise UsageError(
                f"`{path}` is too large for a table of {what}",
                expected=f"at most {MAX_BYTES / 1024**2:,.0f} MiB",
                found=f"{n_bytes / 1024**2:,.0f} MiB",
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file `{path}`", hint=f"name the table of {what}, CSV or Parquet") from None
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror}") from error
    if not content.strip():
        raise UsageError(f"`{path}` is empty", expected="a heading and a row for each image")
    return content


def _understood(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a table and where they stand, the names of the columns first."""
    try:
        yield from _parquet_records(content) if content.startswith(b"PAR1") else _csv_records(content)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"`{path}` holds bytes that are no text in UTF-8",
            expected="CSV in UTF-8, or Parquet",
            found=f"the byte {error.object[error.start]:#04x}",
            hint="a table in Latin-1 or another encoding: save it again as CSV with the encoding UTF-8",
        ) from None
    except (pa.ArrowException, csv.Error, OSError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        kind = "Parquet" if content.startswith(b"PAR1") else "CSV"
        raise UsageError(f"cannot read `{path}` as {kind}: {words}", hint="write the file again") from error


def _csv_records(content: bytes) -> Iterator[tuple[int, list[str]]]:
    text = content.decode("utf-8-sig")
    if "\0" in text:
        raise csv.Error("it holds bytes that are no text")
    file = io.StringIO(text, newline="")
    heading = file.readline()
    file.seek(0)
    # Strict: a quotation mark that is never closed would swallow the lines behind it.
    reader = csv.reader(file, delimiter=max(_DELIMITERS, key=heading.count), strict=True)
    for record in reader:
        if any(record):
            yield reader.line_num, record


def _parquet_records(content: bytes) -> Iterator[tuple[int, list[str]]]:
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        names = [field.name for field in file.schema_arrow if _is_plain(field.type)]
        yield 0, names
        row = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
            for cells in zip(*(map(_text, column.to_pylist()) for column in batch.columns), strict=True):
                row += 1
                yield row, list(cells)


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
