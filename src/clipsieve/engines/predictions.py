"""Anyone's predictions, read from a table: one row for each image that a method was tested on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipsieve.engines.rating_tables import Cells, RatingTable
from clipsieve.errors import UsageError
from clipsieve.evaluation.metrics import SplitPredictions, flag
from clipsieve.evaluation.ratings import LABEL_WORDS, label_ratings, label_words

__all__ = ["COLUMNS", "PredictionGroup", "Predictions", "read_predictions"]

COLUMNS = ("method", "fraction", "test", "fold", "image", "rating", "label", "probability", "flagged")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_N_NAMED = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class PredictionGroup:
    """The predictions of one method, trained on one fraction of the images.

    Attributes
    ----------
    method : str or None
        As in the file; None without such a column.
    fraction : float or None
        0-1; None without such a column, or where it is empty.
    folds : tuple of str
        Their names, in the order of the file; ("",) without such a column.
    test_name : str
        Which test set, where there are several; empty without such a column.
    splits : tuple of SplitPredictions
        One for each fold. `n_train` is 0, since the file does not say it.
    """

    method: str | None
    fraction: float | None
    test_name: str
    folds: tuple[str, ...]
    splits: tuple[SplitPredictions, ...]

    @property
    def name(self) -> str:
        """What a person calls it: `soft prompts, fraction 0.1`; empty if the file names neither."""
        parts = [self.method, None if self.fraction is None else f"fraction {self.fraction:g}"]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """All that a file of predictions says.

    Attributes
    ----------
    path : Path
        The file.
    sha256 : str
        Hex digest of its bytes.
    groups : tuple of PredictionGroup
        In the order of the file.
    n_left_out : int
        Rows left out because their rating lies between the cuts, or on one.
    has_images : bool
        Whether the file names its images. If not, every row counts as an image of its own, and no two groups share any.
    notes : tuple of str
        What a person should know before trusting the figures: folds with one class only, folds without a row.
    """

    path: Path
    sha256: str
    groups: tuple[PredictionGroup, ...]
    n_left_out: int
    has_images: bool
    notes: tuple[str, ...]


def read_predictions(
    path: str | Path,
    *,
    threshold: float = 0.5,
    at_threshold: bool = False,
    low: float = 2.5,
    high: float = 3.5,
    reverse: bool = False,
) -> Predictions:
    """Read predictions of the unwanted class: CSV in UTF-8, separated by commas, semicolons or tabs, or Parquet.

    The column `probability` is needed, and `rating` or `label`; with both, the label counts, and the rating tells only how
    hard an image is. `fold`, `method` and `fraction` divide the rows; `image` says which rows are of the same image, and in
    each fold puts them in the same order for every method. `test` tells several test sets apart. `flagged` holds decisions
    that were made already, 1 or 0; then no threshold is needed. Other columns are not read.

    Parameters
    ----------
    path : str or Path
        At most 256 MiB and ten million rows.
    threshold : float, default=0.5
        Images with a higher probability are flagged.
    at_threshold : bool, default=False
        Whether those with exactly this probability are flagged, too, as this project's own classifiers do. By default not:
        of two equally likely classes, published figures take the first, which is the wanted one.
    low, high, reverse
        The cuts, as for `label_ratings`; of no effect where the file has labels.

    Raises
    ------
    UsageError
        If the file cannot be read, a column is not there, or a value makes no sense: an empty cell, text or NaN for a
        number, a probability outside 0 to 1, a label that is no known word, an image twice in a fold. Names the lines.
    """
    table = RatingTable.open(Path(path))
    cells = table.read(_columns(table))
    labels, rating = _labels(cells, low=low, high=high, reverse=reverse)
    has_images = "image" in cells.columns
    probability = _numbers(cells, "probability", 0.0, 1.0)
    rows = SplitPredictions(
        image=_codes(_words(cells, "image"))[0] if has_images else np.arange(len(labels)),
        labels=labels,
        probability=probability,
        flagged=_flagged(cells, probability, threshold, at_threshold=at_threshold),
        rating=rating,
    )
    groups, notes = _divide(cells, rows, has_images=has_images)
    return Predictions(table.path, table.sha256, groups, int((labels == -1).sum()), has_images, notes)


def _columns(table: RatingTable) -> list[str]:
    """Return which known columns the file has; UsageError if one that is needed is missing or there twice."""
    missing = [] if "probability" in table.names else ["`probability`"]
    missing += [] if {"rating", "label"} & set(table.names) else ["`label` or `rating`"]
    if missing:
        raise UsageError(
            f"`{table.path}` lacks the column{'s' if len(missing) > 1 else ''} {', and '.join(missing)}",
            expected="`probability` and `label` or `rating`; if you like `fold`, `image`, `method`, `fraction`",
            found=table.listed(),
        )
    found = [name for name in COLUMNS if name in table.names]
    for name in found:
        table.check_column(name)
    return found


def _labels(
    cells: Cells, *, low: float, high: float, reverse: bool
) -> tuple[Int64[np.ndarray, "n"], Float64[np.ndarray, "n"] | None]:
    """Return the labels, -1 where a row is left out, and the ratings if there are any."""
    rating = _numbers(cells, "rating", -np.inf, np.inf) if "rating" in cells.columns else None
    if rating is None or "label" in cells.columns:
        labels = label_words(cells.columns["label"])
        expected = f"unwanted ({_listed(LABEL_WORDS[1])}) or wanted ({_listed(LABEL_WORDS[0])})"
        cells.refuse("label", np.flatnonzero(labels == -1).tolist(), "is none of the known words", expected=expected)
        return labels, rating
    labels = label_ratings(rating, low=low, high=high, reverse=reverse)
    if (labels == -1).all():
        raise UsageError(
            f"no rating in `{cells.table.path}` makes an image unwanted or wanted",
            expected=f"ratings below {low:g} and above {high:g}",
            found=f"{rating.min():g} to {rating.max():g}",
        )
    return labels, rating


def _numbers(cells: Cells, column: str, least: float, most: float) -> Float64[np.ndarray, "n"]:
    texts = [text.strip() for text in cells.columns[column]]
    expected = "a number" if np.isinf(most) else f"a number from {least:g} to {most:g}"
    bad = [position for position, text in enumerate(texts) if not _NUMBER.fullmatch(text)]
    hint = "write decimals with a point" if any("," in texts[position] for position in bad) else None
    cells.refuse(column, bad, "is no number", expected=expected, hint=hint)
    numbers = np.array(texts, dtype=np.float64)
    outside = ~((numbers >= least) & (numbers <= most) & np.isfinite(numbers))
    cells.refuse(column, np.flatnonzero(outside).tolist(), "is out of range", expected=expected)
    return numbers


def _fractions(cells: Cells) -> list[float | None]:
    """Return the fractions; None where a cell is empty, as for a method that is not trained."""
    texts = [text.strip() for text in cells.columns["fraction"]]
    filled = Cells(cells.table, cells.lines, {"fraction": [text or "1" for text in texts]})
    numbers = _numbers(filled, "fraction", 0.0, 1.0).tolist()
    return [number if text else None for number, text in zip(numbers, texts, strict=True)]


def _flagged(
    cells: Cells, probability: Float64[np.ndarray, "n"], threshold: float, *, at_threshold: bool
) -> Bool[np.ndarray, "n"]:
    if "flagged" not in cells.columns:
        return flag(probability, threshold, at_threshold=at_threshold)
    decided = label_words(cells.columns["flagged"])
    cells.refuse("flagged", np.flatnonzero(decided == -1).tolist(), "is no decision", expected="1 or 0 in each row")
    return np.asarray(decided == 1)


def _words(cells: Cells, column: str) -> list[str]:
    texts = [text.strip() for text in cells.columns[column]]
    empty = (position for position, text in enumerate(texts) if not text)
    cells.refuse(column, empty, "is empty", expected="a name in each row")
    return texts


def _codes(values: Sequence[T]) -> tuple[Int64[np.ndarray, "n"], list[T]]:
    """Return a number for each value, and the distinct values, in the order of their first appearance."""
    seen: dict[T, int] = {}
    codes = np.array([seen.setdefault(value, len(seen)) for value in values], dtype=np.int64)
    return codes, list(seen)


def _divide(
    cells: Cells, rows: SplitPredictions, *, has_images: bool
) -> tuple[tuple[PredictionGroup, ...], tuple[str, ...]]:
    """Return the groups, and what is odd about their folds."""
    n = len(rows.labels)
    methods = _words(cells, "method") if "method" in cells.columns else [None] * n
    fractions = _fractions(cells) if "fraction" in cells.columns else [None] * n
    tests = [text.strip() for text in cells.columns["test"]] if "test" in cells.columns else [""] * n
    fold_of, folds = _codes(_words(cells, "fold") if "fold" in cells.columns else [""] * n)
    group_of, names = _codes(list(zip(methods, fractions, tests, strict=True)))
    part = group_of * len(folds) + fold_of
    order = np.lexsort((rows.image, part))
    if has_images:
        _check_once(cells, order, part, rows.image)
    splits: list[dict[str, SplitPredictions]] = [{} for _ in names]
    for place in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        splits[group_of[place[0]]][folds[fold_of[place[0]]]] = _take(rows, place[rows.labels[place] >= 0])
    groups = [
        PredictionGroup(
            *name,
            folds=tuple(fold for fold, split in of_group.items() if len(split.labels)),
            splits=tuple(split for split in of_group.values() if len(split.labels)),
        )
        for name, of_group in zip(names, splits, strict=True)
    ]
    notes = [note for group, of_group in zip(groups, splits, strict=True) for note in _notes(group, of_group)]
    return tuple(group for group in groups if group.splits), tuple(notes)


def _check_once(
    cells: Cells, order: Int64[np.ndarray, "n"], part: Int64[np.ndarray, "n"], image: Int64[np.ndarray, "n"]
) -> None:
    """Raise UsageError if an image is twice in the same fold of the same group."""
    again = np.flatnonzero((np.diff(part[order]) == 0) & (np.diff(image[order]) == 0))
    if len(again):
        before, position = order[again[0] : again[0] + 2].tolist()
        raise UsageError(
            f"`{cells.table.path}`, {cells.places([before, position])}: "
            f"the image `{cells.columns['image'][position][:100]}` is there twice",
            expected="each image once in a fold, for each method and fraction",
            hint="tell folds, methods or fractions apart with the columns `fold`, `method`, `fraction`",
        )


def _take(rows: SplitPredictions, place: Int64[np.ndarray, "_"]) -> SplitPredictions:
    return SplitPredictions(
        image=rows.image[place],
        labels=rows.labels[place],
        probability=rows.probability[place],
        flagged=rows.flagged[place],
        rating=None if rows.rating is None else rows.rating[place],
    )


def _notes(group: PredictionGroup, splits: Mapping[str, SplitPredictions]) -> Iterator[str]:
    lost = [fold for fold, split in splits.items() if len(split.labels) == 0]
    where = f" of {group.name}" if group.name else ""
    for label, words, undefined in (
        (1, "unwanted", "ROC AUC is"),
        (0, "wanted", "recall, F1, ROC AUC and average precision are"),
    ):
        alone = [name for name, split in zip(group.folds, group.splits, strict=True) if (split.labels == label).all()]
        if alone:
            yield f"{_folds(alone)}{where}: {words} images alone, so {undefined} undefined there"
    if lost:
        yield f"{_folds(lost)}{where}: no row is left, since all ratings lie between the cuts"


def _folds(names: Sequence[str]) -> str:
    if list(names) == [""]:
        return "all rows"
    more = f" and {len(names) - _N_NAMED:,} more" if len(names) > _N_NAMED else ""
    return f"{'folds' if len(names) > 1 else 'fold'} {_listed(names[:_N_NAMED])}{more}"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)
