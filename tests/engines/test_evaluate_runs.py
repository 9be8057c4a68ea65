"""From runs and ratings to figures: the same as scikit-learn's, for several methods and encoders on the same splits."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from clipsieve.classifiers import save_classifier
from clipsieve.engines import (
    Evaluation,
    EvaluationOptions,
    Protocol,
    build_method,
    evaluate_predictions,
    evaluate_runs,
    parse_fractions,
    read_ratings,
    tune,
)
from clipsieve.errors import EncoderMismatchError, UsageError
from clipsieve.outputs.evaluation_files import write_evaluation
from clipsieve.store import Run
from model_folders import WIDTH, make_onnx_folder
from rated_runs import THREE, TWO, draw_embeddings, draw_ratings, write_run, write_table

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

N = 300  # so that a training set has more than 100 images, where cross-validation is quickest
RATING = draw_ratings(N, seed=5)
CLEAR = (RATING < 2.5) | (RATING > 3.5)
METRICS = {
    "accuracy": lambda labels, probability: accuracy_score(labels, probability >= 0.5),
    "precision": lambda labels, probability: precision_score(labels, probability >= 0.5, zero_division=0),
    "recall": lambda labels, probability: recall_score(labels, probability >= 0.5),
    "f1": lambda labels, probability: f1_score(labels, probability >= 0.5),
    "roc_auc": roc_auc_score,
    "average_precision": average_precision_score,
    "brier_score": brier_score_loss,
}
PREDICTIONS = Path(__file__).parents[3] / "shared/data/q16/smid_predictions_ViT-B-32.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with two models and a run of each, the second with fewer images, ratings and prompts."""
    path = tmp_path_factory.mktemp("evaluate")
    for name, seed, missing in (("one", 0, [3]), ("two", 1, [4, 7])):
        model = make_onnx_folder(path / f"model-{name}", seed=seed)
        write_run(path / name, model, draw_embeddings(RATING, WIDTH, seed, signal=0.4), missing=missing)
    write_table(path / "ratings.csv", rating=RATING, part=np.where(np.arange(N) % 3 == 0, "test", "train"))
    write_table(path / "labels.csv", bad=(RATING < 3).astype(int))
    (path / "two.toml").write_text(TWO)
    (path / "three.toml").write_text(THREE)
    return path


def evaluated(folder: Path, *names: str, file: str = "ratings.csv", **changes) -> Evaluation:
    reading = {key: changes.pop(key) for key in ("label_column", "split_column") if key in changes}
    given = {"prompts": str(folder / "two.toml"), "protocol": Protocol(n_splits=2), "n_bootstrap": 20} | changes
    given = {"methods": ("zero-shot",)} | given
    runs = [Run.open(folder / name) for name in names]
    return evaluate_runs(runs, read_ratings(folder / file, **reading), EvaluationOptions(**given))


@pytest.fixture(scope="module")
def both(folder) -> Evaluation:
    return evaluated(folder, "one", "two", methods=("zero-shot", "linear-probe"))


def test_figures_are_those_of_scikit_learn(both):
    for row, result in zip(both.rows, both.results, strict=True):
        for name, metric in METRICS.items():
            by_hand = [metric(split.labels, split.probability) for split in result.splits]
            assert row.metrics[name].values == pytest.approx(by_hand)
            assert row.metrics[name].mean == pytest.approx(np.mean(by_hand))
            assert row.metrics[name].sd == pytest.approx(np.std(by_hand, ddof=1))
        labels, flagged = (np.concatenate([getattr(s, name) for s in result.splits]) for name in ("labels", "flagged"))
        assert row.confusion.tp == int((labels & flagged).sum())
        assert row.confusion.fn == int((labels & ~flagged).sum())
        n_right = sum(round(one.n * one.accuracy) for one in row.by_rating if one.n)
        assert n_right == row.confusion.tp + row.confusion.tn


def test_several_runs_are_tested_on_the_images_that_all_have(both):
    kept = [f"{i:04d}.png" for i in range(N) if CLEAR[i] and i not in (3, 4, 7)]
    names = ["model-one zero-shot", "model-one linear-probe", "model-two zero-shot", "model-two linear-probe"]
    assert [row.name for row in both.rows] == names
    for row, result in zip(both.rows, both.results, strict=True):
        tested = [result.names[i] for split in result.splits for i in split.image]
        assert sorted(tested) == kept
        assert (row.n_images, row.n_splits) == (len(kept), 2)
    for result in both.results[1:]:
        for split, first in zip(result.splits, both.results[0].splits, strict=True):
            np.testing.assert_array_equal(split.image, first.image)
    assert both.facts["n_images"] == len(kept)
    assert [run["encoder"] for run in both.facts["runs"]] == ["model-one", "model-two"]
    assert len(both.comparisons) == 6
    assert all(one.comparison.n_images == len(kept) for one in both.comparisons)


