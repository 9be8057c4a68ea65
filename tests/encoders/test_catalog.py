"""The models known by name."""

import os
import re
from pathlib import Path

import pytest

from clipsieve.encoders import find_model, list_models
from clipsieve.encoders.catalog import data_dir, pictogram_dir, repo_dir
from clipsieve.encoders.hub import is_hub_id


def test_every_entry_is_whole():
    entries = list_models()
    assert entries[0].name == "pictogram"
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.licence in ("Apache-2.0", "MIT")
        assert entry.about
        assert min(entry.embedding_dim, entry.size_px, entry.n_parameters_m) > 0


def test_every_hub_id_is_one_and_every_pin_is_whole():
    for entry in list_models()[1:]:
        known = find_model(entry.name)
        assert known is not None
        assert known.repo is not None
        assert is_hub_id(known.repo)
        assert find_model(known.repo) is known
        assert known.revision is None or re.fullmatch("[0-9a-f]{40}", known.revision)
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in known.files.values())
        assert bool(known.files) == bool(known.revision)


def test_what_the_catalog_says_of_the_embedded_model_is_so():
    import onnx
    from onnx import numpy_helper

    from clipsieve.encoders import load_encoder

    entry, identity = list_models()[0], load_encoder("pictogram").identity
    assert (entry.embedding_dim, entry.size_px) == (identity.embedding_dim, identity.preprocessing.size_px)
    graphs = [onnx.load(pictogram_dir() / tower / "model.onnx") for tower in ("visual", "textual")]
    n_parameters = sum(numpy_helper.to_array(tensor).size for graph in graphs for tensor in graph.graph.initializer)
    assert n_parameters / 1e6 == pytest.approx(entry.n_parameters_m, abs=0.05)
    assert sum(path.stat().st_size for path in pictogram_dir().rglob("*") if path.is_file()) <= 8e6


def test_a_name_that_is_not_known_is_none():
    assert find_model("vit-b-32__openai") is None
    assert find_model("") is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"CLIPSIEVE_HOME": "/srv/models"}, Path("/srv/models")),
        ({"CLIPSIEVE_HOME": "~/m"}, Path("~/m").expanduser()),
        ({"XDG_CACHE_HOME": "/srv/cache"}, Path("/srv/cache/clipsieve")),
        ({"CLIPSIEVE_HOME": "", "XDG_CACHE_HOME": ""}, Path("~/.cache/clipsieve").expanduser()),
    ],
)
def test_where_models_are_kept(monkeypatch, settings, expected):
    for name in ("CLIPSIEVE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert data_dir() == expected
    assert repo_dir("owner/name").parent == expected / "models"
    assert os.sep not in repo_dir("owner/name").name


def test_a_model_is_here_once_it_is_pinned(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path))
    assert [entry.name for entry in list_models() if entry.is_local] == ["pictogram"]
    folder = repo_dir("immich-app/RN50__openai")
    folder.mkdir(parents=True)
    assert [entry.name for entry in list_models() if entry.is_local] == ["pictogram"]
    (folder / "pin.json").write_text("{}")
    assert [entry.name for entry in list_models() if entry.is_local] == ["pictogram", "RN50__openai"]


def test_the_guide_lists_the_same_models():
    guide = (Path(__file__).parents[2] / "docs/guides/models.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:6]] for line in guide.splitlines() if line.startswith("| `")]
    assert rows == [
        [f"`{e.name}`", str(e.embedding_dim), str(e.size_px), f"{e.n_parameters_m:g} M", e.licence]
        for e in list_models()
    ]
