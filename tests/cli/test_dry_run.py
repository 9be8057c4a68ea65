"""`clipsieve scan --dry-run` as a person types it."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clipsieve import write_demo_data
from clipsieve.cli.scan import command
from clipsieve.engines import probe
from clipsieve.errors import RunConflictError, UsageError


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("dry") / "images"
    write_demo_data(root, n_images=60)
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probe, "DECODE_S", 0.1)
    monkeypatch.setattr(probe, "ENCODE_S", 0.1)


def give(images, *words):
    return CliRunner().invoke(command, [str(images), "-o", "run", "--quiet", *words])


def answer(images, *words):
    given = give(images, *words)
    assert given.exit_code == 0, given.exception
    return given.stdout


def facts(images, *words):
    return json.loads(answer(images, "--dry-run", "--json", *words))


def test_it_says_everything_within_80_columns_and_writes_nothing(images):
    said = answer(images, "--dry-run", "--price", "3", "--currency", "EUR", "--part-size", "20")
    assert list(Path().iterdir()) == []
    lines = [line for line in said.splitlines() if str(images) not in line]
    assert max(map(len, lines)) < 80
    labels = [line[:10].strip() for line in said.splitlines() if line[:10].strip()]
    assert labels == [
        *("source", "images", "run", "parts", "encoder", "engine", "probe"),
        *("to read", "to write", "rate", "time", "cost", "failures"),
    ]
    assert "63, of these 0 done and 63 left" in said
    assert "4 of 20 images at most; 4 to be made" in said
    assert "at 3 EUR an hour" in said
    assert "estimated from the probe" in said
    assert said.endswith("nothing was written\n")


def test_json_holds_what_is_said(images):
    begun = datetime.now().astimezone().replace(microsecond=0)
    found = facts(images, "--price", "3")
    forecast = found["forecast"]
    assert forecast["cost"] == pytest.approx(3 * forecast["elapsed_s"] / 3600)
    assert (found["price"], found["currency"]) == (3, "USD")
    assert found["probe"]["n_images"] == found["n_left"] == 63
    assert forecast["n_failures"] == found["probe"]["n_failed"] == 3
    assert found["workplace"]["engine"] == "local"
    ends = begun + timedelta(seconds=forecast["elapsed_s"] - 1)  # of which seconds are shown
    assert ends < datetime.fromisoformat(found["ends"]) < ends + timedelta(hours=1)


def test_without_a_price_there_is_no_money(images):
    assert "USD" not in answer(images, "--dry-run")
    found = facts(images)
    assert (found["forecast"]["cost"], found["price"], found["currency"]) == (None, None, None)


def test_it_goes_on_where_the_run_stands(images):
    assert give(images).exit_code == 0
    said = answer(images, "--dry-run")
    assert "of these 63 done and 0 left" in said
    assert "everything is done" in said
    assert facts(images)["forecast"] is None


def test_another_run_is_refused(images):
    assert give(images, "--part-size", "20").exit_code == 0
    assert isinstance(give(images, "--dry-run").exception, RunConflictError)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--price", "3"], "add `--dry-run`"),
        (["--dry-run", "--currency", "EUR"], "`--currency` without `--price`"),
        (["--dry-run", "--price", "nan"], "the price is nan"),
        (["--dry-run", "--price", "-1"], "the price is -1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(images, words, said):
    given = give(images, *words)
    assert isinstance(given.exception, UsageError)
    assert said in str(given.exception)
    assert list(Path().iterdir()) == []


def test_embeddings_take_no_dry_run():
    folder = Path("given")
    folder.mkdir()
    np.save(folder / "img_emb_0.npy", np.eye(4, dtype=np.float16))
    given = give(folder, "--dry-run", "--source", "embeddings", "--model", "immich-app/ViT-B-32__openai")
    assert isinstance(given.exception, UsageError)
    assert "`--dry-run`" in str(given.exception)
