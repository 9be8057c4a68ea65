"""Classifier files: what is written is read back bit for bit, and whatever else lies there is refused."""

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save

from clipsieve.classifiers import SoftPrompts, describe_classifier, load_classifier, save_classifier
from clipsieve.classifiers.files import MAX_BYTES
from clipsieve.errors import ClassifierFileError

VECTORS = np.eye(2, 8, dtype=np.float32)
HEAD = SoftPrompts(VECTORS, ("good", "bad"), (False, True), "m", "a" * 64, 50.0, 0.25, {"metrics": {"auc": 0.9}})
MISSING = object()


def write(path, arrays=None, text=None, **changes):
    facts = describe_classifier(HEAD) | changes
    facts = {name: value for name, value in facts.items() if value is not MISSING}
    text = json.dumps(facts) if text is None else text
    path.write_bytes(save(arrays or {"class_embeddings": VECTORS}, metadata={"clipsieve": text}))
    return path


def test_all_that_is_known_comes_back(tmp_path):
    save_classifier(HEAD, tmp_path / "c.safetensors")
    found = load_classifier(tmp_path / "c.safetensors")
    assert type(found) is SoftPrompts
    assert describe_classifier(found) == describe_classifier(HEAD)
    np.testing.assert_array_equal(found.class_embeddings, VECTORS)


def test_the_same_classifier_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    for name in ("a", "b"):
        save_classifier(HEAD, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_that_cannot_be_written_leaves_the_folder_as_it_was(tmp_path):
    (tmp_path / "taken").mkdir()
    for path in (tmp_path / "missing" / "c", tmp_path / "taken"):
        with pytest.raises(ClassifierFileError, match="nothing was written"):
            save_classifier(HEAD, path)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("name", sorted(set(describe_classifier(HEAD)) - {"calibration"}))
@pytest.mark.parametrize("value", [MISSING, None, [], {"a": 1}, True], ids=["missing", "null", "list", "table", "true"])
def test_a_fact_that_is_missing_or_of_another_kind_is_refused(tmp_path, name, value):
    if (name, value) in [("encoder_weights_sha256", None), ("provenance", {"a": 1})]:
        return  # these are right
    with pytest.raises(ClassifierFileError, match="is no classifier that can be read"):
        load_classifier(write(tmp_path / "c", **{name: value}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 2},
        {"method": "magic"},
        {"class_names": "ab"},
        {"class_names": ["same", "same"]},
        {"class_names": ["only"]},
        {"unwanted": ["false", ""]},
        {"unwanted": [0, 1]},
        {"unwanted": [True, True]},
        {"unwanted": [False, True, True]},
        {"embedding_dim": 9},
        {"logit_scale": 0},
        {"logit_scale": "100"},
        {"logit_scale": float("inf")},
        {"threshold": 1.5},
        {"threshold": float("nan")},
        {"calibration": {"method": "platt"}},
    ],
    ids=repr,
)
def test_facts_that_make_no_sense_are_refused(tmp_path, changes):
    with pytest.raises(ClassifierFileError):
        load_classifier(write(tmp_path / "c", **changes))


@pytest.mark.parametrize(
    "arrays",
    [
        {"other": VECTORS},
        {"class_embeddings": VECTORS, "other": VECTORS},
        {"class_embeddings": VECTORS.astype(np.float64)},
        {"class_embeddings": VECTORS.astype(np.float16)},
        {"class_embeddings": VECTORS[0]},
        {"class_embeddings": VECTORS[:, :0]},
        {"class_embeddings": VECTORS[:1]},
        {"class_embeddings": VECTORS * 2},
        {"class_embeddings": VECTORS * np.float32(np.nan)},
    ],
    ids=["missing", "one more", "float64", "float16", "1 axis", "0 wide", "1 row", "not unit norm", "NaN"],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays):
    with pytest.raises(ClassifierFileError):
        load_classifier(write(tmp_path / "c", arrays))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a": ' + "9" * 10_000 + "}"], ids=range(5))
def test_a_description_that_is_no_json_table_is_refused(tmp_path, text):
    with pytest.raises(ClassifierFileError):
        load_classifier(write(tmp_path / "c", text=text))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 8, b"\xff" * 64, pickle.dumps({"a": 1}), save({"a": VECTORS}), save({"a": VECTORS})[:-1]],
    ids=["empty", "zeros", "a length that lies", "a pickle", "no description", "truncated"],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(ClassifierFileError) as caught:
        load_classifier(tmp_path / "c")
    assert caught.value.hint


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
    with (tmp_path / "c").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ClassifierFileError, match="at most 67,108,864 bytes"):
        load_classifier(tmp_path / "c")


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path, name):
    with pytest.raises(ClassifierFileError, match="cannot read the classifier"):
        load_classifier(tmp_path / name)
