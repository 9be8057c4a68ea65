"""Classifier files: what is written is read back bit for bit, and whatever else lies there is refused."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
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


def forge(path, header, body=b""):
    """Write a safetensors file by hand: the header's length, the header, the bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def header(dtype="F32", shape=(2, 8), offsets=(0, 64), **facts):
    described = {"clipsieve": json.dumps(describe_classifier(HEAD) | facts)}
    return {"__metadata__": described, "class_embeddings": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_the_specification_suffices_to_write_a_file(tmp_path):
    found = load_classifier(forge(tmp_path / "c", header(), VECTORS.tobytes()))
    np.testing.assert_array_equal(found.class_embeddings, VECTORS)


@pytest.mark.parametrize(
    ("changes", "n_bytes"),
    [
        ({"dtype": "BF16", "offsets": (0, 32)}, 32),
        ({"dtype": "F8_E4M3", "offsets": (0, 16)}, 16),
        ({"dtype": "BOOL", "offsets": (0, 16)}, 16),
        ({"dtype": "F4", "offsets": (0, 8)}, 8),
        ({"dtype": "object"}, 64),
        ({"shape": (2, -8)}, 64),
        ({"shape": (2**40, 2**40)}, 64),
        ({"shape": (2, 9)}, 64),
        ({"shape": "2"}, 64),
        ({"offsets": (0, 2**60)}, 64),
        ({"offsets": (64, 0)}, 64),
        ({"offsets": (-1, 63)}, 64),
        ({}, 63),
        ({}, 65),
    ],
    ids=repr,
)
def test_a_forged_header_is_refused(tmp_path, changes, n_bytes):
    with pytest.raises(ClassifierFileError, match="is no classifier that can be read"):
        load_classifier(forge(tmp_path / "c", header(**changes), bytes(n_bytes)))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"[" * 50_000, b'{"a":' * 50_000, b"\xff" * 20, b'{"__metadata__": {"clipsieve": 5}}'],
    ids=["empty", "cut", "list", "null", "deep lists", "deep tables", "no UTF-8", "no text"],
)
def test_a_header_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(ClassifierFileError):
        load_classifier(forge(tmp_path / "c", text, VECTORS.tobytes()))


@pytest.mark.parametrize("nested", ["[", '{"a":', "[{"])
def test_tables_within_tables_are_refused(tmp_path, nested):
    text = json.dumps(describe_classifier(HEAD)).replace('"provenance": {', '"provenance": {"x": ' + nested * 30_000)
    with pytest.raises(ClassifierFileError):
        load_classifier(write(tmp_path / "c", text=text))


def test_numbers_beyond_all_measure_are_refused(tmp_path):
    text = json.dumps(describe_classifier(HEAD)).replace('"threshold": 0.25', '"threshold": 1' + "0" * 400)
    with pytest.raises(ClassifierFileError):
        load_classifier(write(tmp_path / "c", text=text))


def test_a_file_cut_at_any_byte_is_refused(tmp_path):
    save_classifier(HEAD, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for n in range(len(content)):
        (tmp_path / "c").write_bytes(content[:n])
        with pytest.raises(ClassifierFileError):
            load_classifier(tmp_path / "c")


@pytest.mark.parametrize("layout", ["C", "F"])
def test_rows_are_written_in_order_however_they_lie_in_memory(tmp_path, layout):
    rows = np.asarray(np.random.default_rng(0).normal(size=(3, 5)), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    head = SoftPrompts(np.array(rows, order=layout), ("a", "b", "c"), (False, True, True), "m")
    save_classifier(head, tmp_path / "c")
    assert load_classifier(tmp_path / "c").class_embeddings.tobytes() == rows.tobytes()


@pytest.mark.parametrize("name", ["file/c", "x" * 300, "missing/c", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ClassifierFileError, match="cannot write") as caught:
        save_classifier(HEAD, tmp_path / name)
    assert caught.value.state == "nothing was written"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails after the file was begun."""
    save_classifier(HEAD, tmp_path / "c")
    before = (tmp_path / "c").read_bytes()
    program = (
        "import resource, signal, sys\n"
        "from clipsieve.classifiers import load_classifier, save_classifier\n"
        "from clipsieve.errors import ClassifierFileError\n"
        "head = load_classifier(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n"
        "    save_classifier(head, sys.argv[1])\n"
        "except ClassifierFileError as error:\n"
        "    print(error.what)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write `{tmp_path / 'c'}`: File too large\n"
    assert (tmp_path / "c").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_the_specification_names_every_key(tmp_path):
    save_classifier(HEAD, tmp_path / "c")
    with safe_open(tmp_path / "c", framework="numpy") as file:
        assert set(file.metadata()) == {"clipsieve"}
        written = set(json.loads(file.metadata()["clipsieve"]))
    page = Path(__file__).parents[2] / "docs/concepts/classifiers.md"
    assert set(re.findall(r"^\| `([a-z0-9_]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)) == written
