"""An evaluation as files: strict JSON, predictions that can be read again, and pictures."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from clipsieve.engines import Evaluation, MethodResult, build_evaluation, evaluate_predictions
from clipsieve.engines.evaluation import RatedScale
from clipsieve.errors import RunConflictError, RunError
from clipsieve.evaluation.metrics import SplitPredictions
from clipsieve.outputs.evaluation_files import write_evaluation

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

N, FOLDS = 60, 3
RNG = np.random.default_rng(8)
RATING = RNG.uniform(1, 5, N).round(2)
LABELS = (RATING < 3).astype(np.int64)
NAMES = tuple(f"ä {i}.png" for i in range(N))


def result(name: str, fraction: float | None, *, noise: float, test_name: str = "", rated: bool = True) -> MethodResult:
    splits = []
    for fold in range(FOLDS):
        image = np.arange(fold * N // FOLDS, (fold + 1) * N // FOLDS)
        margin = (3 - RATING[image]) + RNG.normal(0, noise, len(image))
        probability = 1 / (1 + np.exp(-margin))
        rating = RATING[image] if rated else np.full(len(image), np.nan)
        n_train = 0 if fraction is None else round(40 * fraction)
        splits.append(SplitPredictions(image, LABELS[image], probability, probability >= 0.5, n_train, rating))
    return MethodResult(name, fraction, test_name, tuple(splits), tuple(range(FOLDS)), NAMES)


def evaluation(results: list[MethodResult], scale: RatedScale | None = None) -> Evaluation:
    return build_evaluation(results, {"protocol": "by hand"}, scale=scale, n_bootstrap=40)


@pytest.fixture(scope="module")
def three() -> Evaluation:
    results = [result("words", None, noise=2), result("probe", 0.5, noise=1), result("probe", 1.0, noise=0.5)]
    return evaluation(results, RatedScale(RATING, LABELS, 3, 3))


@pytest.fixture(scope="module")
def folder(three, tmp_path_factory) -> Path:
    """Return a folder with the files of `three`."""
    path = tmp_path_factory.mktemp("files") / "new/out"
    written = write_evaluation(three, path)
    assert sorted(written) == sorted(path.iterdir())
    return path


def test_the_files_are_whole_and_of_their_kind(folder):
    assert {path.name for path in folder.iterdir()} == {
        "evaluation.json",
        "predictions.parquet",
        "ratings.png",
        "roc.png",
        "precision-recall.png",
        "reliability.png",
        "data-efficiency.png",
    }
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            image.load()
            assert min(image.size) > 200


def test_json_is_strict_and_holds_every_figure(three, folder):
    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert [(row["name"], row["fraction"], row["n_train"]) for row in found["results"]] == [
        ("words", None, None),
        ("probe", 0.5, 20),
        ("probe", 1.0, 40),
    ]
    for row, expected in zip(found["results"], three.rows, strict=True):
        assert row["metrics"]["roc_auc"]["mean"] == expected.metrics["roc_auc"].mean
        assert len(row["metrics"]["f1"]["values"]) == FOLDS
        assert sum(row["confusion"].values()) == N
        assert sum(one["n"] for one in row["by_rating"]) == N
    assert [(one["first"], one["second"]) for one in found["comparisons"]] == [("words", "probe")]
    assert 0 <= found["comparisons"][0]["mcnemar"]["p_value"] <= 1


def test_every_prediction_is_there_under_the_images_name(three, folder):
    table = pl.read_parquet(folder / "predictions.parquet")
    assert table.columns == ["method", "fraction", "fold", "image", "rating", "label", "probability", "flagged"]
    assert len(table) == 3 * N
    rating = dict(zip(NAMES, RATING.tolist(), strict=True))
    assert all(rating[row["image"]] == row["rating"] for row in table.to_dicts())
    last = table.filter(method="probe", fraction=1.0)
    assert sorted(last["image"]) == sorted(NAMES)
    by_fold = [
        roc_auc_score(fold["label"], fold["probability"]) for _, fold in last.group_by("fold", maintain_order=True)
    ]
    assert three.rows[2].metrics["roc_auc"].values == pytest.approx(by_fold)


def test_the_predictions_give_the_same_figures_again(three, folder):
    again = evaluate_predictions(folder / "predictions.parquet", n_bootstrap=40)
    for row, expected in zip(again.rows, three.rows, strict=True):
        assert (row.name, row.fraction) == (expected.name, expected.fraction)
        assert row.confusion == expected.confusion
        assert row.by_rating == expected.by_rating
        assert row.n_images == expected.n_images
        for name, summary in row.metrics.items():
            other = expected.metrics[name]
            assert summary.values == pytest.approx(other.values)
            assert (summary.mean, summary.sd, summary.low, summary.high) == pytest.approx(
                (other.mean, other.sd, other.low, other.high)
            )
    assert again.comparisons[0].comparison.mcnemar == three.comparisons[0].comparison.mcnemar


def test_labels_alone_have_no_rating(tmp_path):
    found = evaluation([result("words", None, noise=1, rated=False)])
    write_evaluation(found, tmp_path)
    assert "rating" not in pl.read_parquet(tmp_path / "predictions.parquet").columns
    assert not (tmp_path / "ratings.png").exists()
    assert not (tmp_path / "data-efficiency.png").exists()
    assert found.to_json()["results"][0]["by_rating"] == []
    assert evaluate_predictions(tmp_path / "predictions.parquet").rows[0].confusion == found.rows[0].confusion


@pytest.mark.slow  # draws
def test_each_test_set_has_pictures_of_its_own_whose_names_stay_in_the_folder(tmp_path):
    found = evaluation([result("words", None, noise=1, test_name=name) for name in ("new", "../out side")])
    written = write_evaluation(found, tmp_path / "out")
    assert {path.name for path in written if path.name.startswith("roc")} == {"roc-new.png", "roc----out-side.png"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    table = pl.read_parquet(tmp_path / "out/predictions.parquet")
    assert table["method"].unique().to_list() == ["words"]
    assert sorted(table["test"].unique()) == ["../out side", "new"]
    again = evaluate_predictions(tmp_path / "out/predictions.parquet", n_bootstrap=20)
    assert [row.test_name for row in again.rows] == ["new", "../out side"]
    assert [row.confusion for row in again.rows] == [row.confusion for row in found.rows]


@pytest.mark.slow  # draws
def test_an_evaluation_of_a_file_can_be_written_too(folder, tmp_path):
    again = evaluate_predictions(folder / "predictions.parquet", n_bootstrap=20)
    write_evaluation(again, tmp_path / "second")
    table = pl.read_parquet(tmp_path / "second/predictions.parquet")
    first = pl.read_parquet(folder / "predictions.parquet")
    assert table["probability"].to_list() == first["probability"].to_list()


@pytest.mark.slow  # draws
def test_an_earlier_evaluation_is_replaced_and_other_files_stay(three, tmp_path):
    write_evaluation(three, tmp_path)
    (tmp_path / "mine.txt").write_text("keep")
    before = (tmp_path / "evaluation.json").read_bytes()
    write_evaluation(evaluation([result("other", None, noise=1)]), tmp_path)
    assert (tmp_path / "evaluation.json").read_bytes() != before
    assert (tmp_path / "mine.txt").read_text() == "keep"
    write_evaluation(three, tmp_path)
    assert (tmp_path / "evaluation.json").read_bytes() == before


def test_what_cannot_be_written(three, tmp_path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(RunConflictError, match="is a file"):
        write_evaluation(three, tmp_path / "file")
    with pytest.raises(RunError, match="cannot write"):
        write_evaluation(three, tmp_path / "file/below")
    (tmp_path / "out/evaluation.json").mkdir(parents=True)
    with pytest.raises(RunError, match="cannot write"):
        write_evaluation(three, tmp_path / "out")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/predictions.parquet").write_text("somebody's own")
    with pytest.raises(RunConflictError, match="holds other files"):
        write_evaluation(three, tmp_path / "photos")
    assert (tmp_path / "photos/predictions.parquet").read_text() == "somebody's own"
    assert (tmp_path / "file").read_text() == "keep"
