"""`clipsieve prevalence` as a person types it."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from clipsieve.cli.prevalence import command
from clipsieve.errors import UsageError
from clipsieve.store import Run, RunManifest, image_table, score_table
from clipsieve.types import EmbeddedImage, EncoderIdentity, FileFacts, ImageRef, Preprocessing

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

IDENTITY = EncoderIdentity("tiny", "a" * 64, Preprocessing(8, "squash", "bicubic", (0,) * 3, (1,) * 3), "fp32", 2)
N = 900


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with a run in which every 30th image is unwanted."""
    run = Run.create(tmp_path / "run", RunManifest("folder", "/photos", N, N + 2, 1, 0, IDENTITY, "tiny", {}, "0"))
    refs = [ImageRef(f"{i}.png", f"file:///{i}.png", None, None, b"") for i in range(N)]
    rows = [EmbeddedImage(ref, FileFacts("0" * 64, 1, 1, 1, "PNG"), np.array([1, 0], np.float32)) for ref in refs]
    facts = {"encoder": IDENTITY.fingerprint, "options": run.manifest.options_fingerprint}
    run.write_part(run.image_part(0), image_table(rows, 2, inputs="i", **facts))
    probability = np.random.default_rng(0).beta(0.2, 2, N).astype(np.float32)
    ids = pa.array([ref.image_id for ref in refs])
    table = score_table(ids, np.full(N, True), probability, np.zeros((N, 2), np.float32), inputs="i")
    run.write_part(run.score_part("words", 0), table)
    run.write_score_facts("words", {"threshold": 0.5})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def give(*args):
    return CliRunner().invoke(command, list(args))


def judge(path, n=None):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:n]:
        row["verdict"] = "unwanted" if int(row["image_id"][:-4]) % 30 == 0 else "wanted"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_plan_then_verdicts(folder):
    planned = give("run", "--plan", "sample.csv", "--width", "0.1")
    assert (planned.exit_code, planned.stderr) == (0, "")
    rows = judge(folder / "sample.csv")
    assert f"look at   {len(rows)} of 900 images" in planned.stdout
    assert "next      clipsieve prevalence run --verdicts sample.csv" in planned.stdout
    found = give("run", "--verdicts", "sample.csv")
    assert (found.exit_code, found.stderr) == (0, "")
    assert "of 900 images" in found.stdout
    assert "95 % confidence" in found.stdout
    assert "left out  2 images that could not be read" in found.stdout
    assert max(len(line) for line in (planned.stdout + found.stdout).splitlines()) <= 80


def test_json_holds_all_that_is_said_and_nothing_else_is_printed(folder):
    planned = json.loads(give("run", "--plan", "sample.csv", "--width", "0.1", "--json").stdout)
    rows = judge(folder / "sample.csv")
    assert planned["path"] == "sample.csv"
    assert sum(stratum["n_sampled"] for stratum in planned["strata"]) == len(rows)
    found = json.loads(give("run", "--verdicts", "sample.csv", "--json", "--confidence", "0.9").stdout)
    assert found["prevalence"]["n_unwanted_low"] <= 30 <= found["prevalence"]["n_unwanted_high"]
    assert (found["prevalence"]["confidence"], found["recall"]["confidence"]) == (0.9, 0.9)
    assert (found["n_failed"], found["n_open"], found["n_judged"]) == (2, 0, len(rows))


def test_an_unfinished_sample_gives_a_warning_on_stderr(folder):
    give("run", "--plan", "sample.csv", "--width", "0.05")
    rows = judge(folder / "sample.csv", n=150)
    found = give("run", "--verdicts", "sample.csv")
    assert found.exit_code == 0
    assert found.stderr.startswith(f"warning: {len(rows) - 150} of {len(rows)} images have no verdict yet")
    assert f"judged    150 images; {len(rows) - 150} have no verdict yet" in found.stdout


def test_another_confidence_is_told_on(folder):
    told = give("run", "--plan", "a file.csv", "--confidence", "0.9", "--seed", "3", "-c", "words").stdout
    assert "clipsieve prevalence run --verdicts 'a file.csv' --confidence 0.9" in told


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "exactly one of"),
        (["--plan", "a.csv", "--verdicts", "a.csv"], "exactly one of"),
        (["--verdicts", "a.csv", "--width", "0.1"], "belong to `--plan`"),
        (["--verdicts", "a.csv", "--seed", "0"], "belong to `--plan`"),
        (["--plan", "a.csv", "--width", "0"], "not in the range"),
        (["--plan", "a.csv", "--confidence", "1"], "not in the range"),
        (["--plan", "a.csv", "--seed", "-1"], "not in the range"),
    ],
)
def test_what_makes_no_sense_is_bad_usage(folder, args, message):
    done = give("run", *args)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (folder / "a.csv").exists()


def test_a_file_with_verdicts_is_kept(folder):
    give("run", "--plan", "sample.csv")
    judge(folder / "sample.csv")
    done = give("run", "--plan", "sample.csv")
    assert isinstance(done.exception, UsageError)
    assert "holds verdicts" in str(done.exception)
