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

from clipsieve.classifiers import (
    Isotonic,
    Layer,
    LinearProbe,
    Network,
    Platt,
    SoftPrompts,
    ZeroShot,
    describe_classifier,
    load_classifier,
    save_classifier,
)
from clipsieve.classifiers.files import FORMAT_VERSION, MAX_BYTES, METHODS
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


def layer(n_out, n_in, activation):
    drawn = np.random.default_rng(n_in).normal(size=(n_out, n_in + 1)).astype(np.float32)
    return Layer(np.ascontiguousarray(drawn[:, 1:]), np.ascontiguousarray(drawn[:, 0]), activation)


COMMON = {"class_names": ("good", "bad"), "unwanted": (False, True), "encoder_name": "m"}
SCALE = {"input_mean": np.full(8, 0.1, np.float32), "input_scale": np.arange(1, 9, dtype=np.float32)}
KNOTS = Isotonic((-2.5, 0.1, 1e6), (0.0, 0.5, 1.0))
EACH = [
    ZeroShot(VECTORS, **COMMON),
    SoftPrompts(VECTORS, **COMMON, calibration=Platt(0.1, -2.5), remove_threshold=0.75),
    LinearProbe(10 * VECTORS, np.array([0.5, -0.5], np.float32), **COMMON),
    LinearProbe(10 * VECTORS, np.array([0.5, -0.5], np.float32), **COMMON, calibration=KNOTS, remove_threshold=0.5),
    Network((layer(1, 8, "sigmoid"),), **COMMON),
    Network((layer(5, 8, "relu"), layer(4, 5, "linear"), layer(1, 4, "sigmoid")), **COMMON, **SCALE),
    Network((layer(5, 8, "relu"), layer(2, 5, "softmax")), **COMMON, calibration=Platt(2.0, 0.0)),
    Network((layer(1, 8, "linear"),), **COMMON, score_midpoint=4.5, provenance={"score": "x"}),
]


@pytest.mark.parametrize("head", EACH, ids=lambda head: head.method)
def test_every_kind_comes_back_bit_for_bit(tmp_path, head):
    save_classifier(head, tmp_path / "c")
    found = load_classifier(tmp_path / "c")
    assert type(found) is type(head)
    assert describe_classifier(found) == describe_classifier(head)
    assert {name: values.tobytes() for name, values in found.arrays().items()} == {
        name: values.tobytes() for name, values in head.arrays().items()
    }
    save_classifier(found, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "c").read_bytes()


def test_every_method_is_among_them():
    assert {head.method for head in EACH} == set(METHODS)


@pytest.mark.parametrize("head", EACH[2:], ids=lambda head: head.method)
@pytest.mark.parametrize("spoil", ["drop", "add", "float64", "NaN", "fewer rows"])
def test_arrays_of_every_kind_must_fit(tmp_path, head, spoil):
    facts, arrays = describe_classifier(head), dict(head.arrays())
    name = max(arrays)
    arrays[name] = {
        "float64": arrays[name].astype(np.float64),
        "NaN": arrays[name] * np.float32(np.nan),
        "fewer rows": arrays[name][:-1],
    }.get(spoil, arrays[name])
    if spoil == "drop":
        del arrays[name]
    if spoil == "add":
        arrays["other"] = VECTORS
    with pytest.raises(ClassifierFileError):
        load_classifier(write(tmp_path / "c", arrays or {"other": VECTORS}, json.dumps(facts)))


VERSION_1 = (
    b'{"__metadata__":{"clipsieve":"{\\"calibration\\": null, \\"class_names\\": [\\"good\\", \\"bad\\"], '
    b'\\"clipsieve_version\\": \\"0.1.0\\", \\"embedding_dim\\": 4, \\"encoder_name\\": \\"ViT-B-32__openai\\", '
    b'\\"encoder_weights_sha256\\": null, \\"format_version\\": 1, \\"logit_scale\\": 50.0, \\"method\\": '
    b'\\"soft-prompts\\", \\"provenance\\": {\\"metrics\\": {\\"auc\\": 0.9}}, \\"threshold\\": 0.25, '
    b'\\"unwanted\\": [false, true]}"},"class_embeddings":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]}}'
)
ROWS_1 = bytes.fromhex("9a99193f cdcc4c3f 00000000 00000000 00000000 00000000 cdcc4c3f 9a9919bf")


