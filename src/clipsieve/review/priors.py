"""Where learning begins: the words behind some scores, read by the run's encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipsieve.classifiers import PromptClass, PromptSet, ZeroShot, build_zero_shot
from clipsieve.engines.classify import open_text_encoder
from clipsieve.errors import EncoderMismatchError, MissingExtraError, ModelError
from clipsieve.store import Run

__all__ = ["Prior", "find_prior"]


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Class vectors that tuning begins with.

    Attributes
    ----------
    classifier : ZeroShot
        Prompts in words; or two classes whose vectors mean nothing.
    is_placeholder : bool
        Whether they mean nothing: then only a method that does not look at them will do.
    """

    classifier: ZeroShot
    is_placeholder: bool


def find_prior(run: Run, scores_name: str, *, model: str | None = None) -> tuple[Prior, tuple[str, ...]]:
    """Return the prompts in words that some scores come from, and what a person should know of it.

    Of scores that were learned or tuned from words, these are the first words: what was tuned on some images would know them
    when it is tested on them.

    Parameters
    ----------
    run : Run
        Whose encoder reads the words.
    scores_name : str
        Whose classifier.
    model : str, optional
        Where that encoder lies now.

    Raises
    ------
    RunNotFoundError, RunCorruptError
        If there are no such scores, or what is written of them is damaged.
    """
    prompts = _prompts(run.score_facts(scores_name), scores_name)
    if prompts is None:
        return _placeholder(run), (
            f"`{scores_name}` has no prompts in words to begin with: a linear probe was fitted instead",
        )
    try:
        with open_text_encoder(run, model) as encoder:
            found = build_zero_shot(
                prompts, encoder.encode_texts, identity=encoder.identity, logit_scale=encoder.logit_scale
            )
    except (ModelError, MissingExtraError, EncoderMismatchError) as error:
        return _placeholder(run), (f"the prompts cannot be read, so a linear probe was fitted instead: {error.what}",)
    return Prior(found, is_placeholder=False), ()


def _prompts(facts: Mapping[str, Any], name: str) -> PromptSet | None:
    """Return the prompts of a classifier, or of what it began with; None if there are none, or they make no sense."""
    if facts.get("method") not in ("zero-shot", "soft-prompts"):
        return None
    origin: Any = facts.get("provenance")
    while isinstance(origin, Mapping) and "prompts" not in origin:
        origin = origin.get("begins_with")
    try:
        classes = tuple(
            PromptClass(str(each), tuple(map(str, origin["prompts"][each])), bool(unwanted))
            for each, unwanted in zip(facts["class_names"], facts["unwanted"], strict=True)
        )
        templates = tuple(map(str, origin["templates"]))
    except (KeyError, TypeError, ValueError):
        return None
    if not templates or not all(each.prompts for each in classes):
        return None
    return PromptSet(str(origin.get("prompt_set", name)), "", "", templates, classes)


def _placeholder(run: Run) -> Prior:
    identity = run.manifest.encoder
    vectors = np.zeros((2, identity.embedding_dim), dtype=np.float32)
    vectors[:, 0] = 1.0
    classifier = ZeroShot(
        class_embeddings=vectors,
        class_names=("wanted", "unwanted"),
        unwanted=(False, True),
        encoder_name=identity.name,
        encoder_weights_sha256=identity.weights_sha256,
    )
    return Prior(classifier, is_placeholder=True)
