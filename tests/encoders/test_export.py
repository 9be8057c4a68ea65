"""From a folder of transformers to an ONNX model folder: whole or not at all, and usable where torch is not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipsieve.encoders import export_model, load_encoder
from clipsieve.encoders.folder import ModelFolder
from clipsieve.errors import ModelError, ModelFileError, ModelNotFoundError
from model_folders import CONTEXT, WIDTH, images, make_torch_folder

pytestmark = pytest.mark.torch

TEXTS = ["a red dog", "", "x" * 500]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_torch_folder(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("exported") / "new" / "clip"
    info = export_model(str(folder), destination)
    assert (info.path, info.backend) == (str(destination), "onnx")
    return destination


def test_both_backends_give_the_same_embeddings(folder, exported):
    with load_encoder(str(folder), device="cpu") as one, load_encoder(str(exported)) as other:
        np.testing.assert_allclose(other.encode_images(images(5)), one.encode_images(images(5)), atol=1e-5)
        np.testing.assert_allclose(other.encode_texts(TEXTS), one.encode_texts(TEXTS), atol=1e-5)
        assert other.logit_scale == pytest.approx(one.logit_scale)
        assert other.identity.preprocessing == one.identity.preprocessing


def test_the_folder_is_whole_and_nothing_else_is_left(exported):
    read = ModelFolder.open(exported)
    assert (read.embedding_dim, read.context_length) == (WIDTH, CONTEXT)
    assert sorted(path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()) == [
        "config.json",
        "textual/model.onnx",
        "textual/tokenizer.json",
        "textual/tokenizer_config.json",
        "visual/model.onnx",
        "visual/preprocess_cfg.json",
    ]
    assert [path.name for path in exported.parent.iterdir()] == ["clip"]
    assert exported.stat().st_mode & 0o777 == (0o777 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_cleaning_of_texts_is_kept(tmp_path):
    folder = make_torch_folder(tmp_path / "siglip", siglip=True)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"tokenizer_class": "SiglipTokenizer"}))
    export_model(str(folder), tmp_path / "out")
    assert ModelFolder.open(tmp_path / "out").clean == "canonicalize"
    with load_encoder(str(folder), device="cpu") as one, load_encoder(str(tmp_path / "out")) as other:
        texts = ["A Dog's", "É!"]
        np.testing.assert_allclose(other.encode_texts(texts), one.encode_texts(texts), atol=1e-5)


def test_an_empty_folder_may_be_the_destination(folder, tmp_path):
    (tmp_path / "out").mkdir()
    export_model(str(folder), tmp_path / "out")
    assert ModelFolder.open(tmp_path / "out").embedding_dim == WIDTH


def test_a_destination_that_holds_something_is_refused_before_any_work(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    with pytest.raises(ModelError, match="is not empty") as caught:
        export_model(str(folder), tmp_path / "out")
    assert caught.value.state == "nothing was written"
    with pytest.raises(ModelError, match="is not empty"):
        export_model(str(folder), tmp_path / "out/mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "in/broken")
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelFileError):
        export_model(str(broken), tmp_path / "out/new")
    assert not [path for path in tmp_path.rglob("*") if "export" in path.name or path.name == "new"]


def test_a_model_whose_formats_do_not_agree_leaves_nothing_behind(folder, tmp_path):
    from safetensors.numpy import load_file, save_file

    broken = shutil.copytree(folder, tmp_path / "in/broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["visual_projection.weight"][0] = np.nan  # agrees with nothing, itself included
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="does not agree") as caught:
        export_model(str(broken), tmp_path / "out/new")
    assert caught.value.state == "nothing was written"
    assert list((tmp_path / "out").iterdir()) == []


def test_something_that_is_no_model_of_transformers_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="not whole"):
        export_model("pictogram", tmp_path / "out")
    with pytest.raises(ModelNotFoundError):
        export_model("./nowhere", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120)


def test_the_exported_folder_is_used_where_torch_is_not(exported, folder, tmp_path):
    np.save(tmp_path / "pixels.npy", images(3))
    code = """if True:
        import sys
        sys.modules["torch"] = sys.modules["transformers"] = None
        import numpy as np
        from clipsieve import load_encoder
        folder, pixels, out = sys.argv[1:]
        with load_encoder(folder) as encoder:
            np.savez(out, images=encoder.encode_images(np.load(pixels)), texts=encoder.encode_texts(["a red dog"]))"""
    done = run("-c", code, exported, tmp_path / "pixels.npy", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    with load_encoder(str(folder), device="cpu") as encoder:
        np.testing.assert_allclose(found["images"], encoder.encode_images(images(3)), atol=1e-5)
        np.testing.assert_allclose(found["texts"], encoder.encode_texts(["a red dog"]), atol=1e-5)


@pytest.mark.slow
def test_the_command(folder, tmp_path):
    done = run("-m", "clipsieve", "models", "export", folder, tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    assert done.stderr == ""
    assert (info["path"], info["backend"]) == (str(tmp_path / "out"), "onnx")
    assert info["identity"]["embedding_dim"] == WIDTH
    again = run("-m", "clipsieve", "models", "export", folder, tmp_path / "out", "--json")
    assert again.returncode == 1
    assert again.stdout == ""
    assert again.stderr.startswith("error: ")
    assert "is not empty" in again.stderr
