"""The ONNX backend on whole model folders, and on folders that somebody damaged."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from clipsieve.encoders import load_encoder
from clipsieve.encoders.onnx import OnnxEncoder, OnnxRuntimeGraph
from clipsieve.encoders.tower import Normalizer
from clipsieve.errors import ModelFileError, UsageError
from clipsieve.types import Preprocessing
from model_folders import KINDS, SIDE, WIDTH, image_graph, images, make_onnx_folder, text_graph, write_json

PIXELS = images(9)


def encode(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with load_encoder(str(folder), threads=1) as encoder:
        return encoder.encode_images(PIXELS), encoder.encode_texts(["a red dog", "cat"])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_kind_of_graph_gives_the_same_rows(tmp_path, kind):
    one, other = encode(make_onnx_folder(tmp_path / "a")), encode(make_onnx_folder(tmp_path / "b", kind))
    np.testing.assert_allclose(one[0], other[0], atol=1e-5)
    np.testing.assert_allclose(one[1], other[1], atol=1e-5)


def test_a_graph_may_take_int64_ids(tmp_path):
    one, other = encode(make_onnx_folder(tmp_path / "a")), encode(make_onnx_folder(tmp_path / "b", int64=True))
    np.testing.assert_allclose(one[1], other[1], atol=1e-6)


def test_the_recipe_is_applied(tmp_path):
    folder = make_onnx_folder(tmp_path / "a")
    before = encode(folder)[0]
    recipe = json.loads((folder / "visual/preprocess_cfg.json").read_text())
    for change in ({"mean": [0.5, 0.5, 0.5]}, {"std": [0.5, 0.5, 0.5]}):
        write_json(folder / "visual/preprocess_cfg.json", recipe | change)
        assert (encode(folder)[0] * before).sum(axis=1).min() < 0.9999


def test_weights_beside_a_graph_count_for_the_identity(tmp_path):
    folder = make_onnx_folder(tmp_path / "a")
    model = onnx.load(folder / "visual/model.onnx")
    onnx.save(model, folder / "visual/model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    expected = encode(make_onnx_folder(tmp_path / "b"))[0]
    np.testing.assert_allclose(encode(folder)[0], expected, atol=1e-6)
    before = load_encoder(str(folder)).identity
    data = bytearray((folder / "visual/model.data").read_bytes())
    data[100] ^= 1
    (folder / "visual/model.data").write_bytes(data)
    assert load_encoder(str(folder)).identity.fingerprint != before.fingerprint
    (folder / "visual/README.md").write_text("no weights")
    (folder / "visual/model.data").unlink()
    with pytest.raises(ModelFileError, match=r"visual/model\.onnx"):
        encode(folder)


def test_weights_that_are_not_numbers_give_rows_that_are_not(tmp_path):
    folder = make_onnx_folder(tmp_path / "m")
    model = onnx.load(folder / "visual/model.onnx")
    broken = np.full((3 * SIDE * SIDE, 32), np.nan, dtype=np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(broken, "w1"))
    (folder / "visual/model.onnx").write_bytes(model.SerializeToString())
    assert np.isnan(encode(folder)[0]).all()


def test_a_scan_never_loads_the_text_tower(tmp_path):
    folder = make_onnx_folder(tmp_path / "m")
    (folder / "textual/model.onnx").write_bytes(b"damaged")
    with load_encoder(str(folder), threads=1) as encoder:
        assert encoder.encode_images(PIXELS).shape == (9, WIDTH)
        with pytest.raises(ModelFileError, match=r"textual/model\.onnx"):
            encoder.encode_texts(["a"])


@pytest.mark.parametrize("tower", ["visual", "textual"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "a folder"])
def test_a_damaged_graph_is_named(tmp_path, tower, damage):
    folder = make_onnx_folder(tmp_path / "m")
    graph = folder / tower / "model.onnx"
    whole = graph.read_bytes()
    graph.unlink()
    if damage == "a folder":
        graph.mkdir()
    else:
        graph.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"<!doctype html>"}[damage])
    with pytest.raises(ModelFileError, match=rf"{tower}/model\.onnx"):
        encode(folder)


@pytest.mark.parametrize("tower", ["visual", "textual"])
def test_a_graph_with_other_inputs_is_named(tmp_path, tower):
    folder = make_onnx_folder(tmp_path / "m")
    graph = image_graph(name="pixel_values") if tower == "visual" else text_graph(name="input_ids")
    onnx.save(graph, folder / tower / "model.onnx")
    with pytest.raises(ModelFileError, match="other inputs") as caught:
        encode(folder)
    assert f"{tower}/model.onnx" in caught.value.what
    assert caught.value.found in ("`pixel_values`", "`input_ids`")


@pytest.mark.parametrize("tower", ["visual", "textual"])
def test_a_graph_of_another_width_is_named(tmp_path, tower):
    folder = make_onnx_folder(tmp_path / "m")
    graph = image_graph(width=WIDTH + 1) if tower == "visual" else text_graph(width=WIDTH + 1)
    onnx.save(graph, folder / tower / "model.onnx")
    with pytest.raises(ModelFileError, match="another shape") as caught:
        encode(folder)
    assert f"{tower}/model.onnx" in caught.value.what


def test_a_config_with_another_width_than_the_graphs_is_refused(tmp_path):
    folder = make_onnx_folder(tmp_path / "m")
    write_json(folder / "config.json", {"embed_dim": WIDTH + 1, "text_cfg": {"context_length": 12}})
    with pytest.raises(ModelFileError, match="another shape"):
        encode(folder)


def test_settings_that_do_not_fit_the_graphs_are_refused_in_words(tmp_path):
    folder = make_onnx_folder(tmp_path / "context")
    write_json(folder / "config.json", {"embed_dim": WIDTH, "text_cfg": {"context_length": 13}})
    with pytest.raises(ModelFileError, match=r"textual/model\.onnx"):
        encode(folder)
    folder = make_onnx_folder(tmp_path / "side")
    recipe = json.loads((folder / "visual/preprocess_cfg.json").read_text())
    write_json(folder / "visual/preprocess_cfg.json", recipe | {"size": SIDE + 1})
    with load_encoder(str(folder)) as encoder, pytest.raises(ModelFileError, match=r"visual/model\.onnx"):
        encoder.encode_images(images(2, SIDE + 1))


def test_a_tokenizer_with_more_tokens_than_the_graph_is_refused_in_words(tmp_path):
    folder = make_onnx_folder(tmp_path / "m")
    tokenizer = json.loads((folder / "textual/tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["a"] = 999_999
    write_json(folder / "textual/tokenizer.json", tokenizer)
    with pytest.raises(ModelFileError, match=r"textual/model\.onnx"):
        encode(folder)


def test_usage_errors(tmp_path):
    folder = str(make_onnx_folder(tmp_path / "m"))
    with pytest.raises(UsageError, match="fp16"):
        load_encoder(folder, precision="fp16")
    with pytest.raises(UsageError, match="cuda"):
        load_encoder(folder, device="cuda")


def test_bytes_are_normalized_as_the_formula_says_to_the_bit():
    recipe = Preprocessing(SIDE, "shortest", "bicubic", (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    mean, std = np.array(recipe.mean, np.float32), np.array(recipe.std, np.float32)
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(4, SIDE, SIDE, 3)
    expected = (every * (1 / (255 * std)) - mean / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        expected, (every / 255 - recipe.mean).transpose(0, 3, 1, 2) / std.reshape(3, 1, 1), atol=1e-6
    )
    with Normalizer(recipe)(every) as floats:
        assert floats.flags.c_contiguous
        assert floats.dtype == np.float32
        np.testing.assert_array_equal(floats, expected)


def test_buffers_are_used_again_and_never_by_two_at_once():
    normalizer = Normalizer(Preprocessing(SIDE, "shortest", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    with normalizer(images(4)) as first, normalizer(images(4, seed=1)) as second:
        assert not np.shares_memory(first, second)
        kept = second.copy()
    with normalizer(images(4, seed=1)[:3]) as third:
        assert np.shares_memory(third, first) or np.shares_memory(third, second)
        np.testing.assert_array_equal(third, kept[:3])
    with normalizer(images(0)) as nothing:
        assert nothing.shape == (0, 3, SIDE, SIDE)


def test_threads_that_come_first_at_once_load_the_graph_once(tmp_path):
    opened = []

    def open_graph(path: Path, n_parallel: int) -> OnnxRuntimeGraph:
        opened.append(n_parallel)
        return OnnxRuntimeGraph(path, 1)

    folder = make_onnx_folder(tmp_path / "m")
    with OnnxEncoder(folder, name="m", location="m", threads=4, open_image_graph=open_graph) as encoder:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(encoder.encode_images, [PIXELS] * 8))
        assert opened == [4]
        encoder.close()
        encoder.encode_images(PIXELS)
        assert opened == [4, 4]


def test_as_many_calls_at_once_as_the_process_has_cores(tmp_path):
    encoder = load_encoder(str(make_onnx_folder(tmp_path / "m")))
    assert encoder.n_parallel == len(os.sched_getaffinity(0))
    assert load_encoder(encoder.location, threads=3).n_parallel == 3
