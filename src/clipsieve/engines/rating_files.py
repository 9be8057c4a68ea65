"""Read people's ratings or labels of images from a table, CSV or Parquet; SMID's norms file is known by its columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.engines.rating_columns import image_column_of, is_smid, scale_of, value_column_of
from clipsieve.engines.rating_tables import Cells, RatingTable
from clipsieve.errors import UsageError
from clipsieve.evaluation.ratings import LABEL_WORDS, SMID_RANGE, Scale, label_ratings, label_words

__all__ = ["Ratings", "read_ratings"]

_EMPTY = frozenset({"", "nan", "na", "n/a", "null"})  # `none` may be the name of a class
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)

Kind = Literal["rating", "label", "class"]


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """What people said of n images, in the order of the file.

    Attributes
    ----------
    path : Path
        The file; of a database elsewhere, a name for people to which nothing needs to lie.
    sha256 : str
        Hex digest of its bytes, or of the rows in a database.
    image_column, rating_column : str
        The columns that were read; `rating_column` holds ratings, labels or class names.
    kind : {"rating", "label", "class"}
        Numbers on a scale; which images are unwanted; or names of classes. A column of 0 and 1 alone is "label", and 1
        is unwanted, whichever way the column was named.
    is_smid : bool
        Whether the file has the columns of SMID's norms file.
    low, high, reverse : float, float, bool
        How ratings became labels; see `label_ratings`. Without meaning for the other kinds.
    names : tuple of str
        What the file calls each image, exactly.
    rating : float64 array of shape (n,)
        NaN unless `kind` is "rating".
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted, -1 left out; all -1 if `kind` is "class".
    classes : tuple of str or None
        The class name of each image, if `kind` is "class".
    splits : tuple of str or None
        What the split column says of each image, if one was named.
    lines : int64 array of shape (n,)
        Where each stands: a line from 1 (the last one of a record that spans several), in Parquet a row from 1.
    are_ids : bool
        Whether the names are ids of the run, letter by letter; otherwise see `join_ratings`.
    """

    path: Path
    sha256: str
    image_column: str
    rating_column: str
    kind: Kind
    is_smid: bool
    low: float
    high: float
    reverse: bool
    names: tuple[str, ...]
    rating: Float64[np.ndarray, "n"]
    labels: Int64[np.ndarray, "n"]
    classes: tuple[str, ...] | None
    splits: tuple[str, ...] | None
    lines: Int64[np.ndarray, "n"]
    are_ids: bool = False

    @property
    def n_left_out(self) -> int:
        """How many images people were undecided about."""
        return int((self.labels == -1).sum()) if self.classes is None else 0


def read_ratings(
    path: str | Path,
    *,
    image_column: str | None = None,
    rating_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    scale: str | None = None,
    low: float | None = None,
    high: float | None = None,
    reverse: bool | None = None,
) -> Ratings:
    """Read a table of ratings: CSV in UTF-8, separated by commas, semicolons or tabs, or Parquet, told by its content.

    SMID's norms file (Crone, Bode, Murawski and Laham 2018, doi:10.1371/journal.pone.0190954) needs no names of columns:
    `moral_mean` is read, or the scale that was asked for, and `harm_mean` is high where an image is bad.

    Parameters
    ----------
    path : str or Path
        At most 256 MiB and ten million rows.
    image_column, rating_column : str, optional
        Which column names the image and which rates it; looked for by usual names if not given.
    label_column : str, optional
        Instead of `rating_column`: a column of `1`, `yes`, `true`, `unwanted`, `unsafe` and their opposites, or of class
        names.
    split_column : str, optional
        A column that says which images are for training and which for a test.
    scale : {"moral", "valence", "harm"}, optional
        Of SMID's norms file.
    low, high : float, optional
        The cuts; 2.5 and 3.5 if not given.
    reverse : bool, optional
        Whether a high rating is a bad one; if not given, only for SMID's harm.

    Raises
    ------
    UsageError
        If the file cannot be read or understood, a column is not there, or a value makes no sense: an empty cell, text or
        infinity for a number, outside 1 to 5 for SMID, an image that is rated twice (be it alike), one class alone. Names
        the lines.
    """
    table = RatingTable.open(Path(path))
    image, value = image_column_of(table, image_column), value_column_of(table, rating_column, label_column, scale)
    if split_column:
        table.check_column(split_column)
    cells = table.read([name for name in (image, value, split_column) if name])
    _check_names(cells, image, value)
    meaning = scale_of(table, value, low=low, high=high, reverse=reverse)
    kind, rating, labels = _understand(cells, value, meaning, label_column)
    return Ratings(
        path=table.path,
        sha256=table.sha256,
        image_column=image,
        rating_column=value,
        kind=kind,
        is_smid=is_smid(table),
        low=meaning.low,
        high=meaning.high,
        reverse=meaning.reverse,
        names=tuple(cells.columns[image]),
        rating=rating,
        labels=labels,
        classes=_texts(cells, value) if kind == "class" else None,
        splits=_texts(cells, split_column) if split_column else None,
        lines=np.array(cells.lines, dtype=np.int64),
    )


def _texts(cells: Cells, column: str) -> tuple[str, ...]:
    """Return the cells without spaces around them; UsageError if any is empty."""
    empty = (i for i, text in enumerate(cells.columns[column]) if text.strip().lower() in _EMPTY)
    cells.refuse(column, empty, "is empty", expected="a value for each image", hint="leave such images out of the file")
    return tuple(text.strip() for text in cells.columns[column])


def _check_names(cells: Cells, image: str, value: str) -> None:
    """Raise UsageError if an image has no name, or two lines have the same, whether or not they agree."""
    names, values = cells.columns[image], cells.columns[value]
    cells.refuse(image, (i for i, name in enumerate(names) if not name.strip()), "is empty", expected="a name")
    first: dict[str, int] = {}
    for position, name in enumerate(names):
        before = first.setdefault(unicodedata.normalize("NFC", name), position)
        if before != position:
            differ = values[before].strip() != values[position].strip()
            raise UsageError(
                f"`{cells.table.path}`, {cells.places([before, position])}: the image `{name[:100]}` is there twice",
                expected="one row for each image",
                found=f"`{values[before][:60]}` and `{values[position][:60]}` in `{value}`",
                hint="decide for one of them, or for their mean" if differ else "remove one of them",
            )


def _understand(
    cells: Cells, column: str, scale: Scale, label_column: str | None
) -> tuple[Kind, Float64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """Return of which kind the values are, the ratings, and the labels."""
    texts = _texts(cells, column)
    rating, undecided = np.full(len(texts), np.nan), np.full(len(texts), -1, dtype=np.int64)
    if not _are_words(column, texts, label_column):
        numbers = _numbers(cells, column, texts)
        if is_smid(cells.table) or not np.isin(numbers, (0, 1)).all():
            return "rating", numbers, _rating_labels(cells, column, numbers, scale)
        labels = numbers.astype(np.int64)
    else:
        labels = label_words(texts)
    if (labels == -1).any():
        _check_class_names(cells, column, texts, labels)
        return "class", rating, undecided
    _check_both(cells, column, labels, expected="at least one unwanted (`1`) and one wanted image (`0`)")
    return "label", rating, labels


def _are_words(column: str, texts: Sequence[str], label_column: str | None) -> bool:
    """Return whether a column holds words; one that is merely called `label` may hold numbers on a scale as well."""
    return column == label_column or (column.lower() == "label" and not all(map(_NUMBER.fullmatch, texts)))


def _numbers(cells: Cells, column: str, texts: Sequence[str]) -> Float64[np.ndarray, "n"]:
    bad = [i for i, text in enumerate(texts) if not (_NUMBER.fullmatch(text) or _INFINITE.fullmatch(text))]
    decimal_comma = any("," in texts[i] for i in bad)
    hint = "write decimals with a point" if decimal_comma else "is it a column of labels? Name it with `--label-column`"
    cells.refuse(column, bad, "is no number", expected="a rating such as 3.25", hint=hint)
    numbers = np.array(texts, dtype=np.float64)
    cells.refuse(column, np.flatnonzero(np.isinf(numbers)).tolist(), "is infinite", expected="a finite number")
    return numbers


def _rating_labels(cells: Cells, column: str, rating: Float64[np.ndarray, "n"], scale: Scale) -> Int64[np.ndarray, "n"]:
    if is_smid(cells.table):
        lowest, highest = SMID_RANGE
        outside = np.flatnonzero((rating < lowest) | (rating > highest)).tolist()
        cells.refuse(column, outside, "is outside its scale", expected=f"{lowest:g} to {highest:g}")
    labels = label_ratings(rating, low=scale.low, high=scale.high, reverse=scale.reverse)
    below, above = ("wanted", "unwanted") if scale.reverse else ("unwanted", "wanted")
    expected = f"both classes: {below} below {scale.low:g}, {above} above {scale.high:g}"
    hint = "fit the cuts to the scale with `--low` and `--high`"
    _check_both(cells, column, labels, expected=expected, hint=hint)
    return labels


def _check_both(
    cells: Cells, column: str, labels: Int64[np.ndarray, "n"], *, expected: str, hint: str | None = None
) -> None:
    n_unwanted, n_wanted, n_left_out = (int((labels == label).sum()) for label in (1, 0, -1))
    if not (n_unwanted and n_wanted):
        raise UsageError(
            f"`{column}` in `{cells.table.path}` does not hold two classes",
            expected=expected,
            found=f"{n_unwanted:,} unwanted, {n_wanted:,} wanted, {n_left_out:,} left out",
            hint=hint,
        )


def _check_class_names(cells: Cells, column: str, texts: Sequence[str], labels: Int64[np.ndarray, "n"]) -> None:
    """Raise UsageError if the names are of one class, or look like unwanted and wanted with slips of the pen."""
    if len(set(texts)) < 2:
        raise UsageError(f"`{column}` in `{cells.table.path}` names one class alone", found=f"`{texts[0][:60]}`")
    numbered = all(text.isdecimal() for text in texts)
    if {0, 1} <= set(labels.tolist()) and not numbered:
        known = ", ".join(f"`{word}`" for label in (1, 0) for word in LABEL_WORDS[label])
        unknown = np.flatnonzero(labels == -1).tolist()
        cells.refuse(column, unknown, "is neither unwanted nor wanted, as others are", expected=f"one of {known}")
