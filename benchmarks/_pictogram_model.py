"""The embedded model, or another folder of its making, for pictures of any size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve import load_encoder
from clipsieve.images import fit_to_recipe

__all__ = ["MODEL_DIR", "ShippedModel"]

MODEL_DIR = Path(__file__).parent.parent / "src/clipsieve/encoders/pictogram"
_BATCH = 256


class ShippedModel:
    """An encoder as `clipsieve` loads it, and the size of its files."""

    def __init__(self, model_dir: Path = MODEL_DIR) -> None:
        self._encoder = load_encoder(str(model_dir.resolve()))
        self._recipe = self._encoder.identity.preprocessing
        self.size_px = self._recipe.size_px
        self.n_bytes = sum(
            path.stat().st_size for path in model_dir.rglob("*") if path.is_file() and path.suffix != ".py"
        )

    def encode_images(self, pictures: Iterable[UInt8[np.ndarray, "_h _w 3"]]) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm embedding for each picture of any size."""
        return self.encode_fitted(np.stack([fit_to_recipe(picture, self._recipe) for picture in pictures]))

    def encode_fitted(self, fitted: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm embedding for each picture of the model's own size."""
        batches = [self._encoder.encode_images(fitted[at : at + _BATCH]) for at in range(0, len(fitted), _BATCH)]
        return np.concatenate(batches)

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm embedding for each text."""
        return self._encoder.encode_texts(texts)
