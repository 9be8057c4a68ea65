"""The stored probabilities of rated images, those that the classifier was tuned on left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Float64, Int64

from clipsieve.engines.lineage import is_same_kind
from clipsieve.engines.rated_images import JoinReport, RatedImages, join_ratings
from clipsieve.engines.rating_files import Ratings
from clipsieve.engines.score_facts import ScoreFacts
from clipsieve.errors import RunCorruptError, UsageError
from clipsieve.store import Run

__all__ = ["LabelledScores", "read_labelled_scores", "read_probabilities"]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScores:
    """Probabilities with and without labels.

    Attributes
    ----------
    probability : float64 array of shape (n,)
        Of the labelled images, as stored: float32 numbers.
    labels : int64 array of shape (n,)
        1 unwanted, 0 wanted.
    everything : float64 array of shape (m,)
        Of all images of the run that have one, the labelled ones included, in their order.
    n_tuned_on : int
        Images with a label that were left out because the classifier was tuned on them.
    join : JoinReport
        What became of the rated names.
    is_comparable : bool
        Whether it can be told which of these images the classifier was tuned on.
    """

    probability: Float64[np.ndarray, "n"]
    labels: Int64[np.ndarray, "n"]
    everything: Float64[np.ndarray, "m"]
    n_tuned_on: int
    join: JoinReport
    is_comparable: bool


def read_labelled_scores(run: Run, name: str, facts: ScoreFacts, ratings: Ratings) -> LabelledScores:
    """Return the probabilities of the rated images that can vouch for a threshold.

    Parameters
    ----------
    run, name, facts
        A run, the name of its scores, and what is known of them.
    ratings : Ratings
        Class names become labels by what the classifier says of each class.

    Raises
    ------
    UsageError
        If a class name is none of the classifier's, or no label is left.
    RunNotFoundError, RunCorruptError, EncoderMismatchError
        If the run or its scores cannot be read.
    """
    joined = join_ratings(run, ratings)
    rated, n_tuned_on = _without_tuned(joined, facts)
    everything, probability = read_probabilities(run, name, rated.image_ids)
    is_comparable = is_same_kind(facts.tuned_on, rated.digests)
    return LabelledScores(probability, rated.labels, everything, n_tuned_on, joined.report, is_comparable)


def _without_tuned(joined: RatedImages, facts: ScoreFacts) -> tuple[RatedImages, int]:
    """Return the images with a label that the classifier was not tuned on, and how many it was tuned on."""
    rated = joined if joined.classes is None else replace(joined, labels=_labels_of(joined.classes, facts))
    rated = rated.take(np.flatnonzero(rated.labels >= 0))
    is_new = np.array([digest not in facts.tuned_on for digest in rated.digests], dtype=bool)
    n_tuned_on = int((~is_new).sum())
    if not is_new.any():
        raise UsageError(
            "no label is left to choose a threshold by",
            expected="rated images that the classifier was not tuned on",
            found=f"{n_tuned_on:,} that it was tuned on, {joined.report.n_left_out:,} that people were undecided about",
            state="nothing was written",
            hint="rate other images, or hold some back with `clipsieve tune --hold-out 30%`",
        )
    return rated.take(np.flatnonzero(is_new)), n_tuned_on


def _labels_of(classes: tuple[str, ...], facts: ScoreFacts) -> Int64[np.ndarray, "n"]:
    flags = dict(facts.classes)
    unknown = sorted(set(classes) - set(flags))
    if unknown:
        raise UsageError(
            "the ratings name classes that the classifier does not have",
            expected=", ".join(f"`{name}`" for name in flags) or "unwanted and wanted images",
            found=", ".join(f"`{name[:40]}`" for name in unknown[:5]),
            state="nothing was written",
            hint="name a column of 0 and 1 with `--label-column`",
        )
    return np.array([int(flags[name]) for name in classes], dtype=np.int64)


def read_probabilities(
    run: Run, name: str, image_ids: tuple[str, ...]
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "m"]]:
    """Return the probabilities of all images that have one, and of some in their order: float32 numbers as float64."""
    wanted = pa.array(image_ids, pa.string())
    some = np.full(len(image_ids), np.nan, dtype=np.float32)
    everything: list[Float32[np.ndarray, "_"]] = []
    for _, scores in run.iter_scores(name, ["image_id"]):
        column = scores.column("probability")
        everything.append(column.drop_null().to_numpy())
        places = pc.index_in(scores.column("image_id").combine_chunks(), value_set=wanted)
        is_wanted = places.is_valid()
        some[places.drop_null().to_numpy()] = column.filter(is_wanted).to_numpy()
    if np.isnan(some).any():
        raise RunCorruptError(
            f"the scores `{name}` lack rated images that have an embedding", hint="score the run again"
        )
    return np.concatenate(everything).astype(np.float64), some.astype(np.float64)
