"""`clipsieve duplicates` on runs with groups, without any, and without a single embedding."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve import load_encoder, open_source, scan
from clipsieve.cli.entry import run as clipsieve


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: `pairs` holds two pictures twice and one once, `single` one, `failures` none that opens."""
    root, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)) for _ in range(3)]
    pictures[1] = Image.new("RGB", (60, 60), "red")
    pictures[2] = Image.linear_gradient("L").convert("RGB")
    kinds = {"pairs": [0, 1, 2, 1, 0], "single": [2], "failures": []}
    for name, chosen in kinds.items():
        (root / f"{name}-images").mkdir()
        for number, which in enumerate(chosen):
            pictures[which].save(root / f"{name}-images/{number}.png")
        if not chosen:
            (root / f"{name}-images/broken.png").write_bytes(b"no image")
        with load_encoder("pictogram") as encoder:
            scan(open_source(root / f"{name}-images"), root / name, encoder)
    return root


def test_groups_are_shown_and_written(runs, tmp_path, capsys):
    assert (
        clipsieve(["duplicates", str(runs / "pairs"), "--min-similarity", "0.999", "-o", str(tmp_path / "d.csv")]) == 0
    )
    shown = capsys.readouterr().out
    assert shown.startswith("4 images in 2 groups of near-duplicates, 2 beside the first of each")
    assert shown.splitlines()[-3].split() == ["2", "1.000", "0.png"]
    assert "written" in shown.splitlines()[-1]
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 5


def test_json_is_a_line_for_each_image_of_a_group(runs, capsys):
    assert clipsieve(["duplicates", str(runs / "pairs"), "--min-similarity", "0.999", "--json", "-q"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["group"], row["image_id"], row["is_leader"]) for row in rows] == [
        (0, "0.png", True),
        (0, "4.png", False),
        (1, "1.png", True),
        (1, "3.png", False),
    ]


@pytest.mark.parametrize("name", ["single", "failures"])
def test_a_run_without_any_says_so(runs, name, tmp_path, capsys):
    assert clipsieve(["duplicates", str(runs / name), "-o", str(tmp_path / "d.parquet")]) == 0
    assert capsys.readouterr().out.startswith("no near-duplicates, found in")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("d.txt", "a name ending in .parquet or .csv"),
        ("missing/d.csv", "no folder"),
        ("folder.csv", "a folder of that name"),
    ],
)
def test_where_it_cannot_write_it_says_so_before_the_work(runs, tmp_path, monkeypatch, capsys, where, words):
    monkeypatch.setattr("clipsieve.engines.find_duplicates", lambda *_args, **_more: pytest.fail("it began to work"))
    (tmp_path / "folder.csv").mkdir()
    assert clipsieve(["duplicates", str(runs / "pairs"), "-o", str(tmp_path / where)]) != 0
    assert words in capsys.readouterr().err
