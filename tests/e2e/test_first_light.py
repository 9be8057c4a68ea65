"""From a folder of images to a list of what to look at: the whole path, in Python and by commands, with the embedded model."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image

import clipsieve
from clipsieve.classifiers import build_zero_shot, builtin_prompt_set
from clipsieve.images import fit_to_recipe

pytestmark = pytest.mark.slow

N_IMAGES, N_BROKEN = 150, 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Walk the whole path once in Python."""
    place = tmp_path_factory.mktemp("first_light")
    clipsieve.write_demo_data(place / "photos", n_images=N_IMAGES, seed=3)
    with clipsieve.load_encoder() as encoder:
        report = clipsieve.scan(clipsieve.open_source(place / "photos"), place / "run", encoder)
        classifier = build_zero_shot(
            builtin_prompt_set("positive-negative"),
            encoder.encode_texts,
            identity=encoder.identity,
            logit_scale=encoder.logit_scale,
        )
    assert (report.n_listed, report.n_failed) == (N_IMAGES + N_BROKEN, N_BROKEN)
    clipsieve.score(clipsieve.Run.open(place / "run"), classifier, name="positive-negative")
    return place


@pytest.fixture(scope="module")
def commands(place):
    """Walk the same path by commands."""
    run = place / "run-by-commands"
    clipsieve_("scan", place / "photos", "-o", run)
    clipsieve_("score", run, "-c", "positive-negative")
    return run


def clipsieve_(*args):
    command = [sys.executable, "-m", "clipsieve", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def digests(run):
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in ("history.jsonl", "run.json")
    }


def test_python_and_the_commands_write_the_same_bytes(place, commands):
    assert digests(place / "run") == digests(commands)
    both = [json.loads((run / "run.json").read_text()) for run in (place / "run", commands)]
    assert both[0] == both[1]


def test_every_input_ends_as_one_row_that_any_reader_of_parquet_reads(place):
    images = pl.read_parquet(place / "run/images/*.parquet")
    files = sorted(
        str(path.relative_to(place / "photos"))
        for path in (place / "photos").rglob("*")
        if path.is_file() and path.name != "ratings.csv"
    )
    assert images["image_id"].to_list() == sorted(files, key=os.fsencode)
    assert images["label"].to_list() == [name.partition("/")[0] for name in images["image_id"]]
    failed = images.filter(pl.col("embedding").is_null())
    assert sorted(failed["failure_code"]) == ["empty_file", "not_an_image", "truncated"]
    whole = images.filter(pl.col("embedding").is_not_null())
    assert whole["failure_code"].null_count() == N_IMAGES
    norms = np.linalg.norm(whole["embedding"].to_numpy().astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-3)


def test_a_stored_embedding_is_what_the_encoder_makes_of_the_file(place):
    images = pl.read_parquet(place / "run/images/*.parquet").filter(pl.col("embedding").is_not_null())[::15]
    with clipsieve.load_encoder() as encoder:
        recipe = encoder.identity.preprocessing
        pixels = [
            fit_to_recipe(np.asarray(Image.open(place / "photos" / name).convert("RGB")), recipe)
            for name in images["image_id"]
        ]
        expected = encoder.encode_images(np.stack(pixels))
    stored = images["embedding"].to_numpy().astype(np.float32)
    assert ((stored * expected).sum(axis=1) > 0.9999).all()


def test_scores_follow_from_the_stored_embeddings_and_the_words(place):
    images = pl.read_parquet(place / "run/images/*.parquet")
    scores = pl.read_parquet(place / "run/scores/positive-negative/*.parquet")
    assert scores["image_id"].equals(images["image_id"])
    assert scores["probability"].is_null().equals(images["embedding"].is_null())
    with clipsieve.load_encoder() as encoder:
        good, bad = encoder.encode_texts(
            ["This image is about something positive", "This image is about something negative"]
        ).astype(np.float64)
        scale = encoder.logit_scale
    x = images["embedding"].drop_nulls().to_numpy().astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = 1 / (1 + np.exp(scale * (x @ good - x @ bad)))
    np.testing.assert_allclose(scores["probability"].drop_nulls().to_numpy(), expected, atol=1e-3)


def test_the_summary_agrees_with_the_rows(place, commands):
    images = pl.read_parquet(place / "run/images/*.parquet", columns=["image_id", "label"])
    scores = pl.read_parquet(place / "run/scores/positive-negative/*.parquet", columns=["image_id", "probability"])
    flagged = images.join(scores, on="image_id").filter(pl.col("probability") >= 0.5)
    summary = clipsieve.summarize(clipsieve.Run.open(place / "run"))
    assert (summary.n_listed, summary.n_scanned, summary.n_failed) == (N_IMAGES + N_BROKEN, N_IMAGES, N_BROKEN)
    assert summary.n_flagged == len(flagged)
    assert {c.label: c.n_flagged for c in summary.classes} == dict(flagged["label"].value_counts().iter_rows())
    told = json.loads(clipsieve_("summary", commands, "--json"))
    assert told["n_flagged"] == len(flagged)


def test_the_words_find_what_was_rated_badly(place):
    """Not a figure of quality (that is measured elsewhere): only that the path as a whole makes sense."""
    ratings = pl.read_csv(place / "photos/ratings.csv")
    scores = pl.read_parquet(place / "run/scores/positive-negative/*.parquet")
    both = scores.join(ratings, left_on="image_id", right_on="file")
    assert len(both) == N_IMAGES
    bad = both.filter(pl.col("valence_mean") < 2.5)["probability"].mean()
    good = both.filter(pl.col("valence_mean") > 3.5)["probability"].mean()
    assert bad > good + 0.3


def test_nothing_in_the_source_was_changed(place, tmp_path):
    clipsieve.write_demo_data(tmp_path / "again", n_images=N_IMAGES, seed=3)
    assert digests(place / "photos") == digests(tmp_path / "again")


def test_an_image_that_is_added_is_the_only_one_encoded_anew(place, tmp_path):
    photos = tmp_path / "photos"
    (photos / "a").mkdir(parents=True)
    for i in range(5):
        Image.new("RGB", (60, 40), (40 * i, 90, 90)).save(photos / f"a/{i}.png")
    options = clipsieve.ScanOptions(part_size=2)
    with clipsieve.load_encoder() as encoder:
        source = clipsieve.open_source(photos)
        assert clipsieve.scan(source, tmp_path / "run", encoder, options=options).n_new == 5
        Image.new("RGB", (60, 40), "red").save(photos / "a/9.png")
        report = clipsieve.scan(source, tmp_path / "run", encoder, options=options)
    assert (report.n_listed, report.n_new) == (6, 2)  # the last part, which held one image
