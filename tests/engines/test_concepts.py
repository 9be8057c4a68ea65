"""Concepts read by a run's own encoder; where it cannot be had, the problem is said and nothing fails."""

from pathlib import Path

import numpy as np
import pytest

from clipsieve.classifiers.prompts import PromptClass, PromptSet, build_zero_shot
from clipsieve.classifiers.taxonomy import Taxonomy, TaxonomyConcept
from clipsieve.classifiers.taxonomy_files import builtin_taxonomy
from clipsieve.encoders import load_encoder
from clipsieve.engines.concepts import build_concepts
from clipsieve.store import Run
from model_folders import WIDTH, make_onnx_folder
from rated_runs import draw_embeddings, draw_ratings, write_run
from scored_runs import write_scored_run

CONCEPTS = (
    TaxonomyConcept("weapons", "Weapons", ("gun", "knife"), is_other=False),
    TaxonomyConcept("gore", "Gore", ("gore",), is_other=False),
    TaxonomyConcept("other", "Other", ("flower",), is_other=True),
)
TAXONOMY = Taxonomy("t", "", "0" * 64, ("a {}", "{}"), 0.1, CONCEPTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("concepts")
    write_run(path / "run", make_onnx_folder(path / "model"), draw_embeddings(draw_ratings(50), WIDTH))
    make_onnx_folder(path / "other", seed=1)
    return path


def test_vectors_and_assignment_are_those_of_a_zero_shot_classifier(folder):
    found = build_concepts(Run.open(folder / "run"), TAXONOMY)
    words = PromptSet(
        "t", "", "", TAXONOMY.templates, tuple(PromptClass(c.name, c.prompts, c.is_other) for c in CONCEPTS)
    )
    with load_encoder(str(folder / "model")) as encoder:
        same = build_zero_shot(words, encoder.encode_texts, identity=encoder.identity, logit_scale=encoder.logit_scale)
    np.testing.assert_allclose(found.vectors, same.class_embeddings, atol=1e-6)
    embeddings = draw_embeddings(draw_ratings(50), WIDTH)
    index, margin, nearest = found.assign(embeddings)
    logits = found.logit_scale * embeddings @ same.class_embeddings.T
    assert nearest.tolist() == logits.argmax(axis=1).tolist()
    assert all(i == (n if m >= 0.1 else 2) for i, m, n in zip(index, margin, nearest, strict=True))


def test_the_built_in_taxonomy_is_read(folder):
    found = build_concepts(Run.open(folder / "run"), builtin_taxonomy())
    assert found.problem is None
    assert found.vectors.shape == (11, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)


def test_an_encoder_that_lies_elsewhere_now_is_taken_by_its_weights(folder, tmp_path):
    moved = make_onnx_folder(tmp_path / "moved")
    assert build_concepts(Run.open(folder / "run"), TAXONOMY, model=str(moved)).problem is None


@pytest.mark.parametrize(
    ("model", "words"),
    [("other", "is not the one that made the run"), ("missing", "there is no model folder")],
)
def test_another_encoder_or_none_is_a_problem_and_no_error(folder, model, words):
    found = build_concepts(Run.open(folder / "run"), TAXONOMY, model=str(folder / model))
    assert found.vectors is None
    assert words in found.problem
    assert str(folder) not in found.problem


def test_embeddings_whose_model_is_not_at_hand_are_a_problem_and_no_error(tmp_path):
    found = build_concepts(write_scored_run(tmp_path / "run", [0.5], threshold=0.5), TAXONOMY)
    assert (found.vectors, found.taxonomy) == (None, TAXONOMY)
    assert "no model `tiny`" in found.problem
