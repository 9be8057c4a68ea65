"""Records of a CSV file, copied byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.named_files import CellCheck, changed_table
from clipsieve.sources.names import legible
from clipsieve.sources.rows import TableFile

__all__ = ["copy_csv"]


def copy_csv(
    table: TableFile, image_column: str, check: CellCheck, targets: Mapping[int, Callable[[bytes], object]]
) -> None:
    """Copy each record to where its row goes, as it stands: quotes, line ends, bytes that are no UTF-8.

    The names of the columns, with what is before them, go everywhere; empty lines after them are kept. Only the last record of
    a file may lack a line end, and it comes last wherever it goes, so that nothing runs into it.

    Parameters
    ----------
    table : TableFile
        CSV, plain or gzip.
    image_column : str
        Whose cells are looked at.
    check : CellCheck
        Looks at them.
    targets : mapping of int to callable
        Takes the bytes for the place of a decision; may be empty.

    Raises
    ------
    SourceError
        If the table, or a file that it names, is not what was scanned, or cannot be read.
    """
    codes, names, row = check.unit.codes, None, 0
    for cells, raw in table.iter_records():
        if names is None:
            for write in targets.values():
                write(raw)
            names = cells or None
        elif not cells:
            targets.get(int(Decision.KEEP), _leave_out)(raw)
        else:
            if row < len(codes) and check.goes_somewhere[row]:
                targets.get(int(codes[row]), _leave_out)(raw)
                if len(cells) == len(names) and image_column in names:
                    check.see(row, None, cells[names.index(image_column)])
            row += 1
    if row != len(codes):
        raise changed_table(f"`{legible(check.unit.name)}`", f"{len(codes):,} rows", f"{row:,}")


def _leave_out(_raw: bytes) -> None:
    pass
