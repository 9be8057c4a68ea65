"""A small real encoder: a fixed random projection of the image's pixels, in numpy alone."""

import hashlib
from collections.abc import Sequence

import numpy as np

from clipsieve.encoders import Encoder
from clipsieve.types import EncoderIdentity, Preprocessing

SIZE_PX = 8


class TinyEncoder(Encoder):
    """Projects 8 x 8 pixels onto `dim` random directions; another seed is another model.

    One image at a time, so that an embedding cannot depend on its neighbours.
    """

    def __init__(self, seed: int = 0, dim: int = 6) -> None:
        self.n_images = 0
        self._seed = seed
        self._weights = np.random.default_rng(seed).standard_normal((SIZE_PX * SIZE_PX * 3, dim)).astype(np.float32)

    @property
    def identity(self) -> EncoderIdentity:
        recipe = Preprocessing(SIZE_PX, "shortest", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        sha256 = hashlib.sha256(self._weights.tobytes()).hexdigest()
        return EncoderIdentity(f"tiny-{self._seed}", sha256, recipe, "fp32", self._weights.shape[1])

    @property
    def logit_scale(self) -> float:
        return 100.0

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        self.n_images += len(pixels)
        rows = [self._unit(image.reshape(-1).astype(np.float32) / 255 + 0.01) for image in pixels]
        return np.stack(rows) if rows else np.zeros((0, self._weights.shape[1]), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        inputs = [np.random.default_rng(seed).standard_normal(len(self._weights)).astype(np.float32) for seed in seeds]
        return np.stack([self._unit(row) for row in inputs]) if inputs else np.zeros((0, self._weights.shape[1]), "f4")

    def _unit(self, features: np.ndarray) -> np.ndarray:
        row = features @ self._weights
        return row / np.linalg.norm(row)