def test_a_file_of_version_1_still_opens(tmp_path):
    """Byte by byte as the first version wrote it, with the probabilities that it gave: 50 x 0.64 against 50 x 0.48, and so on."""
    found = load_classifier(forge(tmp_path / "c", VERSION_1, ROWS_1))
    assert type(found) is SoftPrompts
    assert found.class_embeddings.tobytes() == ROWS_1
    assert (found.encoder_name, found.encoder_weights_sha256) == ("ViT-B-32__openai", None)
    assert (found.logit_scale, found.threshold, found.provenance) == (50.0, 0.25, {"metrics": {"auc": 0.9}})
    assert (found.calibration, found.remove_threshold, found.parameters()) == (None, None, {})
    x = np.array([[0, 0.8, 0.6, 0], [0, 0.6, 0.8, 0], [0.5, 0.5, 0.5, -0.5]], dtype=np.float32)
    np.testing.assert_allclose(
        found.predict_proba(x)[:, 1], [1 / (1 + np.exp(8)), 1 / (1 + np.exp(-8)), 0.5], rtol=1e-5
    )


def test_a_file_of_version_1_is_written_again_as_version_2(tmp_path):
    save_classifier(load_classifier(forge(tmp_path / "c", VERSION_1, ROWS_1)), tmp_path / "new")
    assert load_classifier(tmp_path / "new").class_embeddings.tobytes() == ROWS_1
    with safe_open(tmp_path / "new", framework="numpy") as file:
        assert json.loads(file.metadata()["clipsieve"])["format_version"] == 2


def test_a_file_of_version_2_needs_what_came_with_it(tmp_path):
    with pytest.raises(ClassifierFileError):
        load_classifier(forge(tmp_path / "c", VERSION_1.replace(b'version\\": 1', b'version\\": 2'), ROWS_1))


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
    right = [("encoder_weights_sha256", None), ("remove_threshold", None), ("provenance", {"a": 1})]
    if (name, value) in right:
        return
    with pytest.raises(ClassifierFileError, match="is no classifier that can be read"):
        load_classifier(write(tmp_path / "c", **{name: value}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 0},
        {"format_version": FORMAT_VERSION + 1},
        {"format_version": "2"},
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
        {"remove_threshold": 0.2},
        {"remove_threshold": 1.5},
        {"remove_threshold": float("nan")},
        {"parameters": {"activations": ["linear"]}},
        {"calibration": []},
        {"calibration": {}},
        {"calibration": {"method": "platt"}},
        {"calibration": {"method": "magic", "slope": 1.0, "intercept": 0.0}},
        {"calibration": {"method": "platt", "slope": -1.0, "intercept": 0.0}},
        {"calibration": {"method": "platt", "slope": 1.0, "intercept": float("nan")}},
        {"calibration": {"method": "platt", "slope": 10**400, "intercept": 0.0}},
        {"calibration": {"method": "platt", "slope": [1.0], "intercept": 0.0}},
        {"calibration": {"method": "isotonic", "margins": [1.0, 0.0], "probabilities": [0.1, 0.9]}},
        {"calibration": {"method": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.9, 0.1]}},
        {"calibration": {"method": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.1]}},
        {"calibration": {"method": "isotonic", "margins": [[0.0]], "probabilities": [0.1]}},
        {"method": "linear-probe"},
        {"method": "network"},
    ],
    ids=lambda changes: repr(changes)[:90],
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
    section = page.read_text(encoding="utf-8").split("\n## The file\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z0-9_]+)` \|", section, re.MULTILINE)) == written


@pytest.mark.parametrize("head", EACH, ids=lambda head: head.method)
def test_the_specification_names_every_method_array_and_parameter(head):
    page = (Path(__file__).parents[2] / "docs/concepts/classifiers.md").read_text(encoding="utf-8")
    section = page.split("\n## The file\n")[1].split("\n## ")[0]
    arrays = {name for name in head.arrays() if not re.match(r"layer[2-9]|layer1\.bias", name)}
    calibration = head.calibration.to_json() if head.calibration else {}
    for word in {head.method} | arrays | set(head.parameters()):
        assert f"`{word}`" in section, word
    for word in calibration:
        assert f'"{word}"' in section, word
