"""From what people said of images to the classes of a prompt set that an image may belong to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from clipsieve.classifiers import Classifier
from clipsieve.engines.rated_images import RatedImages
from clipsieve.engines.rating_files import Ratings
from clipsieve.errors import UsageError

__all__ = ["build_targets", "rating_facts", "with_labels"]


def with_labels(rated: RatedImages, classifier: Classifier) -> RatedImages:
    """Return the images that are unwanted or wanted; of those with class names, by what the classifier says of each class.

    Raises
    ------
    UsageError
        If a class name is none of the classifier's, or one label is missing.
    """
    if rated.classes is not None:
        flags = dict(zip(classifier.class_names, classifier.unwanted, strict=True))
        unknown = sorted(set(rated.classes) - set(flags))
        if unknown:
            raise UsageError(
                "the ratings name classes that the prompts do not have",
                expected=", ".join(f"`{name}`" for name in classifier.class_names),
                found=", ".join(f"`{name[:40]}`" for name in unknown[:5]),
                hint="name a prompt file with these classes with `--prompts`",
            )
        labels = np.array([int(flags[name]) for name in rated.classes], dtype=np.int64)
        rated = replace(rated, labels=labels)
    known = rated.take(np.flatnonzero(rated.labels >= 0))
    if len(np.unique(known.labels)) < 2:
        raise UsageError(
            "the rated images found in the run have one label alone",
            expected="unwanted and wanted images",
            found=f"{int(known.labels.sum()):,} unwanted of {len(known.labels):,}",
            hint="were all images scanned? `clipsieve summary` says what failed",
        )
    return known


def rating_facts(ratings: Ratings) -> dict[str, Any]:
    """Return which ratings were read and how they became labels, as JSON: enough to read them so again."""
    return {
        "file": ratings.path.name,
        "sha256": ratings.sha256,
        "image_column": ratings.image_column,
        "column": ratings.rating_column,
        "kind": ratings.kind,
        "low": ratings.low,
        "high": ratings.high,
        "reverse": ratings.reverse,
    }


def build_targets(
    labels: Int64[np.ndarray, "n"], classes: tuple[str, ...] | None, classifier: Classifier
) -> Bool[np.ndarray, "n k"]:
    """Return which classes each image may belong to: the one it is named, or all unwanted or all wanted ones."""
    if classes is not None:
        return np.asarray(np.array(classes)[:, None] == np.array(classifier.class_names))
    return np.asarray((labels == 1)[:, None] == np.array(classifier.unwanted))
