"""What every encoder promises: unit-norm embeddings of images and texts in one joint space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from clipsieve.errors import EmbeddingError
from clipsieve.types import EncoderIdentity, Preprocessing

__all__ = ["Encoder"]


class Encoder(ABC):
    """A frozen pair of towers, one for images and one for texts.

    The same contract suite (`tests/contracts/test_encoders.py`) holds for every encoder: an input's embedding depends
    neither on its neighbours in the batch nor on the batch's length; 0 inputs give an array of shape (0, d).
    """

    @property
    @abstractmethod
    def identity(self) -> EncoderIdentity:
        """What decides the embeddings: weights, recipe, precision."""

    @property
    def recipe(self) -> Preprocessing:
        """The way from an image's pixels to what `encode_images` takes."""
        recipe = self.identity.preprocessing
        assert recipe is not None, "an encoder that encodes knows its recipe"  # noqa: S101
        return recipe

    @property
    def location(self) -> str:
        """What :func:`clipsieve.load_encoder` takes to load the same encoder again: a name, or an absolute path."""
        return self.identity.name

    @property
    @abstractmethod
    def logit_scale(self) -> float:
        """The inverse temperature learned with the weights; 100 where the model folder does not say."""

    @property
    def n_parallel(self) -> int:
        """How many calls of `encode_images` are best made at once, from threads of the caller's.

        Each uses one core then, and none waits for another; `benchmarks/encoders.py` compares that with one call on all cores.
        More calls at once are answered as well, and give the same rows.
        """
        return 1

    @property
    def best_batch_size(self) -> int:
        """How many images one call of `encode_images` should hold; one rule for all that keeps memory small."""
        return 16

    def expect(self, *, n_images: int | None = None, batch_size: int | None = None) -> None:  # noqa: B027
        """Say how many images are to come and in which batches: some encoders make themselves ready for it."""

    @abstractmethod
    def encode_images(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Return one embedding for each image.

        Parameters
        ----------
        pixels : uint8 array of shape (n, s, s, 3)
            RGB, 0-255, already resized and cropped to `recipe.size_px` by
            :func:`clipsieve.images.fit_to_recipe`. The encoder scales and normalizes them. n may be 0.

        Returns
        -------
        float32 array of shape (n, d)
            Unit norm. A row that came out non-finite is returned as it is: all NaN.

        Raises
        ------
        EmbeddingError
            If the side is not the recipe's.
        """

    def check_size(self, pixels: np.ndarray) -> None:
        """Raise EmbeddingError if images are not of the recipe's size."""
        side = self.recipe.size_px
        if pixels.shape[1:] != (side, side, 3):
            raise EmbeddingError(
                "the images have another size than the encoder's input",
                expected=f"(n, {side}, {side}, 3)",
                found=str(pixels.shape),
            )

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Return one unit-norm embedding for each text; a longer text than the context is cut as the tokenizer does."""

    def close(self) -> None:  # noqa: B027 - not every encoder holds something
        """Release the memory held by the towers. No call may be under way; a later one loads them again."""

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
