"""What an export has written so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from clipsieve.outputs.export.base import Written

__all__ = ["Tally"]

N_PROBLEMS_SHOWN = 20


@dataclass(slots=True)
class Tally:
    """What was written so far.

    Attributes
    ----------
    n_files, n_bytes_written, n_problems : int
        As in `ExportReport`.
    problems : list of str
        The first of them.
    n_done : int
        Inputs.
    """

    n_files: int = 0
    n_bytes_written: int = 0
    n_problems: int = 0
    problems: list[str] = field(default_factory=list)
    n_done: int = 0

    def add(self, written: Written) -> None:
        """Take in the files of a unit."""
        self.n_files += written.n_files
        self.n_bytes_written += written.n_bytes

    def count(self, rows: pa.Table) -> int:
        """Take in the rows of a manifest, and return how many there are by now."""
        failed = rows.filter(rows.column("problem").is_valid()).select(["image_id", "problem"])
        self.note(f"`{row['image_id']}`: {row['problem']}" for row in failed.to_pylist())
        self.n_done += rows.num_rows
        return self.n_done

    def note(self, problems: Iterable[str]) -> None:
        """Take in what could not be brought, in words."""
        for words in problems:
            self.n_problems += 1
            if len(self.problems) < N_PROBLEMS_SHOWN:
                self.problems.append(words)

    def facts(self) -> dict[str, Any]:
        """Return the fields of `ExportReport` that it counts."""
        counts = {name: getattr(self, name) for name in ("n_files", "n_bytes_written", "n_problems")}
        return {**counts, "problems": tuple(self.problems)}
