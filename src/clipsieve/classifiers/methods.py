"""Ways from rated images to a classifier: zero-shot, soft prompts, linear probe. One contract for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float32

from clipsieve.classifiers.base import Classifier
from clipsieve.classifiers.calibrate import choose_calibration
from clipsieve.classifiers.class_vectors import SoftPrompts, ZeroShot
from clipsieve.classifiers.linear_probe import LinearProbe
from clipsieve.classifiers.probe_fit import ProbeFamily
from clipsieve.classifiers.sgd import train_soft_prompts
from clipsieve.classifiers.similarity import check_unit_norm
from clipsieve.classifiers.soft_prompts import PromptFamily
from clipsieve.classifiers.strength import StrengthChoice, choose_strength, has_enough
from clipsieve.errors import UsageError

__all__ = ["METHODS", "PROMPT_STRENGTHS", "Method", "ProbeMethod", "SoftPromptMethod", "ZeroShotMethod", "build_method"]

# Infinity is the text prompts themselves; the weakest lets a prompt go wherever a few images pull it.
PROMPT_STRENGTHS = (np.inf, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
PROBE_STRENGTHS = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
NO_CHOICE_PROBE = 1.0  # where there are too few images to choose by


class Method(ABC):
    """A way to make a classifier; it keeps its settings and changes nothing of them when it fits.

    `tests/contracts/test_methods.py` holds every method to the same: classes, order and encoder are the prior's; the same
    images give the same classifier; neither the order of images nor a second fit matters.
    """

    name: ClassVar[str]
    takes_all: ClassVar[bool] = False  # whether one fit uses the whole machine, so that two must not run at once

    @abstractmethod
    def fit(
        self, prior: ZeroShot, embeddings: Float32[np.ndarray, "n d"], targets: Bool[np.ndarray, "n k"]
    ) -> Classifier:
        """Return a classifier for the classes of the prior.

        Parameters
        ----------
        prior : ZeroShot
            The text prompts; k classes, for the encoder of the embeddings.
        embeddings : float32 array of shape (n, d)
            Unit norm. n may be 0.
        targets : bool array of shape (n, k)
            The classes that each image may belong to: one, or all the unwanted or all the wanted ones where no more is known.

        Raises
        ------
        UsageError
            If the images do not suffice for the method, or a row of `targets` makes no sense.
        EmbeddingError
            If a row is not unit norm, or the width is not the prior's.
        """


@dataclass(frozen=True, slots=True)
class ZeroShotMethod(Method):
    """The text prompts as they are: no image is looked at."""

    name: ClassVar[str] = "zero-shot"

    def fit(
        self, prior: ZeroShot, embeddings: Float32[np.ndarray, "n d"], targets: Bool[np.ndarray, "n k"]
    ) -> Classifier:
        """Return the prior; see `Method.fit`."""
        check_training(prior, embeddings, targets)
        return prior


@dataclass(frozen=True, slots=True)
class SoftPromptMethod(Method):
    """Class vectors trained from the text prompts (Schramowski and Kersting 2021, arXiv:2110.04222, section 3).

    Parameters
    ----------
    optimizer : {"lbfgs", "sgd"}, default="lbfgs"
        "lbfgs" : full batch, with the text prompts as a prior. "sgd" : the published recipe, without one, not calibrated.
    strength : float or None, default=None
        Of the prior, see `fit_soft_prompts`; by default it is chosen by cross-validation, and is endless (zero-shot) where
        there are fewer than 4 images of either label.
    calibrated : bool, default=True
        Whether "lbfgs" fits a calibration on held-out margins.
    seed : int, default=0
        Decides folds, or the order of images.
    """

    name: ClassVar[str] = "soft-prompts"
    optimizer: str = "lbfgs"
    strength: float | None = None
    calibrated: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in ("lbfgs", "sgd"):
            raise UsageError(f"there is no optimizer `{self.optimizer}`", expected="lbfgs or sgd")
        if self.strength is not None and not self.strength >= 0:
            raise UsageError("the strength of the prior is 0 or more", found=f"{self.strength}")

    def fit(
        self, prior: ZeroShot, embeddings: Float32[np.ndarray, "n d"], targets: Bool[np.ndarray, "n k"]
    ) -> Classifier:
        """Train; with no images the result has the prior's vectors. See `Method.fit`."""
        embeddings, targets = check_training(prior, embeddings, targets)
        if self.optimizer == "sgd":
            return self._trained(prior, embeddings, targets)
        return self._fitted(prior, embeddings, targets)

    def _trained(self, prior: ZeroShot, embeddings: np.ndarray, targets: np.ndarray) -> SoftPrompts:
        vectors = prior.class_embeddings.astype(np.float64)
        if len(embeddings):
            vectors = train_soft_prompts(
                vectors, embeddings.astype(np.float64), targets, logit_scale=prior.logit_scale, seed=self.seed
            )
        return _soft_prompts(prior, vectors, {"optimizer": "sgd", "n_images": len(embeddings)})

    def _fitted(self, prior: ZeroShot, embeddings: np.ndarray, targets: np.ndarray) -> Classifier:
        unwanted = np.array(prior.unwanted)
        is_calibrated = self.calibrated and has_enough(targets, unwanted)
        family = PromptFamily(
            prior.class_embeddings, prior.logit_scale, embeddings, targets, unwanted if is_calibrated else None
        )
        tried = np.array(PROMPT_STRENGTHS if self.strength is None else [self.strength])
        choice = choose_strength(family, targets, unwanted, tried, seed=self.seed)
        strength = self.strength if self.strength is not None else (choice.strength if choice else np.inf)
        found = replace(family, embeddings=embeddings.astype(np.float64)).fit_all(strength)
        tuning = {"optimizer": "lbfgs", **_chosen(self.strength, strength, choice, len(embeddings))}
        fitted = _soft_prompts(prior, found[:, :-1], tuning)
        if choice is None or not is_calibrated:
            return fitted
        return _calibrated(fitted, choice, targets, seed=self.seed, shift=float(found[unwanted, -1][0]))


