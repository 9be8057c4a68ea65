import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from clipsieve.encoders import load_encoder
from clipsieve.errors import ModelFileError, ModelNotFoundError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
from model_folders import DIM, KINDS, SIDE, write_folder, write_json

PIXELS = np.random.default_rng(1).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)


def encode(folder):
    with load_encoder(str(folder), threads=1) as encoder:
        return encoder.encode_images(PIXELS), encoder.encode_texts(["a red dog", "cat"])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_kind_of_graph_gives_the_same_rows(tmp_path, kind):
    for one, other in zip(
        encode(write_folder(tmp_path / "a")), encode(write_folder(tmp_path / "b", kind)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_graph_may_take_int64_ids(tmp_path):
    wide = write_folder(tmp_path / "b", text_type=TensorProto.INT64)
    np.testing.assert_allclose(encode(write_folder(tmp_path / "a"))[1], encode(wide)[1], atol=1e-6)


def test_weights_that_are_not_numbers_give_rows_that_are_not(tmp_path):
    folder = write_folder(tmp_path / "m")
    model = onnx.load(folder / "visual/model.onnx")
    broken = np.full((3 * SIDE * SIDE, DIM), np.nan, dtype=np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(broken, "weights"))
    (folder / "visual/model.onnx").write_bytes(model.SerializeToString())
    assert np.isnan(encode(folder)[0]).all()


def test_a_scan_never_loads_the_text_tower(tmp_path):
    folder = write_folder(tmp_path / "m")
    (folder / "textual/model.onnx").write_bytes(b"damaged")
    with load_encoder(str(folder), threads=1) as encoder:
        assert encoder.encode_images(PIXELS).shape == (9, DIM)
        with pytest.raises(ModelFileError, match=r"textual/model\.onnx"):
            encoder.encode_texts(["a"])


@pytest.mark.parametrize(
    "name",
    ["config.json", "visual/model.onnx", "textual/model.onnx", "visual/preprocess_cfg.json", "textual/tokenizer.json"],
)
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_folder(tmp_path / "m")
    (folder / name).unlink()
    with pytest.raises(ModelFileError) as caught:
        load_encoder(str(folder))
    assert f"without {name}" in str(caught.value)
    assert "hint: " in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "visual/preprocess_cfg.json", "textual/tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"\xff\xfe", b"{}"])
def test_settings_that_make_no_sense_are_refused(tmp_path, name, content):
    folder = write_folder(tmp_path / "m")
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFileError, match="cannot"):
        load_encoder(str(folder))


@pytest.mark.parametrize(
    "change", [{"size": [8, 9]}, {"std": [0, 1, 1]}, {"mean": [1]}, {"resize_mode": "x"}, {"size": 0}, {"size": []}]
)
def test_a_recipe_that_cannot_be_followed_is_refused(tmp_path, change):
    folder = write_folder(tmp_path / "m")
    recipe = {"size": 8, "mean": [0, 0, 0], "std": [1, 1, 1]} | change
    write_json(folder / "visual/preprocess_cfg.json", recipe)
    with pytest.raises(ModelFileError):
        load_encoder(str(folder))


def test_a_graph_of_another_width_is_refused(tmp_path):
    folder = write_folder(tmp_path / "m")
    write_json(folder / "config.json", {"embed_dim": DIM + 1, "text_cfg": {"context_length": 5}})
    with pytest.raises(ModelFileError, match="another shape"):
        encode(folder)


def test_what_changes_the_embeddings_changes_the_identity(tmp_path):
    one, other = (load_encoder(str(write_folder(tmp_path / str(s), seed=s))).identity for s in (0, 1))
    assert one.weights_sha256 != other.weights_sha256
    assert one.fingerprint != other.fingerprint


def test_usage_errors(tmp_path):
    folder = str(write_folder(tmp_path / "m"))
    with pytest.raises(UsageError, match="fp16"):
        load_encoder(folder, precision="fp16")
    with load_encoder(folder, device="cuda") as encoder, pytest.raises(UsageError, match="cuda"):
        encoder.encode_images(PIXELS)


def test_places_that_hold_no_model(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ModelFileError, match="holds no model") as caught:
        load_encoder(str(tmp_path))
    assert "model.bin" in str(caught.value)
    with pytest.raises(ModelNotFoundError, match="no model folder"):
        load_encoder(str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFoundError, match="there is no model `pictogramm`"):
        load_encoder("pictogramm")
