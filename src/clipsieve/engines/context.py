"""Context vectors as a method: learned through the text tower of a torch model, used as soft prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float32

from clipsieve.classifiers import Classifier, SoftPrompts, ZeroShot
from clipsieve.classifiers.methods import Method, check_training
from clipsieve.encoders import load_encoder
from clipsieve.errors import EncoderMismatchError, MissingExtraError, UsageError

__all__ = ["ContextMethod"]


@dataclass(frozen=True, slots=True)
class ContextMethod(Method):
    """Learned context in front of each class name (Zhou et al. 2022, arXiv:2109.01134, section 3.2).

    Parameters
    ----------
    model : str or None
        The encoder of the embeddings: a CLIP or SigLIP model of transformers; `tune` fills in the run's.
    n_context : int, default=16
        Context vectors.
    init_text : str or None
        Words to begin with instead of noise; their tokens then are the context.
    n_epochs : int, default=50
        Rounds through the images.
    seed : int, default=0
        Decides the noise and the order of images.
    """

    name: ClassVar[str] = "context"
    takes_all: ClassVar[bool] = True
    model: str | None = None
    n_context: int = 16
    init_text: str | None = None
    n_epochs: int = 50
    seed: int = 0

    def fit(
        self, prior: ZeroShot, embeddings: Float32[np.ndarray, "n d"], targets: Bool[np.ndarray, "n k"]
    ) -> Classifier:
        """Learn; the class names of the prior stand behind the context. See `Method.fit`.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        UsageError
            If the encoder is no model of transformers, or there are no images.
        EncoderMismatchError
            If it is not the prior's.
        """
        embeddings, targets = check_training(prior, embeddings, targets)
        if self.model is None:
            raise UsageError("context vectors are learned through an encoder", hint="name it with `--model`")
        try:
            from clipsieve.encoders.context import learn_context
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "context vectors are learned with torch, which is not installed", hint="pip install 'clipsieve[torch]'"
            ) from error
        with load_encoder(self.model) as encoder:
            if prior.encoder_weights_sha256 not in (None, encoder.identity.weights_sha256):
                raise EncoderMismatchError(
                    "the encoder is not the one that made the embeddings",
                    expected=prior.encoder_name,
                    found=encoder.identity.description,
                )
            found = learn_context(
                encoder,
                embeddings,
                targets,
                prior.class_names,
                n_context=self.n_context,
                init_text=self.init_text,
                epochs=self.n_epochs,
                seed=self.seed,
            )
        return self._classifier(prior, found)

    def _classifier(self, prior: ZeroShot, found: Any) -> SoftPrompts:  # noqa: ANN401 - of the torch extra
        return SoftPrompts(
            class_embeddings=found.class_embeddings,
            class_names=prior.class_names,
            unwanted=prior.unwanted,
            encoder_name=prior.encoder_name,
            encoder_weights_sha256=prior.encoder_weights_sha256,
            logit_scale=prior.logit_scale,
            provenance={**prior.provenance, "tuning": found.provenance},
        )
