"""Groups of near-duplicates as a table for other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Int64

from clipsieve.engines.duplicates import Duplicates
from clipsieve.errors import UsageError
from clipsieve.store import Run, write_table, write_whole

__all__ = ["check_duplicates_path", "duplicates_table", "write_duplicates"]


def duplicates_table(run: Run, duplicates: Duplicates, *, max_groups: int | None = None) -> pa.Table:
    """Return a row for each image of a group: `group` (0 is the largest), `image_id`, `uri`, `is_leader`, `similarity`.

    Rows of a group stand together, the leader first, the others in the order of the run. `similarity` is the cosine with the
    leader.

    Parameters
    ----------
    run : Run
        In which the duplicates were found.
    duplicates : Duplicates
        All groups.
    max_groups : int, optional
        No more than so many, the largest ones.
    """
    groups = duplicates.groups()[:max_groups]
    rows = np.concatenate([*groups, np.zeros(0, np.int64)]).astype(np.int64)
    number = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    names = _names(run, rows)
    columns = {
        "group": pa.array(number, pa.int64()),
        "image_id": names.column("image_id"),
        "uri": names.column("uri"),
        "is_leader": pa.array(duplicates.leader[rows] == rows),
        "similarity": pa.array(duplicates.similarity[rows], pa.float32()),
    }
    return pa.table(columns)


def _names(run: Run, rows: Int64[np.ndarray, "m"]) -> pa.Table:
    """Return ids and URIs of some rows, in their order."""
    order = np.argsort(rows, kind="stable")
    found, start = [], 0
    for table in run.iter_images(["image_id", "uri"]):
        first, last = np.searchsorted(rows[order], [start, start + table.num_rows])
        found.append(table.take(pa.array(rows[order[first:last]] - start)).replace_schema_metadata(None))
        start += table.num_rows
    return pa.concat_tables(found).take(pa.array(np.argsort(order)))


def check_duplicates_path(path: Path) -> None:
    """Raise UsageError where `write_duplicates` could not write, before minutes of work are done for it."""
    if path.suffix not in (".parquet", ".csv"):
        raise UsageError("cannot tell what to write", expected="a name ending in .parquet or .csv", found=f"`{path}`")
    if path.is_dir() or not path.parent.is_dir():
        found = "a folder of that name" if path.is_dir() else f"no folder `{path.parent}`"
        raise UsageError(f"cannot write `{path}`", expected="a file in a folder that exists", found=found)


def write_duplicates(run: Run, duplicates: Duplicates, path: Path) -> int:
    """Write that table as `.parquet` or `.csv`, whole or not at all; return the number of its rows.

    Raises
    ------
    UsageError
        If the name ends in neither, or there is no such folder.
    RunError
        If it cannot be written.
    """
    check_duplicates_path(path)
    table = duplicates_table(run, duplicates)
    if path.suffix == ".parquet":
        write_table(path, table)
    else:
        write_whole(path, lambda file: pyarrow.csv.write_csv(table, file))
    return int(table.num_rows)
