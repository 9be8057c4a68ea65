"""The torch backend on folders as transformers saves them, and on folders that somebody damaged."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipsieve.encoders import load_encoder, model_info
from clipsieve.errors import ModelError, ModelFileError, UsageError
from clipsieve.types import Preprocessing
from model_folders import CONTEXT, END, SIDE, WIDTH, images, make_torch_folder, write_json

pytestmark = pytest.mark.torch

NEEDED = ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_torch_folder(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "clip")


def change(folder: Path, name: str, **items: object) -> None:
    value = json.loads((folder / name).read_text()) | items
    write_json(folder / name, {key: item for key, item in value.items() if item is not None})


def encode(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with load_encoder(str(folder), device="cpu", threads=1) as encoder:
        return encoder.encode_images(images(2)), encoder.encode_texts(["a red dog", "cat"])


def test_a_whole_folder(whole):
    info = model_info(str(whole))
    assert (info.backend, info.identity.embedding_dim, info.identity.precision) == ("torch", WIDTH, "fp32")
    assert info.identity.preprocessing.size_px == SIDE
    assert info.logit_scale == pytest.approx(np.exp(2.6592), rel=1e-4)
    assert set(info.files) >= set(NEEDED)


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelFileError) as caught:
        load_encoder(str(folder), backend="torch", device="cpu")
    assert name.replace("model.s", "*.s") in str(caught.value.found)


def test_pickled_weights_are_not_loaded(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelFileError) as caught:
        load_encoder(str(folder))
    assert "pytorch_model.bin" in str(caught.value)
    (folder / "other.safetensors").write_bytes(b"")
    with pytest.raises(ModelFileError):
        encode(folder)


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_weights_are_refused(folder, damage):
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"<!doctype html>"}[damage])
    with pytest.raises(ModelFileError, match="cannot load the weights"):
        encode(folder)


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["hidden_size"] = 64
    write_json(folder / "config.json", config)
    with pytest.raises(ModelFileError):
        encode(folder)


def test_missing_weights_are_not_made_up(folder):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFileError, match="weights"):
        encode(folder)


@pytest.mark.parametrize(
    ("name", "items", "word"),
    [
        ("config.json", {"model_type": "bert"}, "bert"),
        ("config.json", {"model_type": None}, "model_type"),
        ("config.json", {"text_config": None}, "text_config"),
        ("config.json", {"text_config": []}, "list"),
        ("config.json", {"projection_dim": "wide"}, "wide"),
        ("preprocessor_config.json", {"size": None}, "size"),
        ("preprocessor_config.json", {"size": {"longest_edge": 8}}, "height"),
        ("preprocessor_config.json", {"size": {"height": 8, "width": 9}}, "9"),
        ("preprocessor_config.json", {"crop_size": {"height": 4, "width": 4}}, "crop"),
        ("preprocessor_config.json", {"do_center_crop": False}, "crop"),
        ("preprocessor_config.json", {"do_normalize": False}, "do_normalize"),
        ("preprocessor_config.json", {"rescale_factor": 1}, "rescale_factor"),
        ("preprocessor_config.json", {"resample": 1}, "1"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "mean"),
        ("preprocessor_config.json", {"image_std": [0, 0, 0]}, "std"),
        ("tokenizer_config.json", {"pad_token": None}, "pad_token"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_named(folder, name, items, word):
    change(folder, name, **items)
    with pytest.raises(ModelFileError, match="cannot be understood") as caught:
        load_encoder(str(folder), device="cpu")
    assert word in str(caught.value.found)


@pytest.mark.parametrize("name", NEEDED[:4])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe"])
def test_a_file_that_holds_no_settings_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFileError):
        load_encoder(str(folder), device="cpu")


def test_code_in_a_folder_is_not_run(folder, tmp_path):
    change(folder, "config.json", auto_map={"AutoModel": "modeling.Evil", "AutoConfig": "modeling.Config"})
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    encode(folder)
    assert not (tmp_path / "ran").exists()


def test_no_file_beside_the_model_changes_what_is_loaded(folder):
    before = encode(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    np.testing.assert_array_equal(encode(folder)[0], before[0])


def test_weights_that_are_not_numbers_give_rows_that_are_not(folder):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"][:] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    rows, texts = encode(folder)
    assert np.isnan(rows).all()
    assert np.isfinite(texts).all()


def test_a_model_split_into_several_files_is_the_same_model(folder, tmp_path):
    from transformers import CLIPModel

    before = encode(folder)
    model = CLIPModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    np.testing.assert_allclose(encode(folder)[0], before[0], atol=1e-6)
    min(folder.glob("*.safetensors")).unlink()
    with pytest.raises(ModelFileError):
        encode(folder)


def test_devices_and_precisions_that_are_not_here_are_refused(whole):
    for options, word in [
        ({"device": "tpu"}, "tpu"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"device": "meta"}, "meta"),
        ({"device": "cpu", "precision": "fp16"}, "fp16"),
        ({"device": "cpu", "precision": "int3"}, "int3"),
    ]:
        with pytest.raises(UsageError, match=word):
            load_encoder(str(whole), **options)


def test_an_older_recipe_is_understood(folder):
    change(folder, "preprocessor_config.json", size=SIDE, crop_size=SIDE, rescale_factor=None, resample=3)
    recipe = load_encoder(str(folder), device="cpu").identity.preprocessing
    assert (recipe.size_px, recipe.resize_mode, recipe.interpolation) == (SIDE, "shortest", "bicubic")


def test_siglip_is_squashed_and_its_texts_are_cleaned(tmp_path):
    folder = make_torch_folder(tmp_path / "siglip", siglip=True)
    change(folder, "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    with load_encoder(str(folder), device="cpu") as encoder:
        recipe = encoder.identity.preprocessing
        assert isinstance(recipe, Preprocessing)
        assert recipe.resize_mode == "squash"
        rows = encoder.encode_texts(["A Dog's", "a dogs"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_the_command_is_quiet_and_says_what_is_wrong(folder, tmp_path):
    command = [sys.executable, "-m", "clipsieve", "models", "info", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["backend"] == "torch"
    (folder / "model.safetensors").write_bytes(b"cut")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot load the weights")
    assert "Traceback" not in done.stderr


def test_texts_longer_than_the_context_are_cut(whole):
    assert json.loads((whole / "config.json").read_text())["text_config"]["max_position_embeddings"] == CONTEXT
    with load_encoder(str(whole), device="cpu") as encoder:
        rows = encoder.encode_texts(["x" * (CONTEXT - 2), "x" * 500, END])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_errors_of_models_have_one_root():
    assert issubclass(ModelFileError, ModelError)
