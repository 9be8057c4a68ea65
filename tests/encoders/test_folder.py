"""Model folders with a missing file or a mistake in a small one: each is refused, and the message names the file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clipsieve.encoders import load_encoder
from clipsieve.encoders.folder import GRAPHS, ModelFolder
from clipsieve.errors import ModelFileError
from clipsieve.types import Preprocessing
from model_folders import END, make_onnx_folder, write_json

SETTINGS = ["config.json", "visual/preprocess_cfg.json", "textual/tokenizer_config.json"]
FILES = [*SETTINGS, *GRAPHS, "textual/tokenizer.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_onnx_folder(tmp_path / "model")


def change(folder: Path, name: str, **items: object) -> None:
    """Change some items of a JSON file; None removes one."""
    value = json.loads((folder / name).read_text()) | items
    write_json(folder / name, {key: item for key, item in value.items() if item is not None})


def test_a_whole_folder(folder):
    read = ModelFolder.open(folder)
    assert (read.embedding_dim, read.context_length, read.logit_scale) == (16, 12, 100.0)
    assert read.recipe == Preprocessing(8, "shortest", "bicubic", (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    assert (read.pad_token, read.clean) == (END, None)
    assert [file.relative_to(folder).as_posix() for file in read.weight_files()] == sorted(GRAPHS)


def test_what_else_the_files_may_say(folder):
    change(folder, "config.json", logit_scale=42.5, text_cfg={"tokenizer_kwargs": {"clean": "canonicalize"}})
    change(folder, "visual/preprocess_cfg.json", size=8, resize_mode=None, interpolation=None, fill_color=9)
    change(folder, "textual/tokenizer_config.json", pad_token={"content": END, "lstrip": False})
    read = ModelFolder.open(folder)
    assert (read.logit_scale, read.context_length, read.clean) == (42.5, 77, "canonicalize")
    assert read.recipe == Preprocessing(8, "shortest", "bicubic", (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), 9)
    assert read.pad_token == END


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelFileError) as caught:
        load_encoder(str(folder))
    assert caught.value.found == f"without {name}"
    assert "hint: " in str(caught.value)


def test_several_missing_files_are_all_named(folder):
    for name in FILES:
        (folder / name).unlink()
    with pytest.raises(ModelFileError) as caught:
        load_encoder(str(folder))
    assert all(name in str(caught.value.found) for name in FILES)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe", b"{}", b'"text"'])
def test_a_file_that_holds_no_settings_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        load_encoder(str(folder))
    assert Path(name).name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "items", "word"),
    [
        ("config.json", {"embed_dim": None, "embed_dims": 16}, "embed_dim"),
        ("config.json", {"embed_dim": "wide"}, "wide"),
        ("config.json", {"embed_dim": 0}, "0"),
        ("config.json", {"embed_dim": -16}, "-16"),
        ("config.json", {"embed_dim": []}, "list"),
        ("config.json", {"text_cfg": None}, "text_cfg"),
        ("config.json", {"text_cfg": []}, "list"),
        ("config.json", {"text_cfg": {"context_length": "long"}}, "long"),
        ("config.json", {"text_cfg": {"context_length": 0}}, "0"),
        ("config.json", {"text_cfg": {"tokenizer_kwargs": {"clean": "thoroughly"}}}, "thoroughly"),
        ("config.json", {"logit_scale": "hot"}, "hot"),
        ("config.json", {"logit_scale": float("nan")}, "logit_scale"),
        ("config.json", {"logit_scale": 0}, "logit_scale"),
        ("visual/preprocess_cfg.json", {"size": None}, "size"),
        ("visual/preprocess_cfg.json", {"size": [8, 9]}, "[8, 9]"),
        ("visual/preprocess_cfg.json", {"size": []}, "size"),
        ("visual/preprocess_cfg.json", {"size": 0}, "0"),
        ("visual/preprocess_cfg.json", {"size": {"shortest_edge": 8}}, "dict"),
        ("visual/preprocess_cfg.json", {"mean": None}, "mean"),
        ("visual/preprocess_cfg.json", {"mean": [0.5]}, "mean"),
        ("visual/preprocess_cfg.json", {"mean": 0.5}, "float"),
        ("visual/preprocess_cfg.json", {"mean": [0.5, 0.5, float("nan")]}, "mean"),
        ("visual/preprocess_cfg.json", {"std": [0, 1, 1]}, "std"),
        ("visual/preprocess_cfg.json", {"std": [1, 1, float("nan")]}, "std"),
        ("visual/preprocess_cfg.json", {"std": ["a", 1, 1]}, "a"),
        ("visual/preprocess_cfg.json", {"resize_mode": "stretch"}, "stretch"),
        ("visual/preprocess_cfg.json", {"interpolation": "lanczos7"}, "lanczos7"),
        ("visual/preprocess_cfg.json", {"fill_color": 300, "resize_mode": "longest"}, "300"),
        ("textual/tokenizer_config.json", {"pad_token": None}, "pad_token"),
        ("textual/tokenizer_config.json", {"pad_token": {"text": "x"}}, "content"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_named(folder, name, items, word):
    change(folder, name, **items)
    with pytest.raises(ModelFileError, match="cannot be understood") as caught:
        load_encoder(str(folder))
    assert Path(name).name in str(caught.value.expected)
    assert word in str(caught.value.found)


def test_a_pad_token_that_the_tokenizer_does_not_know_is_named(folder):
    change(folder, "textual/tokenizer_config.json", pad_token="<nothing>")
    with load_encoder(str(folder)) as encoder, pytest.raises(ModelFileError, match="pad token"):
        encoder.encode_texts(["a"])


def test_the_hash_counts_names_and_contents_of_weights_alone(folder):
    read = ModelFolder.open(folder)
    before = read.weights_sha256()
    (folder / "visual/notes.md").write_text("no weights")
    (folder / "textual/.DS_Store").write_text("no weights")
    assert read.weights_sha256() == before
    (folder / "visual/weights.bin").write_bytes(b"1")
    assert read.weights_sha256() != before


@pytest.mark.parametrize(
    "damage", ["a missing file", "a typo", "a truncated graph", "pickles alone", "an empty folder"]
)
def test_the_command_says_it_in_words(folder, damage, tmp_path):
    if damage == "a missing file":
        (folder / "textual/tokenizer.json").unlink()
    elif damage == "a typo":
        change(folder, "config.json", embed_dim=None, embed_dims=16)
    elif damage == "a truncated graph":
        graph = folder / "visual/model.onnx"
        graph.write_bytes(graph.read_bytes()[:1000])
    else:
        folder = tmp_path / "other"
        folder.mkdir()
        if damage == "pickles alone":
            (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(PNG)
    command = [sys.executable, "-m", "clipsieve", "scan", tmp_path / "photos", "-o", tmp_path / "run", "-m", folder]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert any(line.startswith("error: ") for line in done.stderr.splitlines()[:2])
    assert "Traceback" not in done.stderr
    assert str(folder) in done.stderr.replace("\n", "")


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080200000090"
    "7753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)
