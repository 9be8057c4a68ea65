"""From embeddings to the probability that an image is unwanted: prompts in words, tuned prompts, published heads."""

from clipsieve.classifiers.base import Classifier
from clipsieve.classifiers.calibration import Calibration, Isotonic, Platt
from clipsieve.classifiers.class_vectors import SoftPrompts, ZeroShot
from clipsieve.classifiers.compatibility import canonical_name, check_encoder, check_large_dimensions
from clipsieve.classifiers.files import describe_classifier, load_classifier, save_classifier
from clipsieve.classifiers.imported import import_q16_prompts
from clipsieve.classifiers.linear_probe import LinearProbe
from clipsieve.classifiers.network import Layer, Network
from clipsieve.classifiers.prompt_files import (
    builtin_prompt_set,
    builtin_prompt_set_text,
    builtin_prompt_sets,
    load_prompt_set,
)
from clipsieve.classifiers.prompts import PromptClass, PromptSet, build_zero_shot
from clipsieve.classifiers.published import read_head
from clipsieve.classifiers.similarity import zero_shot_probabilities
from clipsieve.classifiers.taxonomy import Taxonomy, TaxonomyConcept
from clipsieve.classifiers.taxonomy_files import builtin_taxonomy, builtin_taxonomy_text, load_taxonomy

__all__ = [
    "Calibration",
    "Classifier",
    "Isotonic",
    "Layer",
    "LinearProbe",
    "Network",
    "Platt",
    "PromptClass",
    "PromptSet",
    "SoftPrompts",
    "Taxonomy",
    "TaxonomyConcept",
    "ZeroShot",
    "build_zero_shot",
    "builtin_prompt_set",
    "builtin_prompt_set_text",
    "builtin_prompt_sets",
    "builtin_taxonomy",
    "builtin_taxonomy_text",
    "canonical_name",
    "check_encoder",
    "check_large_dimensions",
    "describe_classifier",
    "import_q16_prompts",
    "load_classifier",
    "load_prompt_set",
    "load_taxonomy",
    "read_head",
    "save_classifier",
    "zero_shot_probabilities",
]
