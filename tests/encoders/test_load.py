"""From what a person typed to an encoder: names, hub ids, folders, backends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipsieve.encoders import fetch_model, load_encoder, model_info
from clipsieve.encoders.onnx import OnnxEncoder
from clipsieve.errors import HubError, MissingExtraError, ModelFileError, ModelNotFoundError, UsageError
from model_folders import make_onnx_folder, make_torch_folder, write_json

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from clipsieve.cli import main; main(sys.argv[1:])"


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_the_embedded_model_is_the_default():
    encoder = load_encoder()
    assert isinstance(encoder, OnnxEncoder)
    assert encoder.location == encoder.identity.name == "pictogram"


def test_a_batch_holds_an_image_and_other_backends_than_torch_have_no_use_for_its_size():
    assert load_encoder(batch_size=3).best_batch_size == load_encoder().best_batch_size
    with pytest.raises(UsageError, match="at least one image"):
        load_encoder(batch_size=0)


@pytest.mark.parametrize(
    "spelling", ["models/mine", "./models/mine", "models/mine/", "models/../models/mine", "models/link"]
)
def test_a_folder_is_known_by_its_absolute_path(tmp_path, spelling):
    folder = make_onnx_folder(tmp_path / "models/mine")
    (tmp_path / "models/link").symlink_to("mine")
    encoder = load_encoder(spelling)
    assert encoder.location == str(folder.resolve())
    assert encoder.identity.name == "mine"


def test_a_folder_in_this_one_needs_no_slash_and_wins_over_nothing_known(tmp_path):
    make_onnx_folder(tmp_path / "mine")
    assert load_encoder("mine").location == str(tmp_path / "mine")


def test_a_name_of_the_catalog_wins_over_a_folder(tmp_path):
    make_onnx_folder(tmp_path / "pictogram")
    assert load_encoder("pictogram").identity.embedding_dim == 128
    assert load_encoder("./pictogram").identity.embedding_dim == 16


@pytest.mark.parametrize("name", ["pictogramm", "", "ViT-B-32", "a b", "..\\x", "x\x00y"], ids=ascii)
def test_an_unknown_name_is_named_with_those_that_are_known(name):
    with pytest.raises(ModelNotFoundError) as caught:
        load_encoder(name)
    assert "pictogram" in str(caught.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/../b/nowhere", "../x", "~/nowhere", "a//b"])
def test_a_folder_that_is_not_there_is_named(name):
    with pytest.raises(ModelNotFoundError, match="no model folder"):
        load_encoder(name)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelNotFoundError) as caught:
        load_encoder("./model.onnx")
    assert caught.value.found == "a file"


def test_a_folder_that_holds_no_model_says_what_it_holds(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="holds no model") as caught:
        load_encoder("./empty")
    assert caught.value.found == "an empty folder"
    (tmp_path / "empty/pytorch_model.bin").write_bytes(b"\x80\x04.")
    write_json(tmp_path / "empty/config.json", {"model_type": "clip"})
    with pytest.raises(ModelFileError, match="holds no model") as caught:
        load_encoder("./empty")
    assert caught.value.found == "config.json, pytorch_model.bin"
    assert "pickle" in str(caught.value.hint)


def test_the_onnx_backend_on_a_folder_of_transformers_says_what_is_missing(tmp_path):
    write_json(tmp_path / "m/config.json", {"model_type": "clip"})
    (tmp_path / "m/model.safetensors").write_bytes(b"")
    with pytest.raises(ModelFileError, match="not whole") as caught:
        load_encoder("./m", backend="onnx")
    assert "visual/model.onnx" in str(caught.value)


def test_what_is_known_of_a_folder(tmp_path):
    folder = make_onnx_folder(tmp_path / "mine")
    (folder / ".hidden").write_text("not listed")
    info = model_info("./mine")
    assert (info.backend, info.path, info.repo, info.commit, info.logit_scale) == ("onnx", str(folder), None, None, 100)
    assert list(info.files) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != ".hidden"
    )
    assert info.identity == load_encoder("./mine").identity


def test_fetching_what_is_here_already_fetches_nothing(tmp_path):
    make_onnx_folder(tmp_path / "mine")
    assert fetch_model("pictogram").repo is None
    assert fetch_model("./mine").identity == model_info("./mine").identity
    assert not (tmp_path / "home").exists()


def run(code: str, *words: object, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=60)


def test_a_folder_of_transformers_without_torch_installed_is_refused_in_words(tmp_path):
    write_json(tmp_path / "m/config.json", {"model_type": "clip"})
    (tmp_path / "m/model.safetensors").write_bytes(b"")
    for words in (["models", "info", tmp_path / "m"], ["models", "export", tmp_path / "m", tmp_path / "out"]):
        done = run(WITHOUT_TORCH, *words)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("error: the torch backend is not installed")
        assert "clipsieve[torch]" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_loading_and_encoding_with_onnx_imports_no_torch(tmp_path):
    make_onnx_folder(tmp_path / "mine")
    code = """if True:
        import sys
        from clipsieve import load_encoder
        with load_encoder("./mine") as encoder:
            encoder.encode_texts(["a"])
        found = {"torch", "transformers", "huggingface_hub", "pyarrow"} & sys.modules.keys()
        sys.exit(", ".join(sorted(found)) or None)"""
    done = run(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_without_openvino_installed_its_precisions_are_refused_in_words(tmp_path, precision):
    make_onnx_folder(tmp_path / "mine")
    code = """if True:
        import sys
        sys.modules["openvino"] = None
        from clipsieve import load_encoder
        from clipsieve.errors import MissingExtraError
        try:
            load_encoder("./mine", precision=sys.argv[1])
        except MissingExtraError as error:
            print(error)"""
    done = run(code, precision)
    assert done.returncode == 0, done.stderr
    assert "OpenVINO is not installed" in done.stdout
    assert "pip install 'clipsieve[openvino]'" in done.stdout


@pytest.mark.torch
def test_what_torch_has_on_a_gpu_alone_is_shown_the_way_to_openvino(tmp_path):
    folder = make_torch_folder(tmp_path / "clip")
    with pytest.raises(UsageError, match="bf16 needs a GPU") as caught:
        load_encoder(str(folder), device="cpu", precision="bf16")
    assert "OpenVINO" in str(caught.value.hint)
    assert f"clipsieve models export {folder}" in str(caught.value.hint)


def test_errors_are_of_the_kinds_that_callers_catch():
    assert issubclass(HubError, Exception)
    assert not issubclass(MissingExtraError, ModelFileError)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "", "mps"])
def test_a_device_that_nobody_knows_is_refused_and_not_taken_for_the_cpu(device):
    with pytest.raises(UsageError, match="there is no device"):
        load_encoder("pictogram", device=device)
