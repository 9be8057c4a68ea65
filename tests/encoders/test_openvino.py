"""OpenVINO on whole model folders: the same rows as ONNX Runtime's, bfloat16 near them, and refusals in words."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from clipsieve.encoders import load_encoder
from clipsieve.encoders.openvino import OpenVinoGraph, require_openvino
from clipsieve.encoders.quantize_towers import Towers
from clipsieve.errors import ModelFileError, ModelNotFoundError, UsageError
from model_folders import KINDS, SIDE, WIDTH, image_graph, images, make_onnx_folder, write_json

pytest.importorskip("openvino")

PIXELS = images(9)


def bf16_or_skip() -> None:
    try:
        require_openvino("bf16")
    except UsageError as error:
        pytest.skip(error.what)


def encode(folder: Path, **options: object) -> tuple[np.ndarray, np.ndarray]:
    with load_encoder(str(folder), threads=1, **options) as encoder:
        return encoder.encode_images(PIXELS), encoder.encode_texts(["a red dog", "cat"])


@pytest.mark.parametrize("kind", KINDS)
def test_both_runtimes_give_the_same_rows(tmp_path, kind):
    folder = make_onnx_folder(tmp_path / "m", kind)
    one, other = encode(folder), encode(folder, backend="openvino")
    np.testing.assert_allclose(one[0], other[0], atol=1e-5)
    np.testing.assert_array_equal(one[1], other[1])


def test_fp32_is_the_same_encoder_in_both_runtimes_and_bf16_is_another(tmp_path):
    bf16_or_skip()
    folder = str(make_onnx_folder(tmp_path / "m"))
    one, other, rough = (
        load_encoder(folder, **options).identity for options in ({}, {"backend": "openvino"}, {"precision": "bf16"})
    )
    assert one == other
    assert (one.precision, rough.precision) == ("fp32", "bf16")
    assert one.weights_sha256 == rough.weights_sha256
    assert one.fingerprint != rough.fingerprint


def test_bf16_is_near_fp32_and_is_not_fp32(tmp_path):
    bf16_or_skip()
    folder = make_onnx_folder(tmp_path / "m")
    (exact, exact_texts), (rough, rough_texts) = encode(folder), encode(folder, precision="bf16")
    assert (exact * rough).sum(axis=1).min() > 0.999
    assert np.abs(exact - rough).max() > 1e-4  # a runtime that takes fp32 silently would be as near as 1e-6
    np.testing.assert_array_equal(exact_texts, rough_texts)


def test_the_embedded_model_in_bf16():
    bf16_or_skip()
    with load_encoder(threads=2) as exact, load_encoder(precision="bf16", threads=2) as rough:
        side = exact.recipe.size_px
        pixels = np.random.default_rng(0).integers(0, 256, (20, side, side, 3), dtype=np.uint8)
        assert (exact.encode_images(pixels) * rough.encode_images(pixels)).sum(axis=1).min() > 0.999


def test_weights_beside_a_graph_are_found(tmp_path):
    folder = make_onnx_folder(tmp_path / "m")
    before = encode(folder)[0]
    model = onnx.load(folder / "visual/model.onnx")
    onnx.save(model, folder / "visual/model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    np.testing.assert_allclose(encode(folder, backend="openvino")[0], before, atol=1e-5)
    (folder / "visual/model.data").unlink()
    with pytest.raises(ModelFileError, match=r"visual/model\.onnx"):
        encode(folder, backend="openvino")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "a folder"])
def test_a_damaged_graph_is_named(tmp_path, damage):
    folder = make_onnx_folder(tmp_path / "m")
    graph = folder / "visual/model.onnx"
    whole = graph.read_bytes()
    graph.unlink()
    if damage == "a folder":
        graph.mkdir()
    else:
        graph.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"<!doctype html>"}[damage])
    with pytest.raises(ModelFileError, match=r"visual/model\.onnx"):
        encode(folder, backend="openvino")


def test_a_graph_of_another_kind_is_named(tmp_path):
    folder = make_onnx_folder(tmp_path / "name")
    onnx.save(image_graph(name="pixel_values"), folder / "visual/model.onnx")
    with pytest.raises(ModelFileError, match="other inputs") as caught:
        encode(folder, backend="openvino")
    assert caught.value.found == "`pixel_values`"
    onnx.save(image_graph(width=WIDTH + 1), folder / "visual/model.onnx")
    with pytest.raises(ModelFileError, match="another shape"):
        encode(folder, backend="openvino")
    folder = make_onnx_folder(tmp_path / "side")
    recipe = {"size": SIDE + 1, "mean": [0.5] * 3, "std": [0.5] * 3}
    write_json(folder / "visual/preprocess_cfg.json", recipe)
    with load_encoder(str(folder), backend="openvino") as encoder, pytest.raises(ModelFileError, match="cannot be run"):
        encoder.encode_images(images(2, SIDE + 1))


def test_what_does_not_go_together_is_refused_before_anything_is_loaded(tmp_path):
    folder = str(make_onnx_folder(tmp_path / "m"))
    for options, word in [
        ({"backend": "openvino", "precision": "fp16"}, "fp16"),
        ({"backend": "openvino", "precision": "int3"}, "int3"),
        ({"backend": "openvino", "device": "cuda"}, "cuda"),
        ({"precision": "int3"}, "int3"),
        ({"backend": "onnx", "precision": "bf16"}, "bf16"),
        ({"backend": "onnx", "precision": "int8"}, "int8"),
        ({"device": "cuda", "precision": "bf16"}, "bf16"),
    ]:
        with pytest.raises(UsageError, match=word):
            load_encoder(folder, **options)


def test_a_processor_without_the_instructions_is_refused_in_words(monkeypatch):
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(UsageError, match="no instructions for bf16") as caught:
        require_openvino("bf16")
    assert caught.value.found == "FP32, INT8"
    assert "int8" in str(caught.value.hint)
    require_openvino("int8")
    require_openvino("fp32")


def test_the_graph_is_run_with_a_thread_for_each_call(tmp_path):
    onnx.save(image_graph(), tmp_path / "model.onnx")
    compiled = OpenVinoGraph(tmp_path / "model.onnx", 2)._compiled
    found = {name: compiled.get_property(name) for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS")}
    assert found["INFERENCE_NUM_THREADS"] == min(2, os.cpu_count() or 1)
    assert found["NUM_STREAMS"] == min(2, os.cpu_count() or 1)


def test_requests_are_used_again(tmp_path):
    onnx.save(image_graph(), tmp_path / "model.onnx")
    graph = OpenVinoGraph(tmp_path / "model.onnx", 1)
    batch = np.zeros((2, 3, SIDE, SIDE), dtype=np.float32)
    rows = graph.run("image", batch)
    kept = rows.copy()
    for _ in range(3):
        graph.run("image", batch + 1)
    np.testing.assert_array_equal(rows, kept)  # in memory of its own
    assert len(graph._free) == 1


class TestInt8:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "home"))
        return make_onnx_folder(tmp_path / "m")

    @pytest.fixture
    def other(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Give a graph that is taken for the folder's in int8: rows tell which graph is run."""
        graph = folder.parent / "int8/model.onnx"
        graph.parent.mkdir()
        onnx.save(image_graph(seed=5), graph)
        monkeypatch.setattr(Towers, "current", "int8-0123456789ab")
        monkeypatch.setattr(Towers, "graph", lambda *_: graph)
        return graph

    def test_a_model_that_was_never_quantized_is_refused_with_what_to_do(self, folder):
        with pytest.raises(ModelNotFoundError, match="no int8 form of `m`") as caught:
            load_encoder(str(folder), precision="int8")
        assert "models quantize" in str(caught.value.hint)

    def test_the_quantized_image_tower_is_run_and_the_folders_text_tower(self, folder, other, tmp_path):
        rows, texts = encode(folder, precision="int8")
        expected = encode(make_onnx_folder(tmp_path / "expected", seed=5))[0]
        np.testing.assert_allclose(rows, expected, atol=1e-5)
        np.testing.assert_array_equal(texts, encode(folder)[1])

    def test_the_identity_is_that_of_what_is_run(self, folder, other):
        first = load_encoder(str(folder), precision="int8").identity
        assert re.fullmatch("int8-[0-9a-f]{12}", first.precision)
        # A classifier goes with the weights, in any precision: so does one for these embeddings.
        assert first.weights_sha256 == load_encoder(str(folder)).identity.weights_sha256
        moved = shutil.copytree(other.parent, folder.parent / "elsewhere")
        (moved / "facts.json").write_text("{}")  # no weights
        shutil.rmtree(other.parent)
        moved.rename(other.parent)
        assert load_encoder(str(folder), precision="int8").identity == first
        (folder / "textual/model.onnx").write_bytes(b"other")
        texts = load_encoder(str(folder), precision="int8").identity
        onnx.save(image_graph(seed=6), other)
        both = load_encoder(str(folder), precision="int8").identity
        assert len({identity.fingerprint for identity in (first, texts, both)}) == 3


