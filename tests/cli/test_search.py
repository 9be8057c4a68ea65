"""`clipsieve search`: words in, images out."""

import json

from clipsieve import scan, write_demo_data
from clipsieve.cli import entry
from clipsieve.encoders import load_encoder
from clipsieve.sources import open_source


def test_each_text_gets_its_images_the_best_first(tmp_path, capsys):
    data = write_demo_data(tmp_path / "demo", n_images=8)
    with load_encoder("pictogram") as encoder:
        scan(open_source(data.directory), tmp_path / "run", encoder)
    assert entry.run(["search", str(tmp_path / "run"), "a skull", "a flower", "-k", "3", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == ["a skull"] * 3 + ["a flower"] * 3
    for text in ("a skull", "a flower"):
        similarity = [line["similarity"] for line in lines if line["text"] == text]
        assert similarity == sorted(similarity, reverse=True)
    assert entry.run(["search", str(tmp_path / "run"), "a skull", "-k", "2"]) == 0
    shown = capsys.readouterr().out
    assert [line["image_id"] in shown for line in lines[:3]] == [True, True, False]
