"""The demo, tuned through the real commands: more rated images help, and few of them never harm."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FRACTIONS = "1%,2%,5%,10%,20%,50%,100%"


def clipsieve(*args: object) -> str:
    command = [sys.executable, "-m", "clipsieve", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the demo's images, and the run of them by the embedded model."""
    path = tmp_path_factory.mktemp("demo")
    clipsieve("demo-data", path / "images", "-n", 3000)
    clipsieve("scan", path / "images", "-o", path / "run", "--model", "pictogram")
    return path


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> dict[str, Any]:
    """Return what `evaluate --json` says of harm, with the parts that the ratings name."""
    rated = ("--ratings", folder / "images/ratings.csv", "--scale", "harm", "--split-column", "split")
    methods = ("--method", "zero-shot", "--method", "soft-prompts")
    return json.loads(
        clipsieve("evaluate", folder / "run", *rated, "--fractions", FRACTIONS, *methods, "--folds", 5, "--json")
    )


def aucs(evaluation: dict[str, Any], name: str, test_name: str) -> dict[float | None, float]:
    rows = [row for row in evaluation["results"] if (row["name"], row["test_name"]) == (name, test_name)]
    return {row["fraction"]: row["metrics"]["roc_auc"]["mean"] for row in rows}


@pytest.mark.slow
def test_tuning_helps_with_all_images_and_never_harms_with_few(evaluation: dict[str, Any]) -> None:
    zero_shot, tuned = (aucs(evaluation, name, "test") for name in ("zero-shot", "soft-prompts"))
    print(f"test: zero-shot {zero_shot}, soft prompts {tuned}")
    assert list(tuned) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    assert tuned[1.0] >= zero_shot[None] + 0.08
    for fraction, auc in tuned.items():
        assert auc >= zero_shot[None] - 1e-9, fraction


@pytest.mark.slow
def test_pictograms_that_no_image_for_tuning_held_are_reported_whatever_comes_out(evaluation: dict[str, Any]) -> None:
    zero_shot, tuned = (aucs(evaluation, name, "unseen") for name in ("zero-shot", "soft-prompts"))
    print(f"unseen: zero-shot {zero_shot}, soft prompts {tuned}")
    assert len(tuned) == 7
    assert all(0 <= auc <= 1 for auc in [*zero_shot.values(), *tuned.values()])


@pytest.mark.slow
@pytest.mark.parametrize("n_images", [15, None])
def test_what_the_demo_tunes_can_be_scored(folder: Path, n_images: int | None) -> None:
    output = folder / f"harm-{n_images}.safetensors"
    some = () if n_images is None else ("--n-images", n_images)
    rated = ("--ratings", folder / "images/ratings.csv", "--scale", "harm")
    said = clipsieve("tune", folder / "run", *rated, *some, "-o", output)
    assert f"tuned      soft-prompts on {n_images or ''}" in said
    lines = clipsieve("score", folder / "run", "-c", output, "--json").splitlines()
    scored = [row for row in map(json.loads, lines) if row["probability"] is not None]
    assert len(scored) == 3000
