"""Which columns of a table of ratings are read: those that were named, and for the rest what their names suggest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clipsieve.engines.rating_tables import RatingTable
from clipsieve.errors import UsageError
from clipsieve.evaluation.ratings import SMID_COLUMNS, SMID_SCALES, Scale

__all__ = ["IMAGE_NAMES", "RATING_NAMES", "image_column_of", "is_smid", "scale_of", "value_column_of"]

# Tried in this order, in any case, where nobody named a column.
IMAGE_NAMES = ("image_id", "image", "img_name", "file", "file_name", "filename", "path", "name", "uri")
RATING_NAMES = ("rating", "mean", "score", "label")


def is_smid(table: RatingTable) -> bool:
    """Return whether a table has the columns of SMID's norms file; the demo data's ratings have them, too."""
    return set(table.names) >= SMID_COLUMNS


def _checked(table: RatingTable, name: str) -> str:
    table.check_column(name)
    return name


def image_column_of(table: RatingTable, named: str | None) -> str:
    """Return the column that names the images; UsageError if it is not there, or nobody can tell."""
    known = "img_name" if is_smid(table) else _by_usual_name(table, IMAGE_NAMES)
    name = named or known
    if name is None:
        raise UsageError(
            f"cannot tell which column of `{table.path}` names the images",
            expected=", ".join(f"`{name}`" for name in IMAGE_NAMES),
            found=table.listed(),
            hint="name it with `--image-column`",
        )
    return _checked(table, name)


def value_column_of(table: RatingTable, rating: str | None, label: str | None, scale: str | None) -> str:
    """Return the column of ratings or labels: UsageError as for `image_column_of`, or if too much was asked for."""
    if scale is not None:
        return _scale_column(table, scale, label or rating)
    if rating and label:
        raise UsageError("both ratings and labels were asked for", expected="`--rating-column` or `--label-column`")
    known = SMID_SCALES["moral"].column if is_smid(table) else _by_usual_name(table, RATING_NAMES)
    name = label or rating or known
    if name is None:
        raise UsageError(
            f"cannot tell which column of `{table.path}` holds the ratings",
            expected=", ".join(f"`{name}`" for name in RATING_NAMES),
            found=table.listed(),
            hint="name it with `--rating-column` or `--label-column`",
        )
    return _checked(table, name)


def _scale_column(table: RatingTable, scale: str, named: str | None) -> str:
    if scale not in SMID_SCALES:
        raise UsageError(f"there is no scale `{scale}`", expected=", ".join(f"`{name}`" for name in SMID_SCALES))
    column = SMID_SCALES[scale].column
    if not is_smid(table):
        raise UsageError(
            f"`{table.path}` is not SMID's norms file, and has no scale `{scale}`",
            expected=f"the columns {', '.join(f'`{name}`' for name in sorted(SMID_COLUMNS))}",
            found=table.listed(),
            hint="name the column of the ratings with `--rating-column`",
        )
    if named not in (None, column):
        raise UsageError(
            f"the scale `{scale}` and the column `{named}` were asked for",
            expected=f"one of them; the scale is `{column}`",
        )
    return _checked(table, column)


def _by_usual_name(table: RatingTable, names: Sequence[str]) -> str | None:
    return next((found for name in names for found in table.names if found.lower() == name), None)


def scale_of(table: RatingTable, column: str, *, low: float | None, high: float | None, reverse: bool | None) -> Scale:
    """Return what the ratings of a column mean: what was asked for, and for the rest what is known of it.

    So SMID's harm is reversed, whether the scale or its column was named, unless `reverse` says otherwise.
    """
    known = {scale.column: scale for scale in SMID_SCALES.values()} if is_smid(table) else {}
    scale = known.get(column, Scale(column))
    return replace(
        scale,
        low=scale.low if low is None else float(low),
        high=scale.high if high is None else float(high),
        reverse=scale.reverse if reverse is None else reverse,
    )