@dataclass(frozen=True, slots=True)
class ProbeMethod(Method):
    """Logistic regression on the embeddings (Radford et al. 2021, arXiv:2103.00020, section 3.2).

    Parameters
    ----------
    strength : float or None, default=None
        Of the regularization, > 0, see `fit_probes`; by default chosen by cross-validation.
    calibrated : bool, default=True
        Whether a calibration is fitted on held-out margins.
    seed : int, default=0
        Decides folds.
    """

    name: ClassVar[str] = "linear-probe"
    strength: float | None = None
    calibrated: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strength is not None and not 0 < self.strength < np.inf:
            raise UsageError("the strength of the regularization is above 0", found=f"{self.strength}")

    def fit(
        self, prior: ZeroShot, embeddings: Float32[np.ndarray, "n d"], targets: Bool[np.ndarray, "n k"]
    ) -> Classifier:
        """Fit; both labels need an image. See `Method.fit`."""
        embeddings, targets = check_training(prior, embeddings, targets)
        self._check_labels(prior, targets)
        family = ProbeFamily(embeddings, targets)
        tried = np.array(PROBE_STRENGTHS if self.strength is None else [self.strength])
        choice = choose_strength(family, targets, np.array(prior.unwanted), tried, seed=self.seed)
        strength = self.strength or (choice.strength if choice else NO_CHOICE_PROBE)
        found = replace(family, embeddings=embeddings.astype(np.float64)).fit_all(strength)
        probe = LinearProbe(
            weight=np.ascontiguousarray(found[:, :-1], dtype=np.float32),
            bias=np.ascontiguousarray(found[:, -1], dtype=np.float32),
            **_like(prior),
            provenance={**prior.provenance, "tuning": _chosen(self.strength, strength, choice, len(embeddings))},
        )
        return _calibrated(probe, choice, targets, seed=self.seed) if self.calibrated and choice else probe

    def _check_labels(self, prior: ZeroShot, targets: np.ndarray) -> None:
        unwanted = np.array(prior.unwanted)
        if len(targets) == 0 or not (targets & unwanted).any() or not (targets & ~unwanted).any():
            raise UsageError(
                "a linear probe needs images of both labels",
                found=f"{int((targets & unwanted).any(axis=1).sum()):,} unwanted of {len(targets):,}",
                hint="soft prompts need none: they begin with the prompts in words",
            )


