"""Published heads become classifiers of ours, and keep every bit that matters."""

import hashlib
import pickle

import numpy as np
import pytest

from clipsieve.classifiers import check_encoder, import_q16_prompts
from clipsieve.classifiers.plain_pickle import MAX_BYTES
from clipsieve.errors import ClassifierFileError, UnsafeFileError
from clipsieve.types import EncoderIdentity, Preprocessing


@pytest.fixture
def published(tmp_path):
    """Write an array in the form in which the authors published theirs."""

    def write(value, protocol=3):
        path = tmp_path / "prompts.p"
        path.write_bytes(pickle.dumps(value, protocol=protocol))
        return path

    return write


def rows(n=2, d=512, code=np.float32):
    return np.random.default_rng(0).normal(size=(n, d)).astype(code) * code(7)


@pytest.mark.parametrize("code", [np.float16, np.float32, np.float64])
def test_directions_are_kept_and_lengths_are_not(published, code):
    values = rows(code=code)
    head = import_q16_prompts(published(values), encoder_name="ViT-B-32__openai")
    exact = values.astype(np.float64)
    np.testing.assert_allclose(head.class_embeddings, exact / np.linalg.norm(exact, axis=1, keepdims=True), atol=1e-6)


def test_the_second_row_is_for_unwanted_images_and_the_threshold_is_the_authors(published):
    values = rows()
    head = import_q16_prompts(published(values), encoder_name="ViT-B-32__openai")
    assert head.method == "soft-prompts"
    assert (head.class_names, head.unwanted) == (("positive", "negative"), (False, True))
    assert (head.threshold, head.logit_scale) == (0.9, 100.0)
    assert head.predict_proba(head.class_embeddings)[:, 1].round(3).tolist() == [0.0, 1.0]


def test_the_head_says_what_it_was_made_from(published):
    path = published(rows())
    head = import_q16_prompts(path, encoder_name="ViT-B-32__openai")
    assert head.provenance == {
        "imported_from": "Q16, arXiv:2202.06675",
        "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_a_head_without_a_hash_goes_with_the_names_of_its_weights(published):
    head = import_q16_prompts(published(rows()), encoder_name="ViT-B-32__openai")
    recipe = Preprocessing(224, "shortest", "bicubic", (0.5,) * 3, (0.5,) * 3)
    check_encoder(head, EncoderIdentity("openai/clip-vit-base-patch32", "b" * 64, recipe, "fp32", 512))


@pytest.mark.parametrize(
    "values",
    [
        rows(1),
        rows(3),
        rows()[0],
        rows().reshape(2, 16, 32),
        rows(d=1),
        np.zeros((2, 0), np.float32),
        np.array([[1.0, np.nan], [1.0, 2.0]]),
        np.array([[1.0, np.inf], [1.0, 2.0]]),
        np.array([[0.0, 0.0], [1.0, 2.0]]),
        np.array([[1e300, 1e300], [1.0, 2.0]]),
    ],
    ids=["1 row", "3 rows", "flat", "3 axes", "width 1", "empty", "NaN", "infinite", "zero row", "overflow"],
)
def test_an_array_that_is_not_two_directions_is_refused(published, values):
    with pytest.raises(ClassifierFileError, match="does not hold Q16's soft prompts") as caught:
        import_q16_prompts(published(values), encoder_name="x")
    assert caught.value.found == f"an array of shape {values.shape}"


def test_whole_numbers_are_numbers(published):
    head = import_q16_prompts(published(np.array([[3, 4], [0, 5]])), encoder_name="x")
    np.testing.assert_allclose(head.class_embeddings, [[0.6, 0.8], [0, 1]], atol=1e-7)


class Sings:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (exec, (f"open({str(self.canary)!r}, 'w').close()",))


def test_a_pickle_with_anything_else_is_refused_and_nothing_in_it_runs(published, tmp_path):
    canary = tmp_path / "canary"
    path = published([rows(), Sings(canary)])
    with pytest.raises(UnsafeFileError, match="is not a pickle of a plain array"):
        import_q16_prompts(path, encoder_name="x")
    assert not canary.exists()


@pytest.mark.parametrize("name", ["missing.p", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(ClassifierFileError, match="cannot read"):
        import_q16_prompts(tmp_path / name, encoder_name="x")


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path):
    with (tmp_path / "prompts.p").open("wb") as file:
        file.truncate(MAX_BYTES * 1000)
    with pytest.raises(UnsafeFileError, match="at most"):
        import_q16_prompts(tmp_path / "prompts.p", encoder_name="x")
