"""A sample that people can judge, and an estimate that does not believe a file which contradicts itself or the run."""

import csv
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from clipsieve.engines.prevalence import estimate_prevalence
from clipsieve.engines.prevalence_plan import plan_prevalence, write_plan
from clipsieve.engines.verdicts import COLUMNS, read_verdicts
from clipsieve.errors import ClipsieveError, RunError, UsageError
from clipsieve.evaluation.prevalence import estimate
from clipsieve.store import Run, RunManifest, image_table, score_table
from clipsieve.types import (
    EmbeddedImage,
    EncoderIdentity,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    FileFacts,
    ImageRef,
    Preprocessing,
)

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

IDENTITY = EncoderIdentity("tiny", "a" * 64, Preprocessing(8, "squash", "bicubic", (0,) * 3, (1,) * 3), "fp32", 2)
EMBEDDING = np.array([1, 0], dtype=np.float32)
FACTS = FileFacts("0" * 64, 1, 1, 1, "PNG")
BROKEN = Failure(FailureStep.DECODE, FailureCode.TRUNCATED, "broken")
ODD_IDS = [
    "=1+1",
    "+1",
    "-1",
    "@here",
    'a "quoted" one',
    "comma, and; more",
    "two\nlines",
    "back\rwards",
    "\tü\x1b[31m",
    " ",
]
PART = 400


def make_run(path, probabilities, ids=None, name="words"):
    """Write a run; a probability of None stands for an image that could not be read."""
    ids = ids or [f"{i}.png" for i in range(len(probabilities))]
    n_parts = -(-len(ids) // PART)
    run = Run.create(path, RunManifest("folder", "/photos", PART, len(ids), n_parts, 0, IDENTITY, "tiny", {}, "0"))
    for index in range(n_parts):
        here = slice(index * PART, (index + 1) * PART)
        write_part(run, index, ids[here], probabilities[here])
    score_again(run, probabilities, ids, name)
    return run


def write_part(run, index, ids, probabilities):
    refs = [ImageRef(image_id, f"file:///{n}", None, None, b"") for n, image_id in enumerate(ids)]
    rows = [
        FailedImage(ref, None, BROKEN) if p is None else EmbeddedImage(ref, FACTS, EMBEDDING)
        for ref, p in zip(refs, probabilities, strict=True)
    ]
    facts = {"encoder": IDENTITY.fingerprint, "options": run.manifest.options_fingerprint}
    run.write_part(run.image_part(index), image_table(rows, 2, inputs=f"{index}", **facts))


def score_again(run, probabilities, ids, name):
    for index in range(run.manifest.n_parts):
        here = slice(index * PART, (index + 1) * PART)
        present = np.array([p is not None for p in probabilities[here]])
        values = np.array([p for p in probabilities[here] if p is not None], dtype=np.float32)
        table = score_table(
            pa.array(ids[here]), present, values, np.zeros((len(values), 2), np.float32), inputs=f"{index}"
        )
        run.write_part(run.score_part(name, index), table)
    run.write_score_facts(name, {"threshold": 0.5})


@pytest.fixture
def run(tmp_path):
    probabilities = [None, *np.random.default_rng(0).beta(0.2, 1, 1_999).tolist()]
    return make_run(tmp_path / "run", probabilities)


@pytest.fixture
def sample(run, tmp_path):
    """Return a file of the run, every image judged: unwanted if its number can be divided by ten."""
    path = tmp_path / "sample.csv"
    write_plan(plan_prevalence(run, width=0.1), path)
    return edit(path, lambda _, row: row | {"verdict": "1" if int(row["image_id"][:-4]) % 10 == 0 else "0"})


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def save(path, rows, **options):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], **options)
        writer.writeheader()
        writer.writerows(rows)
    return path


def edit(path, change):
    return save(path, [change(i, row) for i, row in enumerate(rows_of(path))])


def change(line, **values):
    return lambda i, row: row | values if i + 2 == line else row


def test_a_plan_covers_every_image_with_a_score_and_never_mixes_flags(run):
    plan = plan_prevalence(run, width=0.1)
    assert (plan.n_images, plan.n_failed, plan.scores_name) == (1_999, 1, "words")
    assert sum(stratum.n_images for stratum in plan.strata) == 1_999
    assert Counter(image.stratum for image in plan.images) == {s.number: s.n_sampled for s in plan.strata}
    assert [s.highest >= 0.5 for s in plan.strata] == [s.lowest >= 0.5 for s in plan.strata]
    assert [s.flagged for s in plan.strata] == [s.lowest >= 0.5 for s in plan.strata]
    assert {image.flagged for image in plan.images if image.stratum == 1} == {False}


def test_a_sample_has_the_ids_of_its_strata_and_none_twice(run):
    plan = plan_prevalence(run, width=0.1)
    probability = {row["image_id"]: row["probability"] for _, t in run.iter_scores("words") for row in t.to_pylist()}
    for image in plan.images:
        stratum = plan.strata[image.stratum - 1]
        assert stratum.lowest <= probability[image.image_id] <= stratum.highest
        assert image.uri == f"file:///{int(image.image_id[:-4]) % PART}"
    assert len({image.image_id for image in plan.images}) == len(plan.images)


