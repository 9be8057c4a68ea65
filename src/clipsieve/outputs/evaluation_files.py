"""An evaluation as files: all figures as JSON, every prediction as Parquet, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from clipsieve.engines import Evaluation, MethodResult
from clipsieve.engines.evaluation import at_largest_fraction
from clipsieve.errors import RunConflictError, RunError
from clipsieve.outputs.canvas import MAX_LINES
from clipsieve.outputs.pictures import (
    Curve,
    Series,
    draw_data_efficiency,
    draw_precision_recall,
    draw_ratings,
    draw_reliability,
    draw_roc,
)
from clipsieve.store import write_json, write_table

__all__ = ["check_evaluation_folder", "write_evaluation"]

COLUMNS = ("method", "fraction", "test", "fold", "image", "rating", "label", "probability", "flagged")
OURS = ("evaluation.json", "predictions.parquet")


def write_evaluation(evaluation: Evaluation, directory: str | Path) -> list[Path]:
    """Write an evaluation into a folder that is new, empty, or holds an earlier evaluation, which is replaced.

    `evaluation.json` holds all figures, `predictions.parquet` every prediction, in the form that `clipsieve evaluate
    --predictions` reads, and `ratings.png` the ratings and how they became labels. For each test set there are `roc.png`,
    `precision-recall.png`, `reliability.png`, and `data-efficiency.png` if there are several fractions.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    RunConflictError
        If the path is a file, or a folder with other files.
    RunError, UsageError
        If a file cannot be written; each is whole or absent.
    """
    directory = Path(directory)
    check_evaluation_folder(directory)
    try:
        write_table(directory / OURS[1], _predictions(evaluation.results))
        write_json(directory / OURS[0], evaluation.to_json())
    except RunError as error:
        raise RunError(
            error.what, state="each file is whole or as it was", hint="make room, or name another folder"
        ) from error
    return [*(directory / name for name in OURS), *_draw(evaluation, directory)]


def check_evaluation_folder(directory: Path) -> None:
    """Refuse a place where an evaluation would mix with something else: a data set, a run, others' predictions.

    Raises
    ------
    RunConflictError
        If it is a file, or a folder that holds files and no earlier evaluation.
    """
    if directory.exists() and not directory.is_dir():
        raise RunConflictError(f"`{directory}` is a file", expected="a folder", state="nothing was written")
    if directory.exists() and any(directory.iterdir()) and not (directory / OURS[0]).exists():
        raise RunConflictError(
            f"the folder `{directory}` holds other files",
            expected="a new or empty folder, or one that holds an earlier evaluation",
            state="nothing was written",
            hint="choose another folder with `-o`",
        )


def _predictions(results: Sequence[MethodResult]) -> pa.Table:
    """Return one row for each prediction."""
    columns: dict[str, list[pa.Array]] = {name: [] for name in COLUMNS}
    for result in results:
        for number, split in zip(result.numbers, result.splits, strict=True):
            n = len(split.labels)
            rating = split.rating if split.rating is not None else np.full(n, np.nan)
            columns["method"].append(pa.array([result.name] * n))
            columns["fraction"].append(pa.array([result.fraction] * n, pa.float64()))
            columns["test"].append(pa.array([result.test_name] * n))
            columns["fold"].append(pa.array([number] * n, pa.int64()))
            names = [result.names[i] for i in split.image] if result.names else split.image.astype(str)
            columns["image"].append(pa.array(names, pa.string()))
            columns["rating"].append(pa.array(rating, from_pandas=True))
            columns["label"].append(pa.array(split.labels))
            columns["probability"].append(pa.array(split.probability))
            columns["flagged"].append(pa.array(split.flagged.astype(np.int64)))
    table = pa.table({name: pa.chunked_array(arrays) for name, arrays in columns.items()})
    empty = ["rating"] if table.column("rating").null_count == table.num_rows else []
    empty += [] if any(result.test_name for result in results) else ["test"]
    return table.drop_columns(empty)


def _draw(evaluation: Evaluation, directory: Path) -> list[Path]:
    scale, written = evaluation.scale, []
    if scale is not None:
        written.append(draw_ratings(directory / "ratings.png", scale.rating, scale.low, scale.high, scale.labels))
    for test_name in dict.fromkeys(result.test_name for result in evaluation.results):
        suffix = f"-{_file_word(test_name)}" if test_name else ""
        series = _series([result for result in evaluation.results if result.test_name == test_name])
        drawings = {"roc": draw_roc, "precision-recall": draw_precision_recall, "reliability": draw_reliability}
        written += [draw(directory / f"{name}{suffix}.png", series) for name, draw in drawings.items()]
        curves, references = _curves(evaluation, test_name)
        if curves:
            path = directory / f"data-efficiency{suffix}.png"
            written.append(draw_data_efficiency(path, curves, metric="ROC AUC", references=references))
    return written


def _file_word(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)[:40]


def _series(results: Sequence[MethodResult]) -> list[Series]:
    """Return what each method says with all training images, all splits together."""
    return [
        Series(
            result.name,
            np.concatenate([split.labels for split in result.splits]),
            np.concatenate([split.probability for split in result.splits]),
        )
        for result in at_largest_fraction(results)[:MAX_LINES]
    ]


def _curves(evaluation: Evaluation, test_name: str) -> tuple[list[Curve], list[tuple[str, float]]]:
    rows = [row for row in evaluation.rows if row.test_name == test_name]
    named: dict[str, list[tuple[int, float, float]]] = {}
    for row in rows:
        summary = row.metrics["roc_auc"]
        if row.fraction is not None and row.n_train and np.isfinite(summary.mean):
            named.setdefault(row.name, []).append((row.n_train, summary.mean, summary.sd))
    curves = []
    for name, points in named.items():
        if len(points) > 1:
            sizes, means, sds = zip(*points, strict=True)
            curves.append(Curve(name, np.array(sizes, np.int64), np.array(means, float), np.array(sds, float)))
    flat = [(row.name, row.metrics["roc_auc"].mean) for row in rows if row.fraction is None]
    return curves[:MAX_LINES], [(name, value) for name, value in flat if np.isfinite(value)][:4]
