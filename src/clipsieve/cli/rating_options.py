"""The options that name a file of ratings, and what is said of the images in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipsieve.cli import render
from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.engines import JoinReport, Ratings
    from clipsieve.store import Run, RunPath

__all__ = ["RATING_OPTIONS", "load_ratings", "show_join"]

RATING_OPTIONS = ("ratings", "image_column", "rating_column", "label_column", "scale", "low", "high", "reverse")
SHOWN = 5


def load_ratings(
    runs: Sequence[Run],
    *,
    ratings: str | None,
    image_column: str | None,
    rating_column: str | None,
    label_column: str | None,
    scale: str | None,
    low: float | None,
    high: float | None,
    reverse: bool | None,
    split_column: str | None = None,
    random_only: bool = False,
    scores_name: str | None = None,
) -> Ratings:
    """Read the file or ledger that the options name; UsageError if they name none, or it cannot be read.

    Of a ledger, `random_only` takes the images of the random audit alone, those that can vouch for the scores of that name;
    and only verdicts on one of `runs` are in question.
    """
    from clipsieve.cli.verdict_places import is_ledger, load_ratings_from_ledger
    from clipsieve.engines import read_ratings

    if ratings is None:
        raise UsageError("no ratings are named", hint="name a CSV or Parquet file with `--ratings`")
    told = {
        "image_column": image_column,
        "rating_column": rating_column,
        "label_column": label_column,
        "split_column": split_column,
        "scale": scale,
        "low": low,
        "high": high,
        "reverse": reverse,
    }
    if not is_ledger(ratings):
        return read_ratings(ratings, **told)  # type: ignore[arg-type]
    idle = [f"`--{name.replace('_', '-')}`" for name, value in told.items() if value is not None]
    if idle:
        raise UsageError(f"{', '.join(idle)}: a ledger of verdicts has no use for it; a table of ratings has")
    return load_ratings_from_ledger(runs, ratings, random_only=random_only, scores_name=scores_name)


def show_join(report: JoinReport, *, of: RunPath | None = None) -> None:
    """Say on stderr what became of the rated names: counts, and a few of those that no embedding was found for.

    `of` is the run, where there are several.
    """
    ways = ", ".join(f"{n:,} by {way}" for way, n in report.matched_by.items() if n)
    where = f" in `{of}`" if of is not None else ""
    render.print_note(f"matched {report.n_matched:,} of {render.count(report.n_rated, 'rated image')}{where} ({ways})")
    _warn("not in the run", len(report.unmatched), report.unmatched)
    candidates = (f"{name} ({', '.join(ids)})" for name, ids in report.ambiguous)
    _warn("that may be one of several images", len(report.ambiguous), candidates)
    _warn(
        "of an image that could not be read", len(report.failed), (f"{name} ({code})" for name, code in report.failed)
    )


def _warn(what: str, n: int, names: object) -> None:
    if not n:
        return
    shown = [str(name)[:70] for _, name in zip(range(SHOWN), names, strict=False)]  # type: ignore[call-overload]
    more = f", and {n - len(shown):,} more" if n > len(shown) else ""
    render.print_warning(f"{render.count(n, 'rated name')} {what}: {', '.join(shown)}{more}")
