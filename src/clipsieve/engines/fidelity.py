"""How close the embeddings of one precision come to those of another, in cosines and in decisions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve.classifiers import build_zero_shot, builtin_prompt_set
from clipsieve.encoders import Encoder
from clipsieve.encoders.quantize import LEAST_COSINE
from clipsieve.errors import EmbeddingError

__all__ = ["Comparison", "Fidelity", "FidelityBar"]

PROMPTS = "positive-negative"


@dataclass(frozen=True, slots=True)
class FidelityBar:
    """How close int8 must come to fp32 to be used.

    Only clear decisions count when decisions flip: those further from the threshold than an error of the allowed mean cosine
    moves a logit. That is one standard deviation, of errors that point anywhere, and no bound. For d = 512 and two prompts at a
    cosine of 0.95 it is 0.09, or 2 % in the probability of an image that could fall either way.

    Attributes
    ----------
    cosine_mean, cosine_1st : float
        Least mean, and least 1st percentile, of the cosine to fp32.
    flipped : float
        The most of the images with a clear decision that may be decided otherwise, to the nearest image; one may, whatever their
        number.
    """

    cosine_mean: float = LEAST_COSINE
    cosine_1st: float = 0.99
    flipped: float = 0.01

    def shortfalls(self, found: Fidelity) -> list[tuple[str, str]]:
        """Return what was expected and what was found, wherever it is below the bar."""
        most = max(1, round(self.flipped * (found.n_measured - found.n_close)))
        checks = [
            (found.cosine_mean >= self.cosine_mean, f"mean cosine >= {self.cosine_mean}", f"{found.cosine_mean:.4f}"),
            (found.cosine_1st >= self.cosine_1st, f"1st percentile >= {self.cosine_1st}", f"{found.cosine_1st:.4f}"),
            (found.n_flipped_clear <= most, f"clear decisions flipped <= {most}", f"{found.n_flipped_clear}"),
        ]
        return [(expected, measured) for is_met, expected, measured in checks if not is_met]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How int8 compares with fp32 on a person's images.

    Attributes
    ----------
    n_measured : int
        Images that both were compared on.
    cosine_mean, cosine_1st, cosine_least : float
        Of the cosine between the two embeddings of an image: the mean, the 1st percentile, the least.
    n_flipped : int
        Images that the prompts `positive-negative` decide otherwise.
    n_flipped_clear : int
        Those of them that fp32 decides clearly; see :class:`FidelityBar`.
    n_close : int
        Images that it does not decide clearly.
    fp32_images_per_s, int8_images_per_s : float
        On this machine, for the encoder alone.
    """

    n_measured: int
    cosine_mean: float
    cosine_1st: float
    cosine_least: float
    n_flipped: int
    n_flipped_clear: int
    n_close: int
    fp32_images_per_s: float
    int8_images_per_s: float


class Comparison:
    """What fp32 says of some images, to compare with.

    Parameters
    ----------
    fp32 : Encoder
        The one to compare with; it reads the prompts too.
    pixels : uint8 array of shape (n, s, s, 3)
        As the encoder takes them, n >= 1.
    cosine : float
        The mean cosine that is allowed, which says what decision is a clear one.
    on_images : callable
        Called with the number of images that an encoder has just encoded.
    """

    def __init__(
        self,
        fp32: Encoder,
        pixels: UInt8[np.ndarray, "n s s 3"],
        cosine: float,
        on_images: Callable[[int], object] = lambda _n: None,
    ) -> None:
        self._pixels = pixels
        self._on_images = on_images
        self._embeddings, self._rate = _timed(fp32, pixels, on_images)
        self._classifier = build_zero_shot(
            builtin_prompt_set(PROMPTS), fp32.encode_texts, identity=fp32.identity, logit_scale=fp32.logit_scale
        )
        wanted, unwanted = self._classifier.class_embeddings
        error = np.sqrt(max(0.0, 1 - cosine**2) / len(wanted))  # along any one direction
        self._margin = float(fp32.logit_scale * np.linalg.norm(unwanted - wanted) * error)

    def with_int8(self, int8: Encoder) -> Fidelity:
        """Return how another form of the same encoder compares; EmbeddingError if fp32 has no embedding of any image."""
        rows, rate = _timed(int8, self._pixels, self._on_images)
        # Where fp32 has no embedding there is nothing to compare; where only int8 has none, it is as far off as can be.
        known = np.isfinite(self._embeddings).all(axis=1)
        if not known.any():
            raise EmbeddingError("int8 cannot be compared: the fp32 encoder gave NaN or infinity for every image")
        wanted, found = self._embeddings[known], rows[known]
        found = np.where(np.isfinite(found).all(axis=1, keepdims=True), found, -wanted)
        cosines = (wanted * found).sum(axis=1)
        before, after = (self._classifier.predict_proba(each)[:, 1] for each in (wanted, found))
        threshold = self._classifier.threshold
        flipped = (before >= threshold) != (after >= threshold)
        logits = self._classifier.logits(wanted)
        is_close = np.abs(logits[:, 1] - logits[:, 0]) < self._margin
        return Fidelity(
            n_measured=len(cosines),
            cosine_mean=float(cosines.mean()),
            cosine_1st=float(np.percentile(cosines, 1)),
            cosine_least=float(cosines.min()),
            n_flipped=int(flipped.sum()),
            n_flipped_clear=int((flipped & ~is_close).sum()),
            n_close=int(is_close.sum()),
            fp32_images_per_s=self._rate,
            int8_images_per_s=rate,
        )


def _timed(
    encoder: Encoder, pixels: UInt8[np.ndarray, "n s s 3"], on_images: Callable[[int], object]
) -> tuple[Float32[np.ndarray, "n d"], float]:
    """Return the embeddings and the images a second, the encoder's loading apart."""
    encoder.encode_images(pixels[:1])
    step = encoder.best_batch_size * encoder.n_parallel  # every core has a batch
    embeddings = []
    started = time.perf_counter()
    for start in range(0, len(pixels), step):
        embeddings.append(encoder.encode_images(pixels[start : start + step]))
        on_images(len(embeddings[-1]))
    return np.concatenate(embeddings), len(pixels) / (time.perf_counter() - started)
