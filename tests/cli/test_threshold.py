"""`clipsieve threshold` as a person types it, and what `summary` and `score` say afterwards."""

import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from clipsieve.classifiers import Platt, SoftPrompts, load_classifier, save_classifier
from clipsieve.cli.promise_words import calibration_words, percentage, promise_lines, threshold_words
from clipsieve.cli.score import command as score_command
from clipsieve.cli.summary import command as summary_command
from clipsieve.cli.threshold import command
from clipsieve.engines import ScoreCalibration
from clipsieve.errors import UsageError
from clipsieve.evaluation.thresholds import promise_precision, promise_recall
from clipsieve.store import Run, RunManifest, image_table, score_table
from clipsieve.types import EmbeddedImage, EncoderIdentity, FileFacts, ImageRef, Preprocessing

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

IDENTITY = EncoderIdentity("tiny", "a" * 64, Preprocessing(8, "squash", "bicubic", (0,) * 3, (1,) * 3), "fp32", 2)
N = 300
LABELS = (np.random.default_rng(0).random(N) < 0.4).astype(np.int64)
PROBABILITY = 1 / (1 + np.exp(-(6 * LABELS - 3 + 2.5 * np.random.default_rng(1).normal(size=N))))


def angle(probability):
    """Return the unit vector that a calibrated classifier of logit scale 5 gives about this probability."""
    turn = np.pi / 4 + np.clip(np.log(probability / (1 - probability)) / 12, -0.7, 0.7)
    return np.array([np.cos(turn), np.sin(turn)], np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with a run, ratings of its images and of one that it lacks, and a classifier file."""
    run = Run.create(tmp_path / "run", RunManifest("folder", "/photos", N, N, 1, 0, IDENTITY, "tiny", {}, "0"))
    refs = [ImageRef(f"{i}.png", f"file:///{i}.png", "all", None, b"") for i in range(N)]
    rows = [
        EmbeddedImage(ref, FileFacts(f"{i:016x}" + 48 * "0", 1, 1, 1, "PNG"), angle(PROBABILITY[i]))
        for i, ref in enumerate(refs)
    ]
    facts = {"encoder": IDENTITY.fingerprint, "options": run.manifest.options_fingerprint}
    run.write_part(run.image_part(0), image_table(rows, 2, inputs="i", **facts))
    ids = pa.array([ref.image_id for ref in refs])
    scores = (np.full(N, True), PROBABILITY.astype(np.float32), np.zeros((N, 2), np.float32))
    run.write_part(run.score_part("words", 0), score_table(ids, *scores, inputs="i"))
    run.write_score_facts("words", {"threshold": 0.5})
    rated = [f"{i}.png,{label}\n" for i, label in enumerate(LABELS)]
    (tmp_path / "rated.csv").write_text("".join(["picture,bad\n", *rated, "gone.png,1\n"]))
    head = SoftPrompts(
        np.eye(2, dtype=np.float32),
        ("good", "bad"),
        (False, True),
        *("tiny", "a" * 64),
        logit_scale=5.0,
        calibration=Platt(1.5, 0.25),
        provenance={"tuned_on": [f"{i:016x}" for i in range(20)], "calibration": {"n_images": 1506}},
    )
    save_classifier(head, tmp_path / "clf.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


RATINGS = ("--ratings", "rated.csv", "--image-column", "picture", "--label-column", "bad")


def give(*args, to=command):
    return CliRunner().invoke(to, list(args))


def succeed(*args, to=command):
    done = give(*args, to=to)
    assert done.exit_code == 0, done.output
    if "--json" not in args:
        assert all(len(line) <= 80 and line == line.rstrip() for line in done.stdout.splitlines()), done.stdout
    return done


def test_three_decisions_and_what_is_promised_of_them(folder):
    done = succeed("run", *RATINGS, "--recall", "0.9", "--precision", "0.85")
    facts = json.loads((folder / "run/scores/words/classifier.json").read_text())
    low, high = (f"{facts[name]:.4g}" for name in ("threshold", "remove_threshold"))
    n_flagged, n_remove = facts["n_flagged"], facts["n_remove"]
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(line.startswith(f"keep < {low} {N - n_flagged} ") for line in lines)
    assert any(line.startswith(f"review from {low} to < {high} {n_flagged - n_remove} ") for line in lines)
    assert any(line.startswith(f"remove >= {high} {n_remove} ") for line in lines)
    at = lines.index("promised recall of unwanted images at least 90 % with 95 % confidence:")
    assert lines[at + 1 : at + 5] == [
        f"review at >= {low}",
        "precision of removal at least 85 % with 95 % confidence:",
        f"remove at >= {high}",
        "both together with 90 % confidence or more",
    ]
    assert f"labels {N} images, {LABELS.sum()} of them unwanted" in lines
    assert "next clipsieve summary run -c words" in lines


def test_names_that_are_not_in_the_run_are_told_on_stderr(folder):
    done = succeed("run", *RATINGS, "--recall", "0.9")
    matched, warning = done.stderr.splitlines()
    assert matched == f"matched {N} of {N + 1} rated images ({N} by image_id)"
    assert warning.startswith("warning: 1 rated name")
    assert warning.endswith("not in the run: gone.png")
    assert "gone.png" not in done.stdout


def test_the_labels_are_observed_at_each_threshold(folder):
    report = json.loads(succeed("run", *RATINGS, "--recall", "0.9", "--json").stdout)
    out = succeed("run", *RATINGS, "--recall", "0.9").stdout
    (seen,) = report["observed"]
    values = PROBABILITY.astype(np.float32)
    n_hits = int((LABELS[values >= seen["threshold"]]).sum())
    assert (seen["n_hits"], seen["recall"]) == (n_hits, n_hits / LABELS.sum())
    assert f"{100 * seen['recall']:.1f} %  {100 * seen['recall_low']:.1f}-{100 * seen['recall_high']:.1f} %" in out


def test_a_dry_run_says_so(folder):
    before = (folder / "run/scores/words/classifier.json").read_bytes()
    out = succeed("run", *RATINGS, "--precision", "0.8", "--dry-run").stdout
    assert "wrote     nothing: a dry run" in out
    assert " ".join(out.split()).count("review never 0 0.0 %") == 1
    assert (folder / "run/scores/words/classifier.json").read_bytes() == before


def test_json_holds_all_that_is_said_and_nothing_else_is_printed(folder):
    done = succeed("run", *RATINGS, "--recall", "0.9", "--precision", "0.8", "--confidence", "0.9", "--json")
    found = json.loads(done.stdout)
    facts = json.loads((folder / "run/scores/words/classifier.json").read_text())
    assert (found["threshold"], found["remove_threshold"]) == (facts["threshold"], facts["remove_threshold"])
    assert found["n_keep"] + found["n_review"] + found["n_remove"] == N
    assert [(p["kind"], p["target"], p["confidence"]) for p in found["promises"]] == [
        ("recall", 0.9, 0.9),
        ("precision", 0.8, 0.9),
    ]
    assert found["join"]["unmatched"] == ["gone.png"]
    assert (found["is_written"], found["output"]) == (True, None)


def test_a_classifier_file_gets_the_thresholds(folder):
    said = succeed("run", "-c", "clf.safetensors", to=score_command).stdout
    assert "probabilities are calibrated: platt on 1,506 images" in said
    files = ("--classifier-file", "clf.safetensors", "-o", "new.safetensors")
    done = succeed("run", "-c", "clf", *RATINGS, "--recall", "0.9", "--precision", "0.8", *files)
    assert "left out  20 that the classifier was tuned on" in done.stdout
    assert "          new.safetensors" in done.stdout
    again = succeed("run", "-c", "new.safetensors", to=score_command).stdout
    new = load_classifier("new.safetensors")
    assert f"at or above {new.threshold:.4g}\nof these, " in again
    assert f"at or above {new.remove_threshold:.4g} are to be removed" in again


def test_the_summary_repeats_decisions_and_promises(folder):
    before = succeed("run", to=summary_command).stdout
    assert "          probabilities are not calibrated\n" in before
    assert "promised" not in before
    assert "review" not in before
    succeed("run", *RATINGS, "--recall", "0.9", "--precision", "0.85")
    facts = json.loads((folder / "run/scores/words/classifier.json").read_text())
    after = succeed("run", to=summary_command).stdout
    n_review, n_remove = facts["n_flagged"] - facts["n_remove"], facts["n_remove"]
    assert f"          review {n_review} ({100 * n_review / N:.1f} %), remove {n_remove} (" in after
    assert "promised  recall of unwanted images at least 90 % with 95 % confidence:\n" in after
    told = json.loads(succeed("run", "--json", to=summary_command).stdout)
    assert [promise["target"] for promise in told["promises"]] == [0.9, 0.85]
    assert (told["n_remove"], told["remove_threshold"]) == (n_remove, facts["remove_threshold"])
    assert told["calibration"] is None


def test_the_summary_tells_machines_how_probabilities_were_calibrated(folder):
    succeed("run", "-c", "clf.safetensors", to=score_command)
    told = json.loads(succeed("run", "-c", "clf", "--json", to=summary_command).stdout)
    assert told["calibration"] == {"method": "platt", "n_images": 1506}
    assert told["promises"] == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([*RATINGS], "give `--recall`, `--precision` or both"),
        ([*RATINGS, "--recall", "1"], "not in the range"),
        ([*RATINGS, "--recall", "0.9", "--confidence", "0"], "not in the range"),
        ([*RATINGS, "--recall", "0.9", "-o", "new.safetensors"], "belong together"),
        ([*RATINGS, "--recall", "0.9", "--classifier-file", "clf.safetensors"], "belong together"),
    ],
)
def test_what_makes_no_sense_is_bad_usage(folder, args, message):
    done = give("run", *args)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (folder / "new.safetensors").exists()


def test_without_ratings_it_says_what_is_missing(folder):
    done = give("run", "--recall", "0.9")
    assert isinstance(done.exception, UsageError)
    assert "--ratings" in str(done.exception)


# Words


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (0.5, "0.5"),
        (0.9, "0.9"),
        (0.0, "0"),
        (1.0, "1"),
        (float(np.float32(0.031254)), "0.03125"),
        (float(np.nextafter(np.float32(1), np.float32(0))), "0.99999994"),
        (float(np.float32(1e-20)), "1e-20"),
    ],
)
def test_a_threshold_never_looks_like_certainty(threshold, words):
    assert threshold_words(threshold) == words


def test_calibration_in_words():
    assert calibration_words(None) == "not calibrated"
    assert calibration_words(ScoreCalibration("isotonic", None)) == "calibrated: isotonic"
    assert calibration_words(ScoreCalibration("platt", 1)) == "calibrated: platt on 1 image"


@pytest.mark.parametrize(
    ("fraction", "words"), [(0.95, "95 %"), (0.975, "97.5 %"), (0.29, "29 %"), (0.9999, "99.99 %")]
)
def test_a_target_is_repeated_as_it_was_given(fraction, words):
    assert percentage(fraction) == words


def test_a_promise_of_recall_names_the_threshold_that_is_in_force():
    """Where the promise of precision needs the lower threshold, that one flags, and nobody reviews."""
    low, high = promise_precision(PROBABILITY, LABELS, precision=0.5), promise_recall(PROBABILITY, LABELS, recall=0.5)
    assert low.threshold < high.threshold
    lines = promise_lines([high, low], low.threshold, low.threshold)
    at = threshold_words(low.threshold)
    assert lines[1] == f"remove at >= {at}"
    assert lines[3] == f"remove at >= {at}"
