"""From a run to the records of its report: every number against a plain count of the rows."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact

from clipsieve.engines.prevalence import estimate_prevalence
from clipsieve.engines.prevalence_plan import plan_prevalence, write_plan
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts, read_image_verdicts
from clipsieve.errors import RunNotFoundError, UsageError
from clipsieve.outputs.report.build import build_report
from clipsieve.outputs.report.flagged import flagged_rows
from clipsieve.store import Run
from report_records import FIGURES, HOSTILE
from scored_runs import write_scored_run

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
        "n_verdicts": len(said),
        "n_verdicts_unwanted": sum(word.unwanted is True for word in said.values()),
        "n_verdicts_unsure": 1,
        "n_flagged_reviewed": 4,
        "n_flagged_unreviewed": len(FLAGGED) - 4,
        "n_flagged_confirmed": 2,
        "share_confirmed": 0.5,
        "n_unflagged_reviewed": len(unflagged),
        "n_unflagged_unwanted": sum(i % 7 == 0 for i in unflagged),
    } == values(found)
    exact = binomtest(2, 4).proportion_ci(0.95, "exact")
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
    said = judged_sample(run, tmp_path / "sample.csv", ("unwanted", "unsure"))
    found = build_report(run, made=MADE, verdicts=said)
    assert found.figure("prevalence").value is None
    assert any(s.startswith("How many images are unwanted in all was not estimated: ") for s in found.limits)


def test_a_sample_that_was_asked_for_must_be_one(run, tmp_path):
    judged_sample(run, tmp_path / "sample.csv")
    found = build_report(run, made=MADE, verdicts_path=tmp_path / "sample.csv")
    assert found.figure("recall").value is not None
    assert found.figure("n_verdicts").value == 0
    with pytest.raises(UsageError, match="there is no file"):
        build_report(run, made=MADE, verdicts_path=tmp_path / "missing.csv")


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
