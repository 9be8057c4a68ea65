"""LAION's detectors come out of the zip of their SavedModel as Keras computed them; models of other layers do not."""

import hashlib
import io
import zipfile

import numpy as np
import pytest

from clipsieve.classifiers.published import read_head
from clipsieve.classifiers.similarity import normalize
from clipsieve.errors import ClassifierFileError
from tf_bundles import VALUE, bundle, keras_by_hand, keras_variables, saved_model


@pytest.fixture
def write(tmp_path):
    def write_file(content):
        path = tmp_path / "head.zip"
        path.write_bytes(content)
        return path

    return write_file


def refused(path):
    with pytest.raises(ClassifierFileError) as caught:
        read_head(path, encoder_name="x")
    return caught.value


@pytest.mark.parametrize("kind", ["auto", "laion-nsfw"])
@pytest.mark.parametrize("widths", [(12, 6, 16, 8, 1), (12, 5, 5, 1), (12, 1)])
def test_laions_detector_gives_keras_probabilities(write, widths, kind):
    variables = keras_variables(widths)
    path = write(saved_model(variables))
    head = read_head(path, kind=kind, encoder_name="ViT-L-14__openai", encoder_weights_sha256="a" * 64)
    rows = normalize(np.random.default_rng(1).normal(size=(40, 12)))
    np.testing.assert_allclose(head.predict_proba(rows)[:, 1], keras_by_hand(variables, rows), atol=1e-6)
    assert (head.method, head.embedding_dim, head.threshold) == ("network", 12, 0.5)
    assert (head.encoder_name, head.encoder_weights_sha256) == ("ViT-L-14__openai", "a" * 64)
    assert head.provenance == {
        "imported_from": "LAION-AI/CLIP-based-NSFW-Detector",
        "kind": "laion-nsfw",
        "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize("root", ["", "a/", "a/b c/"])
def test_the_model_may_lie_in_any_folder(write, root):
    assert read_head(write(saved_model(keras_variables(), root)), encoder_name="x").embedding_dim == 12


def test_what_a_mac_adds_to_a_zip_is_passed_over(write):
    content = io.BytesIO(saved_model(keras_variables()))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("__MACOSX/clip/variables/variables.index", b"")
    assert read_head(write(content.getvalue()), encoder_name="x").embedding_dim == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_with_weights-0/mean": None},
        {"layer_with_weights-0/variance": np.full(12, -1, "f4")},
        {"layer_with_weights-0/mean": np.zeros(11, "f4")},
        {"layer_with_weights-0/mean": np.full(12, np.nan, "f4")},
        {"layer_with_weights-0/mean": np.zeros(12, "i4")},
        {"layer_with_weights-1/kernel": None},
        {"layer_with_weights-1/kernel": np.zeros((12, 7), "f4")},
        {"layer_with_weights-1/kernel": np.zeros(12, "f4")},
        {"layer_with_weights-1/gamma": np.zeros(6, "f4")},
        {"layer_with_weights-4/kernel": np.zeros((8, 2), "f4"), "layer_with_weights-4/bias": np.zeros(2, "f4")},
        {"layer_with_weights-9/moving_mean": np.zeros(6, "f4")},
    ],
)
def test_a_model_of_other_layers_is_refused(write, changes):
    variables = keras_variables()
    for name, values in changes.items():
        variables.pop(name + VALUE, None)
        variables |= {} if values is None else {name + VALUE: values}
    assert "no published head" in refused(write(saved_model(variables))).what


def test_a_zip_without_a_model_or_with_two_is_refused(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", b"a")
    assert refused(write(file.getvalue())).found == "0 SavedModels of TensorFlow"
    index, data = bundle(keras_variables())
    with zipfile.ZipFile(file, "w") as archive:
        for root in ("a", "b"):
            archive.writestr(f"{root}/variables/variables.index", index)
            archive.writestr(f"{root}/variables/variables.data-00000-of-00001", data)
    assert refused(write(file.getvalue())).found == "2 SavedModels of TensorFlow"


def test_a_member_that_would_fill_the_memory_is_refused(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("variables/variables.index", "w") as member:
            for _ in range(17):
                member.write(bytes(1 << 20))
        archive.writestr("variables/variables.data-00000-of-00001", b"")
    assert "variables.index" in refused(write(file.getvalue())).found