def test_a_comparison_is_the_difference_of_two_rows(both):
    means = {row.name: row.metrics["roc_auc"].mean for row in both.rows}
    for one in both.comparisons:
        assert one.comparison.metrics["roc_auc"].difference == pytest.approx(means[one.first] - means[one.second])


def test_everything_needed_to_repeat_it_is_written_down(folder, both):
    facts = json.loads(json.dumps(both.to_json(), allow_nan=False))
    assert facts["protocol"] == {"name": "kfold", "n_splits": 2, "fractions": [1.0], "seed": 42}
    assert facts["methods"] == ["zero-shot", "linear-probe"]
    assert facts["ratings"]["sha256"] == read_ratings(folder / "ratings.csv").sha256
    assert (facts["ratings"]["low"], facts["ratings"]["high"], facts["ratings"]["reverse"]) == (2.5, 3.5, False)
    assert len(facts["prompts_sha256"]) == 64
    assert facts["runs"][0]["weights_sha256"] != facts["runs"][1]["weights_sha256"]
    assert facts["bootstrap"] == {"n_bootstrap": 20, "confidence": 0.95, "seed": 0}
    assert facts["clipsieve_version"]


@pytest.mark.slow
def test_the_same_again_gives_the_same_json(folder):
    one, again = (evaluated(folder, "one", methods=("soft-prompts",)).to_json() for _ in range(2))
    assert json.dumps(one) == json.dumps(again)


def test_a_finished_classifier_beside_methods(folder, tmp_path):
    run, given = Run.open(folder / "one"), read_ratings(folder / "ratings.csv")
    tuned = tune(run, given, build_method("linear-probe"), prompts=str(folder / "two.toml"), n_images=20)
    save_classifier(tuned.classifier, tmp_path / "mine.safetensors")
    mine = str(tmp_path / "mine.safetensors")
    found = evaluated(folder, "one", methods=("zero-shot",), classifiers=(mine,))
    assert [row.name for row in found.rows] == ["zero-shot", "mine"]
    n_here = found.facts["n_images"]
    assert found.notes == (f"`mine` was tuned on 20 of these {n_here} images; figures flatter it",)
    assert len(found.facts["classifiers"][0]["sha256"]) == 64
    shown = np.concatenate([split.probability for split in found.results[1].splits])
    position = {f"{i:04d}.png": i for i in range(N)}
    order = [position[found.results[1].names[i]] for split in found.results[1].splits for i in split.image]
    embeddings = draw_embeddings(RATING, WIDTH, 0, signal=0.4)[order]
    np.testing.assert_allclose(shown, tuned.classifier.predict_proba(embeddings)[:, 1], atol=2e-3)  # stored in halves
    # Of several runs, it is asked on those of its encoder; on none, it is refused.
    pair = evaluated(folder, "one", "two", methods=(), classifiers=(mine,))
    assert [row.name for row in pair.rows] == ["model-one mine"]
    with pytest.raises(EncoderMismatchError, match="another encoder"):
        evaluated(folder, "two", classifiers=(mine,))
    with pytest.raises(UsageError, match="two methods have the same name"):
        evaluated(folder, "one", methods=(), classifiers=(mine, mine))


def test_class_names_and_three_classes(folder):
    classes = np.where(RATING > 3, "harmless", np.where(np.arange(N) % 2 == 0, "weapons", "gore"))
    write_table(folder / "classes.csv", kind=classes)
    found = evaluated(
        folder,
        "one",
        file="classes.csv",
        label_column="kind",
        prompts=str(folder / "three.toml"),
        methods=("linear-probe",),
    )
    assert found.facts["n_unwanted"] == sum(RATING[i] <= 3 for i in range(N) if i != 3)
    assert found.rows[0].metrics["roc_auc"].mean > 0.7
    assert found.rows[0].by_rating == ()
    assert found.scale is None
    with pytest.raises(UsageError, match="classes that the prompts do not have"):
        evaluated(folder, "one", file="classes.csv", label_column="kind")


@pytest.mark.parametrize("protocol", ["kfold", "paper"])
def test_labels_instead_of_ratings(folder, protocol):
    found = evaluated(
        folder,
        "one",
        file="labels.csv",
        label_column="bad",
        methods=("zero-shot",),
        protocol=Protocol(protocol, (1.0,), 3),
    )
    assert found.facts["n_images"] == N - 1
    assert (found.rows[0].by_rating, found.scale) == ((), None)


