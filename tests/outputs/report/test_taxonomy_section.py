"""What flagged images show, in a run whose encoder is at hand, in several parts; and in one whose encoder is not."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clipsieve.classifiers.taxonomy import Taxonomy, TaxonomyConcept
from clipsieve.classifiers.taxonomy_files import builtin_taxonomy
from clipsieve.encoders import load_encoder
from clipsieve.engines import adopt_embeddings, load_classifier_for, score
from clipsieve.engines.concepts import build_concepts
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts
from clipsieve.outputs.report.build import build_report
from clipsieve.outputs.report.flagged import FlaggedImage, flagged_rows
from clipsieve.store import Run, RunManifest, image_table
from clipsieve.types import EmbeddedImage, FailedImage, Failure, FailureCode, FailureStep, FileFacts, ImageRef
from model_folders import WIDTH, make_onnx_folder
from report_records import HOSTILE
from scored_runs import write_scored_run, write_scores

MADE, N, PART = "2026-11-25T12:00:00+00:00", 90, 40
TAXONOMY = Taxonomy(
    "t",
    "nowhere",
    "5" * 64,
    ("{}",),
    0.2,
    (
        TaxonomyConcept("weapons", HOSTILE[0], ("gun",), is_other=False),
        TaxonomyConcept("gore", "Gore", ("gore",), is_other=False),
        TaxonomyConcept("other", "Other", ("flower",), is_other=True),
    ),
)
RNG = np.random.default_rng(0)
PROBABILITY = [None if i == 7 else float(p) for i, p in enumerate(RNG.uniform(size=N).astype(np.float32))]
EMBEDDINGS = RNG.standard_normal((N, WIDTH)).astype(np.float32)
EMBEDDINGS /= np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
FLAGGED = [i for i, p in enumerate(PROBABILITY) if p is not None and p >= 0.5]
CLASSES = {"class_names": ["good", "sharp", "blunt"], "unwanted": [False, True, True], "method": "zero-shot"}


def row(i):
    ref = ImageRef(f"{i:04d}.png", f"file:///photos/{i:04d}.png", HOSTILE[i % 8], HOSTILE[-1 - i % 8], b"")
    if PROBABILITY[i] is None:
        return FailedImage(ref, None, Failure(FailureStep.DECODE, FailureCode.TRUNCATED, "broken"))
    return EmbeddedImage(ref, FileFacts(f"{i:064d}", 1, 8, 8, "PNG"), EMBEDDINGS[i])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("taxonomy")
    with load_encoder(str(make_onnx_folder(path / "model"))) as encoder:
        identity = encoder.identity
    manifest = RunManifest("folder", "/photos", PART, N, 3, 0, identity, str(path / "model"), {}, "0")
    run = Run.create(path / "run", manifest)
    for index, start in enumerate(range(0, N, PART)):
        places = range(start, min(start + PART, N))
        facts = {"encoder": identity.fingerprint, "options": manifest.options_fingerprint}
        table = image_table([row(i) for i in places], WIDTH, inputs=f"i{index}", **facts)
        run.write_part(run.image_part(index), table)
        write_scores(run, index, table, [PROBABILITY[i] for i in places])
    run.write_score_facts("test", {"threshold": 0.5, "class_names": ["good", "bad"], "unwanted": [False, True]})
    return run


@pytest.fixture(scope="module")
def expected(run):
    """Return concept and margin of each flagged image, from the embeddings as they were before they were stored."""
    concepts = build_concepts(run, TAXONOMY)
    index, margin, nearest = concepts.assign(EMBEDDINGS[FLAGGED])
    return index, margin, nearest


def test_every_flagged_image_is_in_exactly_one_concept(run, expected):
    index, margin, nearest = expected
    found = build_report(run, made=MADE, concepts=build_concepts(run, TAXONOMY)).taxonomy
    assert (found.name, found.source, found.sha256, found.min_margin, found.problem) == (
        "t",
        "nowhere",
        "5" * 64,
        0.2,
        None,
    )
    assert [concept.n for concept in found.concepts] == np.bincount(index, minlength=3).tolist()
    assert sum(concept.share for concept in found.concepts) == pytest.approx(1)
    for place, concept in enumerate(found.concepts):
        assert concept.median_margin == pytest.approx(np.median(margin[index == place]), abs=0.01)
    assert [concept.n_too_close for concept in found.concepts] == [0, 0, int(((index == 2) & (nearest != 2)).sum())]
    assert found.concepts[2].n_too_close > 0
    assert [concept.is_other for concept in found.concepts] == [False, False, True]


def test_the_method_names_the_taxonomy(run):
    once = build_report(run, made=MADE, concepts=build_concepts(run, TAXONOMY))
    assert once.method["taxonomy"] == {"name": "t", "sha256": "5" * 64, "templates": ["{}"], "min_margin": 0.2}


def test_without_flagged_images_concepts_are_empty_and_have_no_median(run):
    facts = run.score_facts("test")
    run.write_score_facts("test", facts | {"threshold": 1.0})
    try:
        found = build_report(run, made=MADE, concepts=build_concepts(run, TAXONOMY)).taxonomy
    finally:
        run.write_score_facts("test", facts)
    assert [(concept.n, concept.share, concept.median_margin) for concept in found.concepts] == [(0, 0.0, None)] * 3


def test_an_encoder_that_is_not_at_hand_is_a_problem_in_words(tmp_path):
    run = write_scored_run(tmp_path / "run", [0.9, 0.1], threshold=0.5)
    found = build_report(run, made=MADE, concepts=build_concepts(run, builtin_taxonomy()))
    assert found.taxonomy.concepts == ()
    assert "no model `tiny`" in found.taxonomy.problem
    assert any("What the flagged images show was not looked into" in sentence for sentence in found.limits)
    assert [image.concept for image in flagged_rows(run, concepts=build_concepts(run, TAXONOMY))] == [None]


def test_flagged_images_come_one_by_one_with_all_that_is_known(run, expected):
    index, margin, _ = expected
    said = {f"{FLAGGED[0]:04d}.png": ImageVerdict(None, (), 1), f"{FLAGGED[1]:04d}.png": ImageVerdict(True, (), 1)}
    verdicts = ImageVerdicts(Path("v.csv"), "0" * 64, said)
    found = list(flagged_rows(run, concepts=build_concepts(run, TAXONOMY), verdicts=verdicts))
    assert [image.index for image in found] == FLAGGED
    assert [image.probability for image in found] == [PROBABILITY[i] for i in FLAGGED]
    assert [image.concept for image in found] == [TAXONOMY.concepts[i].title for i in index]
    assert [image.margin for image in found] == pytest.approx(margin.tolist(), abs=0.01)
    assert [image.verdict for image in found[:3]] == ["unsure", "unwanted", None]
    for image in found:
        assert (image.image_id, image.uri) == (f"{image.index:04d}.png", f"file:///photos/{image.index:04d}.png")
        assert (image.label, image.caption) == (HOSTILE[image.index % 8], HOSTILE[-1 - image.index % 8])
        assert (image.class_name, image.class_index) == ("bad", 1)
    assert isinstance(found[0], FlaggedImage)


def test_of_several_unwanted_classes_the_most_probable_one_is_named(tmp_path):
    run = write_scored_run(tmp_path / "run", [0.9, None, 0.6, 0.1], threshold=0.5)
    run.write_score_facts("test", {"threshold": 0.5} | CLASSES)
    path = run.score_part("test", 0)
    table = run.read_part(path)
    logits = [[9.0, 1.0, 2.0], None, [0.0, 3.0, 2.0], [5.0, 1.0, 0.0]]
    place = table.schema.get_field_index("logits")
    run.write_part(path, table.set_column(place, table.schema.field(place), pa.array(logits, pa.list_(pa.float32()))))
    assert [(image.class_index, image.class_name) for image in flagged_rows(run)] == [(2, "blunt"), (1, "sharp")]


def test_without_a_taxonomy_nothing_is_assigned(run):
    assert {(image.concept, image.margin) for image in flagged_rows(run)} == {(None, None)}


def test_embeddings_of_somebody_else_are_reported_with_what_is_missing(tmp_path):
    rows = np.random.default_rng(0).standard_normal((60, 128)).astype(np.float32)
    rows[5] = 0
    np.save(tmp_path / "img.npy", rows)
    adopt_embeddings(tmp_path / "img.npy", tmp_path / "run", model="pictogram", part_size=25)
    run = Run.open(tmp_path / "run")
    score(run, load_classifier_for(run, "positive-negative").classifier, name="words")
    found = build_report(run, made=MADE, concepts=build_concepts(run, builtin_taxonomy()))
    assert (found.figure("n_failed").value, found.figure("n_scored").value) == (1, 59)
    assert found.figure("n_flagged").value == sum(concept.n for concept in found.taxonomy.concepts) > 0
    assert [image.index for image in flagged_rows(run)] == sorted({image.index for image in flagged_rows(run)} - {5})
    assert found.method["classifier"]["templates"] == ["This image is about something {}"]
    assert any("The images were not at hand" in sentence for sentence in found.limits)
    assert not any("first frame" in sentence for sentence in found.limits)