def test_the_same_seed_draws_the_same_and_another_others(run):
    first, again, other = (plan_prevalence(run, width=0.1, seed=seed).images for seed in (0, 0, 1))
    assert first == again
    assert {image.image_id for image in first} != {image.image_id for image in other}


def test_a_narrower_width_asks_for_the_same_images_and_more(run):
    wide, narrow = ({image.image_id for image in plan_prevalence(run, width=w).images} for w in (0.2, 0.05))
    assert wide < narrow


@pytest.mark.slow
def test_every_image_of_a_stratum_is_drawn_equally_often_and_stands_anywhere(tmp_path):
    run = make_run(tmp_path / "run", [0.2] * 100 + [0.9] * 100)
    plans = [plan_prevalence(run, width=0.2, seed=seed).images for seed in range(50)]
    drawn = Counter(image.image_id for images in plans for image in images)
    in_strata = np.array([drawn[f"{i}.png"] for i in range(200)]).reshape(2, 100)
    rate = in_strata.mean(axis=1, keepdims=True) / 50
    assert (np.abs(in_strata / 50 - rate) < 5 * np.sqrt(rate * (1 - rate) / 50)).all()
    first = np.mean([images[0].stratum == 1 for images in plans])
    expected = np.mean([image.stratum == 1 for image in plans[0]])
    assert abs(first - expected) < 0.25


def test_the_estimate_is_that_of_the_counts(run, sample):
    report = estimate_prevalence(run, sample)
    numbers = np.array([(s.n_hits, s.n_judged, s.n_images) for s in report.strata], dtype=np.int64)
    assert report.prevalence == estimate(*np.ascontiguousarray(numbers.T))
    assert report.prevalence.n_unwanted_low <= 199 <= report.prevalence.n_unwanted_high
    assert (report.n_failed, report.n_open, report.warnings) == (1, 0, ())
    assert report.n_judged == len(rows_of(sample))
    assert 0 < report.recall.low < report.recall.share < report.recall.high < 1


def test_ids_and_verdicts_survive_whatever_they_contain(tmp_path):
    run = make_run(tmp_path / "run", [i / len(ODD_IDS) for i in range(len(ODD_IDS))], ODD_IDS)
    path = tmp_path / "sample.csv"
    write_plan(plan_prevalence(run, width=0.1), path)
    assert sorted(verdict.image_id for verdict in read_verdicts(path)) == sorted(ODD_IDS)
    report = estimate_prevalence(run, edit(path, lambda _, row: row | {"verdict": " Unwanted"}))
    assert (report.prevalence.n_unwanted, report.prevalence.low) == (len(ODD_IDS), 1.0)