def check_training(prior: ZeroShot, embeddings: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and targets in an order that is theirs alone, so that folds and batches do not depend on how they came.

    Refuses embeddings that are not the prior's, and targets that name no class, or both wanted and unwanted ones.
    """
    check_unit_norm(embeddings, prior.embedding_dim, what="embeddings of the rated images")
    unwanted = np.array(prior.unwanted)
    if targets.shape != (len(embeddings), len(unwanted)):
        raise UsageError(
            "the targets do not fit", expected=str((len(embeddings), len(unwanted))), found=str(targets.shape)
        )
    both = (targets & unwanted).any(axis=1) == (targets & ~unwanted).any(axis=1)
    if both.any():
        raise UsageError(
            f"the target of image {int(np.flatnonzero(both)[0])} allows no class, or both wanted and unwanted"
        )
    order = sorted(range(len(embeddings)), key=lambda image: embeddings[image].tobytes() + targets[image].tobytes())
    return embeddings[order], targets[order]


def _like(prior: ZeroShot) -> dict[str, Any]:
    return {
        "class_names": prior.class_names,
        "unwanted": prior.unwanted,
        "encoder_name": prior.encoder_name,
        "encoder_weights_sha256": prior.encoder_weights_sha256,
    }


def _soft_prompts(prior: ZeroShot, vectors: np.ndarray, tuning: dict[str, Any]) -> SoftPrompts:
    return SoftPrompts(
        class_embeddings=np.ascontiguousarray(vectors, dtype=np.float32),
        **_like(prior),
        logit_scale=prior.logit_scale,
        provenance={**prior.provenance, "tuning": tuning},
    )


def _chosen(given: float | None, strength: float, choice: StrengthChoice | None, n_images: int) -> dict[str, Any]:
    """Return how the strength came about, as JSON, which has no infinity."""
    facts: dict[str, Any] = {"strength": strength if np.isfinite(strength) else "infinite", "n_images": n_images}
    facts["strength_from"] = "too few images" if given is None else "the caller"
    if given is None and choice is not None:
        facts["strength_from"] = "cross-validation"
        tried = (float(value) if np.isfinite(value) else "infinite" for value in choice.strengths)
        facts["held_out_loss"] = [
            [value, round(float(loss), 6)] for value, loss in zip(tried, choice.losses, strict=True)
        ]
    return facts


def _calibrated(
    classifier: SoftPrompts | LinearProbe, choice: StrengthChoice, targets: np.ndarray, *, seed: int, shift: float = 0.0
) -> Classifier:
    """Return the classifier with a calibration fitted on held-out margins.

    `shift` is what was added to the unwanted logits while fitting, in the held-out margins as well, and is not part of the
    classifier: its calibration takes it over.
    """
    labels = (targets & np.array(classifier.unwanted)).any(axis=1).astype(np.int64)
    found = choose_calibration(choice.margins, labels, own_margin=choice.own_margins, seed=seed)
    facts = {**classifier.provenance, "calibration": found.facts}
    calibration = found.calibration and found.calibration.shifted(shift)
    return replace(classifier, calibration=calibration, provenance=facts)


METHODS: dict[str, type[Method]] = {kind.name: kind for kind in (ZeroShotMethod, SoftPromptMethod, ProbeMethod)}


def build_method(name: str, **settings: Any) -> Method:  # noqa: ANN401
    """Return a method by name with the settings that it knows; UsageError for an unknown name or setting.

    >>> asdict(build_method("linear-probe", strength=1.0))["strength"]
    1.0
    """
    if name not in METHODS:
        raise UsageError(f"there is no method `{name}`", expected=", ".join(f"`{known}`" for known in METHODS))
    try:
        return METHODS[name](**settings)
    except TypeError:
        known = ", ".join(asdict(METHODS[name]())) or "none"  # type: ignore[call-overload]
        raise UsageError(f"`{name}` has no such setting", expected=known, found=", ".join(settings)) from None