def test_a_split_column(folder):
    protocol = Protocol("hold-out", (0.5, 1.0), 2)
    found = evaluated(folder, "one", split_column="part", protocol=protocol, methods=("zero-shot", "linear-probe"))
    n_test = sum(CLEAR[i] for i in range(0, N, 3) if i != 3)
    assert [(row.name, row.test_name, row.n_splits, row.n_images) for row in found.rows] == [
        ("zero-shot", "test", 1, n_test),
        ("linear-probe", "test", 2, n_test),
        ("linear-probe", "test", 1, n_test),
    ]
    assert found.facts["parts"] == {"train": found.facts["n_images"] - n_test, "test": n_test}
    assert found.comparisons[0].comparison.n_splits == 1
    json.dumps(found.to_json(), allow_nan=False)  # one split has no standard deviation: null, not NaN
    assert found.to_json()["results"][0]["metrics"]["roc_auc"]["sd"] is None


@pytest.mark.slow  # draws
def test_a_test_part_with_one_label_has_no_auc(folder, tmp_path):
    part = np.where((np.arange(N) % 3 == 0) & (RATING < 3), "test", "train")
    write_table(tmp_path / "r.csv", rating=RATING, part=part)
    protocol = Protocol("hold-out", (1.0,), 3)
    found = evaluated(folder, "one", file=str(tmp_path / "r.csv"), split_column="part", protocol=protocol)
    row = found.to_json()["results"][0]
    assert row["metrics"]["roc_auc"]["mean"] is None
    assert row["metrics"]["recall"]["mean"] is not None
    write_evaluation(found, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ()}, "nothing to evaluate"),
        ({"methods": ("clairvoyance",)}, "no method `clairvoyance`"),
        ({"protocol": Protocol(n_splits=200)}, "fewer images of one label than folds"),
        ({"protocol": Protocol("paper", (0.0001,))}, "cannot divide"),
        ({"protocol": Protocol("hold-out")}, "needs to know the parts"),
        ({"confidence": 1.0}, "no interval can be made"),
    ],
)
def test_what_makes_no_sense_is_refused(folder, options, message):
    with pytest.raises(UsageError, match=message):
        evaluated(folder, "one", **options)


def test_several_runs_need_an_image_and_encoders_of_their_own(folder, tmp_path):
    with pytest.raises(UsageError, match="one model cannot be the encoder of several"):
        evaluated(folder, "one", "two", model=str(folder / "model-one"))
    with pytest.raises(UsageError, match="same name"):
        evaluated(folder, "one", "one")
    write_run(tmp_path / "other", folder / "model-one", draw_embeddings(RATING, WIDTH), missing=range(4, N))
    with pytest.raises(UsageError, match="label"):
        evaluated(folder, "two", str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100%", (1.0,)), ("100%, 1%,10%", (0.01, 0.1, 1.0)), ("0.5,50%", (0.5,)), ("1e-3", (0.001,))],
)
def test_fractions(text, expected):
    assert parse_fractions(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "101%", "1.1", "-5%", "a", "nan", "inf", "10%,,20%", "10%%", "50 percent"]
)
def test_fractions_that_cannot_be_read(text):
    with pytest.raises(UsageError, match="cannot read the fractions"):
        parse_fractions(text)


@pytest.mark.skipif(not PREDICTIONS.exists(), reason=f"needs the published predictions in {PREDICTIONS}")
def test_the_published_predictions_give_the_published_figures():
    found = evaluate_predictions(PREDICTIONS, n_bootstrap=20)
    published = {0.01: (81.79, 3.44, None, 0.908), 0.1: (90.77, 2.51, None, 0.970), 1.0: (94.52, 2.15, 0.936, 0.989)}
    rows = {row.fraction: row for row in found.rows}
    assert set(rows) == set(published)
    for fraction, (accuracy, sd, f1, auc) in published.items():
        metrics = rows[fraction].metrics
        assert 100 * metrics["accuracy"].mean == pytest.approx(accuracy, abs=0.005)
        assert 100 * metrics["accuracy"].sd == pytest.approx(sd, abs=0.005)
        assert metrics["roc_auc"].mean == pytest.approx(auc, abs=0.0005)
        if f1 is not None:
            assert metrics["f1"].mean == pytest.approx(f1, abs=0.0005)
    assert (rows[1.0].n_splits, rows[1.0].n_predictions) == (10, 1680)


def test_prompts_that_were_tuned_on_these_images_are_noted(folder):
    ratings = read_ratings(folder / "ratings.csv")
    tuned = tune(Run.open(folder / "one"), ratings, build_method("soft-prompts"))
    save_classifier(tuned.classifier, folder / "prior.safetensors")
    found = evaluated(folder, "one", methods=("zero-shot",), prompts=str(folder / "prior.safetensors"))
    assert [note for note in found.notes if note.startswith("what the prompts begin with was tuned on ")]
    again = tune(
        Run.open(folder / "one"), ratings, build_method("soft-prompts"), prompts=str(folder / "prior.safetensors")
    )
    assert any("nothing could really be held out" in note for note in again.notes)
    assert again.n_held_out == 0
