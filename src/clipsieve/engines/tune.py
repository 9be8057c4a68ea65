"""Tune a classifier on rated images of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from clipsieve.classifiers import Classifier, SoftPrompts, ZeroShot
from clipsieve.classifiers.methods import Method
from clipsieve.cores import one_core_each
from clipsieve.engines.classify import load_classifier_for
from clipsieve.engines.context import ContextMethod
from clipsieve.engines.lineage import is_in_words, tuned_on
from clipsieve.engines.rated_images import JoinReport, RatedImages, join_ratings
from clipsieve.engines.rating_files import Ratings
from clipsieve.engines.targets import build_targets, rating_facts, with_labels
from clipsieve.errors import UsageError
from clipsieve.store import Run

__all__ = ["TuneReport", "load_prior", "tune"]


@dataclass(frozen=True, slots=True, eq=False)
class TuneReport:
    """What tuning gave.

    Attributes
    ----------
    classifier : Classifier
        With provenance: method, strength, calibration, ratings and their hash, and which images it was tuned on.
    join : JoinReport
        What became of the rated names.
    n_images, n_unwanted : int
        Images that it was tuned on.
    n_held_out : int
        Rated images that were left for choosing a threshold.
    elapsed_s : float
        Of the fit alone.
    notes : tuple of str
        What a person should know.
    """

    classifier: Classifier
    join: JoinReport
    n_images: int
    n_unwanted: int
    n_held_out: int
    elapsed_s: float
    notes: tuple[str, ...] = ()


def load_prior(run: Run, prompts: str, *, model: str | None = None) -> ZeroShot:
    """Return the class vectors where tuning begins: prompts in words, or soft prompts from a file.

    Raises
    ------
    UsageError
        If it is a classifier without class vectors, such as a probe; for others see `load_classifier_for`.
    """
    classifier = load_classifier_for(run, prompts, model=model).classifier
    if isinstance(classifier, ZeroShot):
        return classifier
    if not isinstance(classifier, SoftPrompts):
        raise UsageError(
            f"`{prompts}` has no prompts to begin with",
            expected="a prompt set in words, or soft prompts",
            found=f"the method {classifier.method}",
        )
    return ZeroShot(
        class_embeddings=classifier.class_embeddings,
        class_names=classifier.class_names,
        unwanted=classifier.unwanted,
        encoder_name=classifier.encoder_name,
        encoder_weights_sha256=classifier.encoder_weights_sha256,
        logit_scale=classifier.logit_scale,
        provenance={"begins_with": classifier.provenance, "tuned_on": []},
    )


def tune(
    run: Run,
    ratings: Ratings,
    method: Method,
    *,
    prompts: str = "positive-negative",
    model: str | None = None,
    n_images: int | None = None,
    hold_out: float = 0.0,
    seed: int = 0,
) -> TuneReport:
    """Tune a classifier for the encoder of a run.

    Parameters
    ----------
    run : Run
        A finished scan that holds the rated images.
    ratings : Ratings
        What people said of them.
    method : Method
        See `clipsieve.classifiers.methods`.
    prompts : str, default="positive-negative"
        Where tuning begins: see `load_prior`.
    model : str, optional
        Where the run's encoder lies now.
    n_images : int, optional
        Use only so many of the images, drawn at random, stratified by label; all by default.
    hold_out : float, default=0
        Share of the images, stratified by label, that is left for choosing a threshold; 0 up to below 1.
    seed : int, default=0
        Decides what is drawn.

    Raises
    ------
    UsageError
        If the ratings do not fit the prompts or the method, or a number is outside its range.
    EncoderMismatchError
        If the prompts are soft ones of another encoder.
    """
    prior = load_prior(run, prompts, model=model)
    joined = join_ratings(run, ratings)
    rated = with_labels(joined, prior)
    chosen = _chosen(rated, n_images, hold_out, seed)
    used = rated.take(chosen)
    if isinstance(method, ContextMethod) and method.model is None:
        method = replace(method, model=model or run.manifest.encoder_location)
    started = time.monotonic()
    with one_core_each():
        classifier = method.fit(prior, used.embeddings, targets_of(used, prior))
    elapsed_s = time.monotonic() - started
    facts = {**classifier.provenance, **_facts(ratings, used)}
    return TuneReport(
        classifier=replace(classifier, provenance=facts),  # type: ignore[type-var]
        join=joined.report,
        n_images=len(chosen),
        n_unwanted=int(used.labels.sum()),
        n_held_out=_n_unseen(rated, used, prior),
        elapsed_s=elapsed_s,
        notes=tuple(_notes(classifier, prior, used)),
    )


def targets_of(rated: RatedImages, prior: Classifier) -> Bool[np.ndarray, "n k"]:
    """Return the classes that each rated image may belong to."""
    return build_targets(rated.labels, rated.classes, prior)


def _n_unseen(rated: RatedImages, used: RatedImages, prior: Classifier) -> int:
    """Return how many rated images neither this nor what it begins with was tuned on."""
    seen = tuned_on(prior.provenance)[0] | set(used.digests)
    return sum(digest not in seen for digest in rated.digests)


def _chosen(rated: RatedImages, n_images: int | None, hold_out: float, seed: int) -> Int64[np.ndarray, "m"]:
    """Return the positions of the images to tune on, in their order; the held-out ones do not depend on `n_images`."""
    if not 0 <= hold_out < 1:
        raise UsageError("the share to hold out makes no sense", expected="0 up to below 1", found=f"{hold_out:g}")
    if n_images is not None and n_images < 0:
        raise UsageError("the number of images makes no sense", expected="0 or more", found=f"{n_images}")
    rng, parts = np.random.default_rng(seed), []
    for label in (0, 1):
        members = rng.permutation(np.flatnonzero(rated.labels == label))
        parts.append(members[round(hold_out * len(members)) :])
    if n_images is None or n_images >= sum(map(len, parts)):
        return np.sort(np.concatenate(parts))
    share = n_images / sum(map(len, parts))
    least = min(1, n_images // 2)  # of either label, however rare it is
    n_unwanted = min(max(round(share * len(parts[1])), least), n_images - least)
    n_unwanted = min(max(n_unwanted, n_images - len(parts[0])), len(parts[1]))
    return np.sort(np.concatenate([parts[0][: n_images - n_unwanted], parts[1][:n_unwanted]]))


def _facts(ratings: Ratings, used: RatedImages) -> dict[str, Any]:
    return {
        "ratings": {
            **rating_facts(ratings),
            "n_images": len(used.labels),
            "n_unwanted": int(used.labels.sum()),
        },
        "tuned_on": sorted(set(used.digests)),
    }


def _notes(classifier: Classifier, prior: Classifier, used: RatedImages) -> list[str]:
    notes = []
    tuning = classifier.provenance.get("tuning", {})
    if tuning.get("strength") == "infinite" and tuning.get("strength_from") != "the caller":
        why = {
            "cross-validation": "these ratings do not tell images apart better than they do",
            "too few images": "cross-validation needs at least 4 unwanted and 4 wanted images",
        }[tuning["strength_from"]]
        notes.append(f"the prompts were kept as they are: {why}")
    seen, is_complete = tuned_on(prior.provenance)
    n_seen = len(seen & set(used.digests))
    if n_seen:
        notes.append(
            f"the prompts that this begins with were tuned on {n_seen:,} of these images: nothing could really be held out, "
            "so the strength is too great and the calibration too sure"
        )
    elif not is_complete and not is_in_words(prior.method, prior.provenance):
        notes.append("which images the prompts that this begins with were tuned on is not known")
    n_copies = len(used.digests) - len(set(used.digests))
    if n_copies:
        notes.append(f"{n_copies:,} of the images are copies of others, which makes cross-validation too sure")
    return notes