def test_a_model_of_transformers_is_sent_to_be_exported(tmp_path):
    write_json(tmp_path / "m/config.json", {"model_type": "clip"})
    (tmp_path / "m/model.safetensors").write_bytes(b"")
    for options in ({"backend": "openvino"}, {"precision": "int8"}):
        with pytest.raises(ModelFileError, match="no graphs") as caught:
            load_encoder(str(tmp_path / "m"), **options)
        assert caught.value.found == "model.safetensors"
        assert f"clipsieve models export {tmp_path / 'm'}" in str(caught.value.hint)


def test_loading_openvino_is_left_to_those_who_want_it(tmp_path):
    folder = make_onnx_folder(tmp_path / "m")
    code = """if True:
        import sys
        from clipsieve import load_encoder
        with load_encoder(sys.argv[1]) as encoder:
            encoder.encode_texts(["a"])
        sys.exit("loaded" if "openvino" in sys.modules else None)"""
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


FIRST_CALLS = """
import sys, threading
import numpy as np
from pathlib import Path
from clipsieve.encoders.openvino import OpenVinoGraph
sys.setswitchinterval(1e-6)  # so that what can go wrong between two threads does so more often
graph = OpenVinoGraph(Path(sys.argv[1]) / "visual/model.onnx", 2)
(takes,) = graph.inputs
pixels = np.zeros([1 if side is None else side for side in takes.shape], takes.dtype)
start = threading.Barrier(2)

def call():
    start.wait()
    graph.run(takes.name, pixels)

threads = [threading.Thread(target=call) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_two_first_calls_at_once_do_not_wait_for_each_other(tmp_path):
    folder = make_onnx_folder(tmp_path / "m")
    for _ in range(12):
        subprocess.run([sys.executable, "-c", FIRST_CALLS, str(folder)], check=True, timeout=60)
