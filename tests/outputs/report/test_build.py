"""From a run to the records of its report: every number against a plain count of the rows."""

import csv
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact

from clipsieve.engines.prevalence import estimate_prevalence
from clipsieve.engines.prevalence_plan import plan_prevalence, write_plan
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts, read_image_verdicts
from clipsieve.errors import RunConflictError, RunNotFoundError, UsageError
from clipsieve.outputs.report.build import build_report
from clipsieve.outputs.report.files import write_report_files
from clipsieve.outputs.report.flagged import flagged_rows
from clipsieve.store import Run
from report_records import FIGURES, HOSTILE
from scored_runs import write_scored_run, write_scores

MADE = "2026-11-25T12:00:00+00:00"
N = 1200


def draw(seed=0):
    """Return probabilities, codes among them; labels; captions."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 3, N).astype(np.float32)
    labels = rng.choice(["weapon", "tree", "dog", None], N, p=[0.1, 0.4, 0.3, 0.2]).tolist()
    is_weapon = np.array([label == "weapon" for label in labels])
    probability[is_weapon] = np.sqrt(probability[is_weapon])
    captions = [f"a photo of the {label}" if i % 2 else None for i, label in enumerate(labels)]
    for i, text in enumerate(HOSTILE):
        labels[i] = captions[i] = text
        probability[i] = 0.9
    values = probability.tolist()
    values[100:106] = ["truncated", "truncated", "blocked", "corrupt", "truncated", "blocked"]
    return values, labels, captions


VALUES, LABELS, CAPTIONS = draw()
SCORED = [i for i, p in enumerate(VALUES) if not isinstance(p, str)]
FLAGGED = [i for i in SCORED if VALUES[i] >= 0.5]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("report") / "run"
    return write_scored_run(
        path, VALUES, threshold=0.5, remove_threshold=0.8, part_size=250, labels=LABELS, captions=CAPTIONS
    )


def verdicts(path=Path("v.csv")) -> ImageVerdicts:
    said = {FLAGGED[0]: True, FLAGGED[1]: False, FLAGGED[2]: None, FLAGGED[3]: True, 101: True}
    said |= {i: i % 7 == 0 for i in SCORED if VALUES[i] < 0.5 and i % 20 == 0}
    by_image = {f"{i:04d}.png": ImageVerdict(word, ("Ann",), 1) for i, word in said.items()}
    return ImageVerdicts(path, "9" * 64, by_image)


@pytest.fixture(scope="module")
def report(run):
    return build_report(run, made=MADE)


def values(report):
    return {figure.id: figure.value for figure in report.figures}


def test_every_figure_is_there_with_its_words_and_in_order(report):
    assert [figure.id for figure in report.figures] == [figure.id for figure in FIGURES]
    assert [figure.words for figure in report.figures] == [figure.words for figure in FIGURES]


def test_counts_are_those_of_the_rows(report):
    found = values(report)
    assert (
        found
        | {
            "n_listed": N,
            "n_scanned": N - 6,
            "n_failed": 6,
            "n_blocked": 2,
            "n_not_hashed": 0,
            "n_ignored": 0,
            "n_with_label": sum(label is not None for label in LABELS),
            "n_with_caption": sum(caption is not None for caption in CAPTIONS),
            "n_scored": N - 6,
            "n_flagged": len(FLAGGED),
            "n_remove": sum(VALUES[i] >= np.float32(0.8) for i in FLAGGED),
            "n_verdicts": 0,
            "n_classes": len({LABELS[i] for i in SCORED} - {None}),
        }
        == found
    )
    assert found["n_review"] + found["n_remove"] == found["n_flagged"]
    assert [(failure.code, failure.n) for failure in report.failures] == [
        ("truncated", 3),
        ("blocked", 2),
        ("corrupt", 1),
    ]


@pytest.mark.parametrize(("figure_id", "hits", "n"), [("share_failed", 6, N), ("share_flagged", len(FLAGGED), N - 6)])
def test_shares_have_the_score_interval(report, figure_id, hits, n):
    found, expected = report.figure(figure_id), binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert (found.value, found.confidence) == (hits / n, 0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert "Wilson 1927" in found.method


def test_what_is_not_known_has_no_value_and_no_interval(report):
    for figure_id in ("share_confirmed", "prevalence", "recall"):
        assert replace(report.figure(figure_id), id="", words="") == replace(FIGURES[0], id="", words="", value=None)


def test_the_histogram_counts_every_probability_once(report):
    assert len(report.histogram) == 50
    assert (report.histogram[0].low, report.histogram[-1].high) == (0.0, 1.0)
    for each in report.histogram:
        is_last = each.high == 1.0
        assert each.n == sum(each.low <= VALUES[i] and (VALUES[i] < each.high or is_last) for i in SCORED)


def test_classes_are_rated_against_the_rest(report):
    assert report.classes[0].label == "weapon"
    weapon = report.classes[0]
    members = [i for i in SCORED if LABELS[i] == "weapon"]
    hits = sum(i in FLAGGED for i in members)
    others = len(FLAGGED) - hits
    table = [[hits, len(members) - hits], [others, N - 6 - len(members) - others]]
    assert (weapon.n_scored, weapon.n_flagged, weapon.share) == (len(members), hits, hits / len(members))
    assert weapon.p_value == pytest.approx(fisher_exact(table, alternative="greater").pvalue, rel=1e-6)
    assert [rated.q_value for rated in report.classes] == sorted(rated.q_value for rated in report.classes)
    assert {rated.label for rated in report.classes} == {LABELS[i] for i in SCORED} - {None}
    assert values(report)["n_classes_over"] == sum(rated.q_value < 0.05 for rated in report.classes)


def test_terms_of_class_names_and_captions(report):
    names, captions = report.terms
    assert (names.field, captions.field) == ("class names", "captions")
    assert names.n_flagged == sum(LABELS[i] is not None for i in FLAGGED)
    assert names.n_flagged + names.n_rest == sum(LABELS[i] is not None for i in SCORED)
    assert names.terms[0].term == "weapon"
    assert captions.terms[0].term == "weapon"
    assert captions.frequent[0].n_flagged == max(term.n_flagged for term in captions.frequent)
    photo = next(term for term in captions.frequent if term.term == "photo")
    assert photo.n_flagged == sum("photo" in (CAPTIONS[i] or "") for i in FLAGGED)
    assert photo.n_flagged + photo.n_rest == sum("photo" in (CAPTIONS[i] or "") for i in SCORED)
    assert not {"the", "of"} & {term.term for term in captions.frequent}


def test_verdicts_are_counted_where_the_images_are(run):
    found = build_report(run, made=MADE, verdicts=verdicts())
    said = verdicts().by_image
    unflagged = [i for i in SCORED if VALUES[i] < 0.5 and i % 20 == 0]
    assert values(found) | {
        "n_verdicts": len(said) - 1,
        "n_verdicts_unwanted": sum(word.unwanted is True for word in said.values()) - 1,
        "n_verdicts_unsure": 1,
        "n_flagged_reviewed": 4,
        "n_flagged_unsure": 1,
        "n_flagged_decided": 3,
        "n_flagged_unreviewed": len(FLAGGED) - 4,
        "n_flagged_confirmed": 2,
        "share_confirmed": 2 / 3,
        "precision": None,
        "n_unflagged_reviewed": len(unflagged),
        "n_unflagged_unwanted": sum(i % 7 == 0 for i in unflagged),
        "n_unscored_reviewed": 1,
        "n_unscored_unwanted": 1,
    } == values(found)
    exact = binomtest(2, 3).proportion_ci(0.95, "exact")
    confirmed = found.figure("share_confirmed")
    assert (confirmed.low, confirmed.high) == pytest.approx((exact.low, exact.high))
    assert "Clopper and Pearson" in confirmed.method


def judged_sample(run, path, column=None):
    """Write a sample of the run with a verdict in every line; the even images are unwanted."""
    write_plan(plan_prevalence(run, width=0.2), path)
    head, *lines = path.read_text().splitlines()
    judged = [line + ("unwanted" if int(line[:4]) % 2 == 0 else "wanted") for line in lines]
    if column:
        judged = [line.replace(*column) for line in judged]
    path.write_text("\n".join([head, *judged]) + "\n")
    return read_image_verdicts(path)


def test_a_sample_gives_prevalence_and_recall(run, tmp_path):
    said = judged_sample(run, tmp_path / "sample.csv")
    found, expected = build_report(run, made=MADE, verdicts=said), estimate_prevalence(run, tmp_path / "sample.csv")
    for figure_id, whole in (("prevalence", expected.prevalence), ("recall", expected.recall)):
        figure = found.figure(figure_id)
        assert (figure.value, figure.low, figure.high) == (whole.share, whole.low, whole.high)
        assert "stratified" in figure.method
    assert found.method["verdicts"] == {"file": "sample.csv", "sha256": said.sha256, "n_images": len(said.by_image)}


def test_a_sample_for_another_threshold_says_nothing_of_recall(run, tmp_path):
    said = judged_sample(run, tmp_path / "sample.csv")
    run.write_score_facts("stricter", run.score_facts("test") | {"threshold": 0.7})
    for index in range(run.manifest.n_parts):
        run.write_part(run.score_part("stricter", index), run.read_part(run.score_part("test", index)))
    try:
        found = build_report(run, made=MADE, scores_name="stricter", verdicts=said)
    finally:
        run.drop_score_facts("stricter")
    assert found.figure("prevalence").value is not None
    assert found.figure("recall").value is None
    assert any("had another flag when it was drawn" in sentence for sentence in found.limits)


def test_a_sample_that_cannot_be_used_is_a_limit_and_no_error(run, tmp_path):
    said = judged_sample(run, tmp_path / "sample.csv", (",yes,", ",maybe,"))
    found = build_report(run, made=MADE, verdicts=said)
    assert found.figure("prevalence").value is None
    sentence = next(s for s in found.limits if s.startswith("How many images are unwanted in all was not estimated: "))
    assert "`sample.csv`, line " in sentence
    assert str(tmp_path) not in " ".join(found.limits)
    assert found.figure("share_confirmed").value is not None
    assert found.figure("share_confirmed").low is None  # its images were drawn by strata, whether it can be used or not
    assert any("do not speak for the others" in sentence for sentence in found.limits)


def test_unsure_is_a_word_of_a_sample_too(run, tmp_path):
    path = tmp_path / "sample.csv"
    judged_sample(run, path, ("04.png,file:///photos/", "04.png,file:///photos/"))
    head, *lines = path.read_text().splitlines()
    words = ("keep", "remove")
    path.write_text("\n".join([head, *(line.rpartition(",")[0] + "," + words[i % 2] for i, line in enumerate(lines))]))
    first = path.read_text().replace("keep", "unsure", 1)
    path.write_text(first)
    found = build_report(run, made=MADE, verdicts=read_image_verdicts(path))
    assert found.figure("prevalence").value is not None
    assert any("unsure of 1 of " in sentence and "of the sample" in sentence for sentence in found.limits)


@pytest.mark.slow
def test_a_sample_gives_the_share_of_the_flagged_by_strata_and_not_of_those_that_were_drawn(tmp_path):
    drawn = np.random.default_rng(5).beta(0.6, 1.4, 4000).astype(np.float32).tolist()
    run = write_scored_run(tmp_path / "run", drawn, threshold=0.3)
    write_plan(plan_prevalence(run, width=0.2), tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        head, *lines = csv.reader(file)
    strata, hits = {}, {}
    for line in lines:  # the more probable, the more often unwanted
        line[5] = "unwanted" if drawn[int(line[0][:4])] >= 0.45 else "wanted"
        if line[4] == "yes":
            strata[line[2]] = int(line[3])
            hits.setdefault(line[2], []).append(line[5] == "unwanted")
    with (tmp_path / "s.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *lines])
    found = build_report(run, made=MADE, verdicts=read_image_verdicts(tmp_path / "s.csv"))
    raw = np.concatenate(list(hits.values())).mean()
    expected = sum(size * np.mean(hits[name]) for name, size in strata.items()) / sum(strata.values())
    assert sum(strata.values()) == sum(value >= np.float32(0.3) for value in drawn)
    assert abs(raw - expected) > 0.01
    precision, confirmed = found.figure("precision"), found.figure("share_confirmed")
    assert precision.value == pytest.approx(expected)
    assert precision.low < expected < precision.high
    assert (confirmed.value, confirmed.low, confirmed.method) == (pytest.approx(raw), None, None)
    assert not any("speak for the others" in sentence for sentence in found.limits)


def judge_all(words, *, unsure=()):
    by_image = {f"{i:04d}.png": ImageVerdict(None if i in unsure else word, (), 1) for i, word in words.items()}
    return ImageVerdicts(Path("v.csv"), "9" * 64, by_image)


def test_where_people_decided_on_every_scored_image_the_share_is_exact(run):
    words = {i: VALUES[i] >= 0.6 or i % 50 == 0 for i in SCORED}
    found = build_report(run, made=MADE, verdicts=judge_all(words))
    n, n_hits = sum(words.values()), sum(words[i] for i in FLAGGED)
    expected = {"prevalence": n / len(SCORED), "recall": n_hits / n, "precision": n_hits / len(FLAGGED)}
    for figure_id, value in expected.items():
        figure = found.figure(figure_id)
        assert (figure.value, figure.low, figure.high, figure.confidence) == (value, None, None, None)
        assert "every one" in figure.words
    assert found.figure("share_confirmed").low is None
    text = " ".join(found.limits)
    for words_ in ("was not estimated", "random sample", "drawn at random", "obody has looked"):
        assert words_ not in text


def test_where_people_were_unsure_of_some_the_two_ends_are_said(run):
    words = dict.fromkeys(SCORED, False) | dict.fromkeys(SCORED[:300], True)
    found = build_report(run, made=MADE, verdicts=judge_all(words | {101: True}, unsure=SCORED[:3]))
    assert found.figure("prevalence").value is None
    n = len(SCORED)
    low, high = f"{100 * 297 / n:.6g} %", f"{100 * 300 / n:.6g} %"
    assert any(f"people were unsure of some: from {low} to {high} of them are unwanted" in s for s in found.limits)
    assert any("1 image with a verdict has no probability" in sentence for sentence in found.limits)
    assert found.figure("n_verdicts").value == n


def test_images_that_the_classifier_was_tuned_on_are_counted(run):
    facts = run.score_facts("test")
    here = [hashlib.sha256(str(i).encode()).hexdigest()[:16] for i in (3, 4, 5)]
    for provenance, expected in (
        ({"tuned_on": [*here, "0" * 16]}, {"tuned on 3 images of this run"}),
        ({"begins_with": {}, "tuned_on": here[:1]}, {"tuned on 1 image of this run", "is not known: some of this run"}),
        ({}, set()),
    ):
        run.write_score_facts("test", facts | {"provenance": provenance})
        try:
            text = " ".join(build_report(run, made=MADE).limits)
        finally:
            run.write_score_facts("test", facts)
        told = {"tuned on 3 images of this run", "tuned on 1 image of this run", "is not known: some of this run"}
        assert {words for words in told if words in text} == expected


def test_names_that_are_no_utf8_are_spelled_out(run, tmp_path):
    said = replace(verdicts(), path=Path("v\udcff.csv"))
    found = build_report(run, made=MADE, verdicts=said, title="bad\udcff")
    assert found.title == r"bad\xff"
    assert found.method["verdicts"]["file"] == r"v\xff.csv"
    assert any(r"bad\xff" in command for command in found.method["commands"])
    write_report_files(found, [], tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["title"] == r"bad\xff"


@pytest.mark.parametrize(
    ("location", "kind", "name"),
    [
        ("/data/odd [2023]", "folder", "odd [2023]"),
        ("/data/what?/imgs", "folder", "imgs"),
        ("s3://b/laion/{000..099}.tar", "webdataset", "laion"),
        ("https://example.org/a/t.csv?key=1/2", "table", "t.csv"),
    ],
)
def test_the_title_is_the_last_name_of_the_place(run, location, kind, name):
    moved = Run(run.path, replace(run.manifest, source_location=location, source_kind=kind))
    assert build_report(moved, made=MADE).title == name


def test_a_run_that_is_scored_anew_meanwhile_gives_no_list(tmp_path):
    run = write_scored_run(tmp_path / "run", [0.9, 0.1, 0.6], threshold=0.5)
    digest = build_report(run, made=MADE).method["run"]["scores_sha256"]
    assert len(list(flagged_rows(run, scores_sha256=digest))) == 2
    run.write_score_facts("test", run.score_facts("test") | {"threshold": 0.7})
    with pytest.raises(RunConflictError, match="made anew"):
        list(flagged_rows(run, scores_sha256=digest))
    run.write_score_facts("test", run.score_facts("test") | {"threshold": 0.5})
    write_scores(run, 0, run.read_part(run.image_part(0)), [0.9, 0.2, 0.6])
    with pytest.raises(RunConflictError):
        list(flagged_rows(run, scores_sha256=digest))


def test_the_guide_lists_every_figure():
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "report.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z_]+)` \|", guide, re.MULTILINE)
    assert listed == [figure.id for figure in FIGURES]


def test_limits_say_what_was_not_looked_at(run, report):
    text = " ".join(report.limits)
    for words in (
        "4 images could not be read, decoded or encoded (3 truncated, 1 corrupt): nothing is said of them.",
        "2 images on the block list were never opened.",
        f"Nobody has looked at the flagged images ({len(FLAGGED):,}).",
        f"Nobody has looked at the images that are not flagged ({len(SCORED) - len(FLAGGED):,})",
        "Text inside images was not read as text.",
        "not calibrated",
        "only the first frame",
        "does not mean that it is harmless",
    ):
        assert words in text
    assert all(sentence.endswith(".") and sentence[0] == sentence[0].upper() for sentence in report.limits)
    reviewed = build_report(run, made=MADE, verdicts=verdicts())
    assert any(f"{len(FLAGGED) - 4:,} of the {len(FLAGGED):,} flagged images" in s for s in reviewed.limits)


def test_the_method_is_enough_to_repeat_it_and_is_json(run, report):
    method = json.loads(json.dumps(report.method, allow_nan=False))
    assert method["encoder"]["weights_sha256"] == "ab" * 32
    assert method["run"]["run_json_sha256"] == hashlib.sha256((run.path / "run.json").read_bytes()).hexdigest()
    assert {"clipsieve", "python", "numpy", "pyarrow", "pillow", "onnxruntime"} <= set(method["versions"])
    assert (method["classifier"]["name"], method["classifier"]["class_names"]) == ("test", ["good", "bad"])
    assert (method["verdicts"], method["taxonomy"]) == (None, None)
    assert str(run.path) not in json.dumps(method)
    digests = "".join(f"{hashlib.sha256(str(i).encode()).hexdigest()}\n" for i in range(N))
    assert method["run"]["images_sha256"] == hashlib.sha256(digests.encode()).hexdigest()


def test_the_digests_of_training_images_are_one_hash(run):
    tuned = {
        "ratings": {"file": "r.csv"},
        "tuned_on": ["b", "a"],
        "begins_with": {"prompts": {"bad": ["x"]}, "tuned_on": []},
    }
    facts = run.score_facts("test")
    run.write_score_facts("test", facts | {"provenance": tuned})
    try:
        found = build_report(run, made=MADE).method["classifier"]
    finally:
        run.write_score_facts("test", facts)
    assert found["prompts"] == {"bad": ["x"]}
    assert found["provenance"]["n_tuned_on"] == 2
    assert found["provenance"]["tuned_on_sha256"] == hashlib.sha256(b"a\nb\n").hexdigest()
    assert "tuned_on" not in found["provenance"]["begins_with"]


def test_the_same_run_gives_the_same_report_and_the_title_is_the_source(run, report):
    assert build_report(run, made=MADE) == report
    assert (report.title, report.source_location, report.made) == ("photos", "/photos", MADE)
    assert build_report(run, made=MADE, title="Mine").title == "Mine"


def test_progress_is_told(run):
    said = []
    build_report(run, made=MADE, on_progress=lambda *numbers: said.append(numbers))
    assert said == [(250, N), (500, N), (750, N), (1000, N), (N, N)]


def test_a_run_without_flags_labels_or_captions(tmp_path):
    found = build_report(write_scored_run(tmp_path / "run", [0.1, 0.2, None], threshold=0.5), made=MADE)
    assert (found.classes, found.terms, found.taxonomy) == ((), (), None)
    assert values(found)["share_flagged"] == 0.0
    assert any("The source gives no classes and no captions." in sentence for sentence in found.limits)


def test_a_run_in_which_every_image_failed(tmp_path):
    found = build_report(write_scored_run(tmp_path / "run", [None, "blocked"], threshold=0.5), made=MADE)
    assert (found.figure("share_flagged").value, found.figure("share_failed").value) == (None, 1.0)
    assert sum(each.n for each in found.histogram) == 0


def test_a_threshold_is_compared_as_float32(tmp_path):
    edge = float(np.float32(0.7))
    assert edge < 0.7  # in float64 it would not be flagged
    run = write_scored_run(tmp_path / "run", [edge, float(np.nextafter(np.float32(0.7), np.float32(0)))], threshold=0.7)
    assert values(build_report(run, made=MADE))["n_flagged"] == 1
    assert [image.index for image in flagged_rows(run)] == [0]


def test_what_makes_no_sense_is_refused(run):
    strange = ImageVerdicts(Path("v.csv"), "0" * 64, {"9999.png": ImageVerdict(True, (), 1)})
    with pytest.raises(UsageError, match="not in the run"):
        build_report(run, made=MADE, verdicts=strange)
    with pytest.raises(RunNotFoundError):
        build_report(run, made=MADE, scores_name="other")