@pytest.mark.parametrize("words", [("1", "0"), ("yes", "no"), ("TRUE", "FALSE"), ("Unwanted", "wanted"), (" 1 ", "0 ")])
def test_many_words_mean_the_same(run, sample, words):
    expected = estimate_prevalence(run, sample)
    edit(sample, lambda _, row: row | {"verdict": words[row["verdict"] == "0"]})
    assert estimate_prevalence(run, sample) == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_spreadsheets_make_of_a_file_is_read(run, sample, delimiter):
    expected = estimate_prevalence(run, sample)
    rows = [{"note": "mine", **dict(reversed(row.items()))} for row in rows_of(sample)]
    save(sample, rows, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    sample.write_bytes(b"\xef\xbb\xbf" + sample.read_bytes() + b"\r\n" + delimiter.encode() * 6 + b"\r\n")
    assert estimate_prevalence(run, sample) == expected


def test_an_unfinished_sample_is_used_with_a_warning(run, sample):
    n = len(rows_of(sample))
    edit(sample, lambda i, row: row if i < n // 2 else row | {"verdict": ""})
    report = estimate_prevalence(run, sample)
    assert (report.n_judged, report.n_open) == (n // 2, n - n // 2)
    assert "random part" in report.warnings[0]
    assert report.prevalence.n_unwanted_low <= 199 <= report.prevalence.n_unwanted_high


def test_images_that_people_were_unsure_of_count_as_not_judged_and_are_told_apart(run, sample):
    edit(sample, lambda i, row: row | {"verdict": {0: "unsure", 1: "Review", 2: ""}.get(i, "keep")})
    found = estimate_prevalence(run, sample)
    n = len(rows_of(sample))
    assert (found.n_judged, found.n_open, found.n_unsure) == (n - 3, 1, 2)
    assert any("unsure of 2 of" in warning for warning in found.warnings)
    assert any(warning.startswith("1 of ") for warning in found.warnings)


def test_a_stratum_without_verdicts_is_an_error(run, sample):
    edit(sample, lambda _, row: row | {"verdict": ""} if row["stratum"] == "2" else row)
    with pytest.raises(UsageError, match="no image of stratum 2"):
        estimate_prevalence(run, sample)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"verdict": "maybe"}, "line 3: `verdict` is none of the known words"),
        ({"verdict": "2"}, "found:    `2`"),
        ({"flagged": ""}, "line 3: `flagged` is none of the known words"),
        ({"stratum": "one"}, "line 3: `stratum` is no whole number"),
        ({"stratum": "0"}, "line 3: `stratum` is no whole number"),
        ({"stratum_size": "1e3"}, "line 3: `stratum_size` is no whole number"),
        ({"stratum_size": "9" * 4_000}, "line 3: `stratum_size` is no whole number"),
        ({"stratum_size": "٣"}, "line 3: `stratum_size` is no whole number"),
        ({"stratum_size": "7"}, "line [0-9]+: `stratum_size` contradicts line [0-9]+"),
        ({"image_id": "other.png"}, "line 3: no image with a score has this id"),
        ({"image_id": "0.png"}, "line 3: no image with a score has this id"),
        ({"image_id": "\x1b[2J"}, r"found:    '\\x1b\[2J'"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(run, sample, values, message):
    edit(sample, change(3, **values))
    with pytest.raises(UsageError, match=message):
        estimate_prevalence(run, sample)


def test_a_flag_that_changes_within_a_stratum_is_named(run, sample):
    flagged = rows_of(sample)[1]["flagged"]
    edit(sample, change(3, flagged="no" if flagged == "yes" else "yes"))
    with pytest.raises(UsageError, match="`flagged` contradicts"):
        estimate_prevalence(run, sample)


def test_an_image_that_stands_twice_is_named(run, sample):
    save(sample, [*rows_of(sample), rows_of(sample)[0]])
    with pytest.raises(UsageError, match="stands in line 2 already"):
        estimate_prevalence(run, sample)


def test_a_stratum_that_was_left_out_is_noticed(run, sample):
    save(sample, [row for row in rows_of(sample) if row["stratum"] != "1"])
    with pytest.raises(UsageError, match="not those of the run"):
        estimate_prevalence(run, sample)


def test_a_run_that_has_grown_is_noticed(sample, tmp_path):
    grown = make_run(tmp_path / "grown", [None] + [0.1] * 2_100)
    with pytest.raises(UsageError, match="not those of the run"):
        estimate_prevalence(grown, sample)


def test_a_file_without_images_is_refused(run, tmp_path):
    path = tmp_path / "sample.csv"
    path.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(UsageError, match="holds no images"):
        estimate_prevalence(run, path)


def test_verdicts_are_never_overwritten(run, sample, tmp_path):
    before = sample.read_bytes()
    with pytest.raises(UsageError, match="holds verdicts"):
        write_plan(plan_prevalence(run, width=0.1, seed=1), sample)
    assert sample.read_bytes() == before
    other = tmp_path / "notes.csv"
    other.write_text("my notes\n")
    with pytest.raises(UsageError, match="is there already"):
        write_plan(plan_prevalence(run, width=0.1), other)
    assert other.read_text() == "my notes\n"


def test_a_sample_without_verdicts_is_replaced(run, tmp_path):
    path = tmp_path / "sample.csv"
    write_plan(plan_prevalence(run, width=0.1), path)
    write_plan(plan_prevalence(run, width=0.1, seed=1), path)
    assert rows_of(path)[0]["image_id"] == plan_prevalence(run, width=0.1, seed=1).images[0].image_id
    with pytest.raises(RunError, match="cannot write"):
        write_plan(plan_prevalence(run, width=0.1), tmp_path / "nowhere" / "sample.csv")


def test_scores_must_be_chosen_where_there_is_a_choice(run):
    ids = [f"{i}.png" for i in range(2_000)]
    score_again(run, [None] + [0.3] * 1_999, ids, "other")
    with pytest.raises(UsageError, match="several scores"):
        plan_prevalence(run, width=0.1)
    assert len(plan_prevalence(run, "other", width=0.1).strata) == 1


def test_a_run_without_a_single_score_is_refused(tmp_path):
    with pytest.raises(ClipsieveError, match="no image of"):
        plan_prevalence(make_run(tmp_path / "run", [None, None]), width=0.1)


@pytest.mark.parametrize("spoil", ["lines", "flags", "nothing"])
def test_what_was_changed_in_the_file_of_a_written_plan_is_noticed(tmp_path, spoil):
    rng = np.random.default_rng(5)
    run = make_run(tmp_path / "run", rng.uniform(size=800).astype(np.float32).tolist())
    write_plan(plan_prevalence(run, width=0.2), tmp_path / "plan.csv", run=run)
    with (tmp_path / "plan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["verdict"] = "1"
        if spoil == "flags":
            row["flagged"] = "no"
    kept = rows[3:] if spoil == "lines" else rows
    with (tmp_path / "judged.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(kept)
    warnings = estimate_prevalence(run, tmp_path / "judged.csv").warnings
    expected = {
        "lines": ["3 images of the sample are no longer in the file"],
        "flags": ["the column `flagged`"],
        "nothing": [],
    }
    assert len(warnings) == len(expected[spoil])
    assert all(words in warning for words, warning in zip(expected[spoil], warnings, strict=True))
