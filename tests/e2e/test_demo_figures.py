"""The demo, run through the real commands, gives the figures of the embedded model's card."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

ROOT = Path(__file__).parents[2]
CARD = json.loads((ROOT / "docs/models/pictogram-figures.json").read_text())["shipped"]["demo_data"]


def clipsieve(*args: object) -> str:
    command = [sys.executable, "-m", "clipsieve", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Return the clearly rated images with their label (unwanted or not) and the probability that the commands gave."""
    images, run = tmp_path_factory.mktemp("demo") / "images", tmp_path_factory.mktemp("run")
    clipsieve("demo-data", images)
    clipsieve("scan", images, "-o", run)
    scores = pl.read_ndjson(clipsieve("score", run, "-c", "positive-negative", "--json").encode())
    ratings = pl.read_csv(images / "ratings.csv").join(scores, left_on="file", right_on="image_id", how="left")
    assert ratings["probability"].null_count() == 0  # every rated image has its score
    clear = ratings.filter((pl.col("valence_mean") < 2.5) | (pl.col("valence_mean") > 3.5))
    return clear.with_columns(unwanted=pl.col("valence_mean") < 2.5)


@pytest.mark.slow
@pytest.mark.parametrize("group", ["all", "A", "B"])
def test_the_commands_give_the_figures_of_the_card(rated: pl.DataFrame, group: str) -> None:
    part = rated if group == "all" else rated.filter(pl.col("group") == group)
    unwanted, probability = part["unwanted"].to_numpy(), part["probability"].to_numpy()
    assert roc_auc_score(unwanted, probability) == pytest.approx(CARD[group]["auc"], abs=0.005)
    assert accuracy_score(unwanted, probability >= 0.5) == pytest.approx(CARD[group]["accuracy"], abs=0.01)
