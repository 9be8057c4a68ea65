"""The embedded model keeps what its card promises, measured anew from the files that ship."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # a process of its own encodes thousands of pictures
ROOT = Path(__file__).parents[2]
KEPT = json.loads((ROOT / "docs/models/pictogram-figures.json").read_text())


@pytest.fixture(scope="module")
def figures():
    command = [sys.executable, "-m", "benchmarks.pictogram_figures", "--json"]
    return json.loads(
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=os.environ).stdout
    )


def test_names_are_found_in_the_trained_styles(figures):
    names = figures["names"]
    assert names["n_names"] >= 320
    assert names["all"]["r1"] >= 0.60
    assert names["all"]["r5"] >= 0.90


def test_affect_that_was_told_is_recognised_in_new_compositions(figures):
    assert figures["zero_shot"]["A"]["accuracy"] >= 0.78
    assert figures["zero_shot"]["A"]["auc"] >= 0.86


def test_affect_that_was_never_told_is_inferred(figures):
    assert figures["zero_shot"]["B"]["auc"] >= 0.72


def test_both_towers_and_the_tokenizer_are_small(figures):
    assert figures["bytes"] <= 8 * 1024**2


def test_the_files_agree_with_the_checkpoint_they_were_made_from():
    assert max(KEPT["onnx_against_torch_max_difference"].values()) <= 1e-3


@pytest.mark.parametrize(
    "path",
    [
        "names.all.r1",
        "names.all.r5",
        "zero_shot.A.accuracy",
        "zero_shot.A.auc",
        "zero_shot.B.accuracy",
        "zero_shot.B.auc",
        "demo_data.all.accuracy",
        "demo_data.all.auc",
        "free_text.precision_at_10",
    ],
)
def test_the_card_tells_what_is_measured(figures, path):
    measured, kept = figures, KEPT["shipped"]
    for key in path.split("."):
        measured, kept = measured[key], kept[key]
    assert measured == pytest.approx(kept, abs=0.01)


def test_the_card_shows_the_kept_figures():
    card = (ROOT / "docs/models/pictogram.md").read_text()
    shipped = KEPT["shipped"]
    for value in (
        shipped["names"]["all"]["r1"],
        shipped["names"]["all"]["r5"],
        shipped["names"]["reserved"]["r1"],
        shipped["zero_shot"]["A"]["accuracy"],
        shipped["zero_shot"]["A"]["auc"],
        shipped["zero_shot"]["B"]["auc"],
        shipped["zero_shot"]["B"]["without_faces"]["auc"],
        KEPT["held_out_style"]["names"]["r1"],
        KEPT["held_out_style"]["zero_shot"]["A"]["auc"],
        shipped["free_text"]["precision_at_10"],
    ):
        assert f"{value:.3f}" in card, value
