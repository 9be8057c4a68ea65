"""What the parts of a run are: a run of a million images may lie in a thousand files of each kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.errors import RunConflictError
from clipsieve.review.local_run import local_folder
from clipsieve.store import Run
from clipsieve.store.layout import DAMAGED, inputs_of

__all__ = ["part_sizes", "read_probability", "stamp_of_run"]


def read_probability(run: Run, name: str, index: int, inputs: str | None, n_rows: int) -> pa.ChunkedArray:
    """Return the probabilities of one part of some scores; errors as for `Run.iter_scores`.

    Parameters
    ----------
    run : Run
        With these scores.
    name : str
        Of the scores.
    index : int
        Of the part.
    inputs : str or None
        What the images' part was made of.
    n_rows : int
        Its rows.
    """
    path = run.score_part(name, index)
    table = run.read_part(path, ["probability"])
    if inputs_of(table.schema) != inputs or table.num_rows != n_rows:
        _refuse(run, name)
    return table.column("probability")


def part_sizes(run: Run) -> list[int]:
    """Return the number of rows of each part of the images; errors as for `Run.read_images`."""
    if run.external is not None:
        return [stop - start for _, start, stop in run.external.parts]
    return [_size(run, index) for index in range(run.manifest.n_parts)]


def stamp_of_run(run: Run, scores_name: str) -> tuple[tuple[int, int, int] | None, ...]:
    """Return size, time and number of every file that a run and its scores consist of: what changes when they do."""
    folder = local_folder(run)
    paths = [folder / "run.json", folder / "embeddings.json", folder / "scores" / scores_name / "classifier.json"]
    for index in range(run.manifest.n_parts):
        parts = (run.image_part(index), run.score_part(scores_name, index))
        paths += [part for part in parts if isinstance(part, Path)]
    for file in run.external.files if run.external is not None else ():
        paths += [Path(path) for path in (file.embeddings, file.metadata) if path]
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of them, each time somebody asks
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _size(run: Run, index: int) -> int:
    try:
        return int(pq.read_metadata(run.image_part(index), memory_map=True).num_rows)
    except DAMAGED:
        return int(run.read_images(index, ["image_id"]).num_rows)


def _refuse(run: Run, name: str) -> NoReturn:
    """Let the run say what is wrong with its scores."""
    for _ in run.iter_scores(name, ["image_id"]):
        pass
    raise RunConflictError(
        f"the scores `{name}` of `{run.path}` were written anew while they were read",
        expected="the same files from beginning to end",
        state="nothing was changed",
        hint="give the same command again",
    )
