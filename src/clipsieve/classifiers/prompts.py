"""Prompt sets: classes in words, and the classifier that they mean for one encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from clipsieve.classifiers.class_vectors import ZeroShot
from clipsieve.classifiers.similarity import normalize
from clipsieve.types import EncoderIdentity

__all__ = ["PromptClass", "PromptSet", "build_zero_shot"]


@dataclass(frozen=True, slots=True)
class PromptClass:
    """One class in words.

    Attributes
    ----------
    name : str
        For tables and files.
    prompts : tuple of str
        What is put into the templates; one or more.
    unwanted : bool
        Whether an image in this class is unwanted.
    """

    name: str
    prompts: tuple[str, ...]
    unwanted: bool


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Classes in words, and the templates around them.

    Attributes
    ----------
    name, description, source : str
        What it is called, what it asks, where its words come from.
    templates : tuple of str
        Sentences with one `{}` each, where a prompt goes.
    classes : tuple of PromptClass
        Two or more, of which at least one is unwanted and one is not.
    """

    name: str
    description: str
    source: str
    templates: tuple[str, ...]
    classes: tuple[PromptClass, ...]

    def texts(self, prompt_class: PromptClass) -> list[str]:
        """Return every prompt of a class in every template."""
        return [template.replace("{}", prompt) for prompt in prompt_class.prompts for template in self.templates]


def build_zero_shot(
    prompt_set: PromptSet,
    encode_texts: Callable[[Sequence[str]], Float32[np.ndarray, "n d"]],
    *,
    identity: EncoderIdentity,
    logit_scale: float = 100.0,
) -> ZeroShot:
    """Return the classifier that a prompt set means for one encoder.

    A class is the mean over its prompts in all templates, each at unit norm, normalized again (Radford et al. 2021,
    arXiv:2103.00020, section 3.1.4).

    Parameters
    ----------
    prompt_set : PromptSet
        Classes in words.
    encode_texts : callable
        The encoder's: a sequence of n texts to a float32 array of shape (n, d), unit-norm rows.
    identity : EncoderIdentity
        Of that encoder.
    logit_scale : float, default=100.0
        The encoder's inverse temperature.
    """
    means = [normalize(encode_texts(prompt_set.texts(c))).mean(axis=0) for c in prompt_set.classes]
    return ZeroShot(
        class_embeddings=normalize(np.stack(means)),
        class_names=tuple(c.name for c in prompt_set.classes),
        unwanted=tuple(c.unwanted for c in prompt_set.classes),
        encoder_name=identity.name,
        encoder_weights_sha256=identity.weights_sha256,
        logit_scale=logit_scale,
        provenance={
            "prompt_set": prompt_set.name,
            "templates": list(prompt_set.templates),
            "prompts": {c.name: list(c.prompts) for c in prompt_set.classes},
        },
    )
