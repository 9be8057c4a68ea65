"""What `scores/<name>/classifier.json` says of some scores: their thresholds, calibration, promises, training images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from clipsieve.classifiers import Classifier, describe_classifier, load_classifier
from clipsieve.engines.lineage import is_in_words, tuned_on
from clipsieve.errors import RunCorruptError, UsageError
from clipsieve.evaluation.operating_points import OperatingPoint
from clipsieve.store import Run

__all__ = [
    "Promise",
    "ScoreCalibration",
    "ScoreFacts",
    "chosen_scores",
    "classifier_facts",
    "load_scorer",
    "only_scores",
    "read_score_facts",
]

# What may differ between a classifier file and the scores that were made with it.
SETTINGS = frozenset({"format_version", "threshold", "remove_threshold", "provenance"})


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """How probabilities were calibrated.

    Attributes
    ----------
    method : str
        "platt" or "isotonic".
    n_images : int or None
        Rated images that it was fitted on, if that is known.
    """

    method: str
    n_images: int | None


@dataclass(frozen=True, slots=True)
class Promise:
    """An operating point of a run, and where it comes from.

    Attributes
    ----------
    point : OperatingPoint
        What is promised, and the labels that vouch for it.
    ratings_sha256 : str
        Hex digest of the file of ratings.
    made : str
        When, UTC, ISO 8601.
    clipsieve_version : str
        Of the package that made it.
    """

    point: OperatingPoint
    ratings_sha256: str
    made: str
    clipsieve_version: str

    def to_json(self) -> dict[str, Any]:
        """Return one flat table."""
        origin = {name: getattr(self, name) for name in ("ratings_sha256", "made", "clipsieve_version")}
        return asdict(self.point) | origin

    @classmethod
    def from_json(cls, facts: Any) -> Promise:  # noqa: ANN401
        """Return what `to_json` wrote; KeyError or TypeError for anything else."""
        values = {field.name: facts[field.name] for field in fields(OperatingPoint)}
        if values["kind"] not in ("recall", "precision"):
            raise TypeError(f"a promise of {values['kind']!r:.40}")
        for name in ("threshold", "target", "confidence"):
            values[name] = _fraction(values[name])
        return cls(OperatingPoint(**values), facts["ratings_sha256"], facts["made"], facts["clipsieve_version"])


@dataclass(frozen=True, slots=True)
class ScoreFacts:
    """What is known of some scores.

    Attributes
    ----------
    threshold, remove_threshold : float, float or None
        The operating points, 0-1; see `Classifier`.
    classes : tuple of (str, bool)
        The classifier's classes, and whether an image in each is unwanted.
    calibration : ScoreCalibration or None
        None if the probabilities are not calibrated, or nothing is known of it.
    promises : tuple of Promise
        What the thresholds promise for this run; none if they were not chosen by `set_threshold`.
    tuned_on : frozenset of str
        Digests of the images that the classifier was tuned on, as in `RatedImages`.
    is_origin_known : bool
        Whether those are all: False for a classifier that was tuned elsewhere.
    """

    threshold: float
    remove_threshold: float | None
    classes: tuple[tuple[str, bool], ...]
    calibration: ScoreCalibration | None
    promises: tuple[Promise, ...]
    tuned_on: frozenset[str]
    is_origin_known: bool


def read_score_facts(run: Run, name: str) -> ScoreFacts:
    """Return what is known of some scores of a run.

    Raises
    ------
    RunNotFoundError
        If there are none of that name.
    RunCorruptError
        If the file is damaged.
    """
    facts = run.score_facts(name)
    provenance = _table(facts.get("provenance"))
    digests, is_complete = tuned_on(provenance)
    try:
        remove_threshold = facts.get("remove_threshold")
        return ScoreFacts(
            threshold=_fraction(facts["threshold"]),
            remove_threshold=None if remove_threshold is None else _fraction(remove_threshold),
            classes=tuple(zip(facts.get("class_names", ()), facts.get("unwanted", ()), strict=True)),
            calibration=_calibration(facts.get("calibration"), provenance),
            promises=tuple(Promise.from_json(record) for record in facts.get("operating_points") or ()),
            tuned_on=digests,
            is_origin_known=is_complete or is_in_words(facts.get("method"), provenance),
        )
    except (KeyError, TypeError, ValueError) as error:
        file = run.path / "scores" / name / "classifier.json"
        raise RunCorruptError(f"`{file}` is damaged: {error}", hint="score the run again") from error


def _fraction(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise TypeError(f"{value!r:.40} is no number from 0 to 1")
    return float(value)  # type: ignore[arg-type]


def _table(value: object) -> Mapping[str, Any]:
    """Return a part of the provenance: anything may stand there, and nothing of it is a reason to fail."""
    return value if isinstance(value, dict) else {}


def _calibration(calibration: Any, provenance: Mapping[str, Any]) -> ScoreCalibration | None:  # noqa: ANN401
    if calibration is None:
        return None
    n_images = _table(provenance.get("calibration")).get("n_images")
    return ScoreCalibration(str(calibration["method"]), n_images if type(n_images) is int else None)


def classifier_facts(classifier: Classifier) -> dict[str, Any]:
    """Return what is written down of a classifier beside its scores: all but the arrays, and a hash of those."""
    digest = hashlib.sha256()
    for name, values in sorted(classifier.arrays().items()):
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return {**describe_classifier(classifier), "arrays_sha256": digest.hexdigest()}


def load_scorer(run: Run, name: str, path: Path) -> Classifier:
    """Read the classifier that made some scores from its file.

    Raises
    ------
    UsageError
        If the file holds another one: thresholds and provenance may differ, and nothing else.
    ClassifierFileError
        If it cannot be read.
    RunNotFoundError, RunCorruptError
        If the scores are not there, or are damaged.
    """
    facts = run.score_facts(name)
    classifier: Classifier = load_classifier(path)
    if "arrays_sha256" not in facts:
        raise UsageError(
            f"the scores `{name}` do not say exactly what made them",
            expected="scores that were made by this version of clipsieve",
            state="nothing was written",
            hint=f"score again: `clipsieve score {run.path} -c {path} --name {name}`",
        )
    own = json.loads(json.dumps(classifier_facts(classifier)))
    differing = sorted(key for key in set(own) - SETTINGS if key not in facts or facts[key] != own[key])
    if differing:
        raise UsageError(
            f"`{path}` is not the classifier that made the scores `{name}`",
            expected="the same, but for thresholds and provenance",
            found=f"a difference in {', '.join(f'`{key}`' for key in differing)}",
            state="nothing was written",
            hint="name the file that `clipsieve score` was given, or leave this option out",
        )
    return classifier


def chosen_scores(run: Run, name: str | None) -> str:
    """Return a name, or that of the only scores of a run; UsageError if there are none or several."""
    found = name or only_scores(run)
    if found is None:
        raise UsageError(
            f"the run `{run.path}` has no scores", hint=f"make them with `clipsieve score {run.path} -c ...`"
        )
    return found


def only_scores(run: Run) -> str | None:
    """Return the name of the only scores of a run, None if there are none; UsageError if there are several."""
    names = run.score_names()
    if len(names) > 1:
        raise UsageError(
            f"the run `{run.path}` has several scores",
            found=", ".join(f"`{name}`" for name in names),
            hint="choose one with `-c`",
        )
    return names[0] if names else None
