"""`clipsieve evaluate` as a person types it."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from clipsieve.cli.entry import run
from model_folders import WIDTH, make_onnx_folder
from rated_runs import TWO, draw_embeddings, draw_ratings, write_run, write_table

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

N = 300  # so that a training set has more than 100 images, where cross-validation is quickest
RATING = draw_ratings(N, seed=11)
PREDICTIONS = Path(__file__).parents[3] / "shared/data/q16/smid_predictions_ViT-B-32.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two runs, ratings and prompts; the models have names as long as real ones."""
    path = tmp_path_factory.mktemp("evaluate")
    for seed, (name, missing) in enumerate({"ViT-B-32__openai": [3], "ViT-L-14__openai": [4, 7]}.items()):
        model = make_onnx_folder(path / name, seed=seed)
        write_run(path / f"run-{seed}", model, draw_embeddings(RATING, WIDTH, seed, signal=0.5), missing=missing)
    write_table(path / "ratings.csv", rating=RATING, part=np.where(np.arange(N) % 4 == 0, "test", "train"))
    (path / "two.toml").write_text(TWO)
    return path


@pytest.fixture
def type_in(folder, monkeypatch, capsys):
    """Return a function that types a command in the folder, and gives its status, stdout and stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")

    def typed(*args):
        status = run([str(arg) for arg in args])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return typed


def evaluate(type_in, *args, status=0):
    found, out, err = type_in("evaluate", *args)
    assert found == status, err
    return out, err


RATED = ("--ratings", "ratings.csv", "--prompts", "two.toml", "--folds", "3")


def test_the_figures_on_the_terminal_are_those_of_the_predictions(type_in, tmp_path):
    out, err = evaluate(type_in, "run-0", *RATED, "--method", "zero-shot", "--method", "linear-probe", "-o", tmp_path)
    lines = out.splitlines()
    clear = [i for i in range(N) if i != 3 and not 2.5 <= RATING[i] <= 3.5]
    n_unwanted = sum(RATING[i] < 2.5 for i in clear)
    assert lines[0] == f"images    {len(clear)} rated, {n_unwanted} of them unwanted (`rating` below 2.5)"
    assert lines[1] == f"left out  {N - 1 - len(clear)} between the cuts"
    assert lines[2] == "protocol  kfold: 3 disjoint folds, seed 42"
    table = pl.read_parquet(tmp_path / "predictions.parquet")
    for method in ("zero-shot", "linear-probe"):
        folds = [fold for _, fold in table.filter(method=method).group_by("fold", maintain_order=True)]
        accuracy = [100 * accuracy_score(fold["label"], fold["probability"] >= 0.5) for fold in folds]
        auc = np.mean([roc_auc_score(fold["label"], fold["probability"]) for fold in folds])
        (line,) = (line for line in lines if line.startswith(method) and "±" in line)
        words = line.split()
        assert words[2:5] == [f"{np.mean(accuracy):.2f}", "±", f"{np.std(accuracy, ddof=1):.2f}"]
        assert words[-2] == f"{auc:.3f}"
    assert "warning: 1 rated name not in the run: 0003.png" in err
    assert lines[-1].startswith("wrote     evaluation.json, predictions.parquet, 4 pictures into ")


def test_json_is_strict_the_same_each_time_and_the_same_as_in_the_folder(type_in, tmp_path):
    given = ("run-0", *RATED, "--method", "linear-probe", "--fractions", "75%", "--folds", "2", "--json")
    first, _ = evaluate(type_in, *given, "-o", tmp_path)
    second, _ = evaluate(type_in, *given)
    assert first == second
    assert (tmp_path / "evaluation.json").read_text(encoding="utf-8") == first

    def refuse(word):
        raise AssertionError(word)

    facts = json.loads(first, parse_constant=refuse)
    assert [row["fraction"] for row in facts["results"]] == [0.75]
    assert facts["protocol"]["fractions"] == [0.75]
    assert facts["methods"] == ["linear-probe"]


@pytest.mark.slow
def test_its_own_predictions_give_the_same_figures(type_in, tmp_path):
    kept = ("run-0", *RATED, "--method", "zero-shot", "--method", "linear-probe", "--json", "-o", tmp_path)
    ours = json.loads(evaluate(type_in, *kept)[0])
    again = json.loads(evaluate(type_in, "--predictions", tmp_path / "predictions.parquet", "--json")[0])
    for row, other in zip(ours["results"], again["results"], strict=True):
        assert row["name"] == other["name"]
        assert row["confusion"] == other["confusion"]
        for metric, summary in row["metrics"].items():
            assert {key: pytest.approx(value) for key, value in summary.items()} == other["metrics"][metric]
    for one, other in zip(ours["comparisons"], again["comparisons"], strict=True):
        assert one["metrics"]["roc_auc"]["difference"] == pytest.approx(other["metrics"]["roc_auc"]["difference"])
        assert one["mcnemar"] == other["mcnemar"]


def test_a_split_column_means_hold_out(type_in):
    out, _ = evaluate(type_in, "run-0", *RATED, "--split-column", "part", "--method", "zero-shot")
    assert "protocol  hold-out: splits made beforehand, seed 42" in out
    n_test = sum(not 2.5 <= RATING[i] <= 3.5 for i in range(0, N, 4))
    n_unwanted = sum(RATING[i] < 2.5 for i in range(0, N, 4))
    assert f"on `test`: {n_test} images, {n_unwanted} unwanted" in out


@pytest.mark.slow
def test_long_names_of_several_encoders_fit_into_80_columns(type_in):
    out, err = evaluate(type_in, "run-0", "run-1", *RATED, "--method", "zero-shot", "--method", "linear-probe")
    assert max(map(len, out.splitlines())) <= 80
    assert "in `run-0`" in err
    assert "in `run-1`" in err
    assert "warning: 2 rated names not in the run: 0004.png, 0007.png" in err


@pytest.mark.slow
def test_every_line_of_the_usual_evaluation_fits_into_80_columns(type_in, tmp_path, monkeypatch):
    wide, _ = evaluate(type_in, "run-0", *RATED, "--fractions", "20%,100%", "-o", "evaluation")
    assert max(map(len, wide.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "200")  # nothing was folded
    assert evaluate(type_in, "run-0", *RATED, "--fractions", "20%,100%", "-o", "evaluation")[0] == wide
    for line in ("95 % intervals", "tested", "accuracy by rating", "difference of ROC AUC"):
        assert f"\n{line}" in wide


@pytest.mark.skipif(not PREDICTIONS.exists(), reason=f"needs the published predictions in {PREDICTIONS}")
def test_the_published_predictions(type_in):
    out, err = evaluate(type_in, "--predictions", PREDICTIONS)
    assert err == ""
    lines = [line.split() for line in out.splitlines() if "±" in line]
    found = {line[1]: line for line in lines}
    assert found["1"][4:7] == ["81.79", "±", "3.44"]
    assert found["10"][4:7] == ["90.77", "±", "2.51"]
    assert found["100"][4:7] == ["94.52", "±", "2.15"]
    assert "94.52 ±  2.15" in out
    assert found["100"][-3:-1] == ["0.936", "0.989"]
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "give RUNs with `--ratings`, or `--predictions` alone"),
        (("run-0",), "no ratings are named"),
        (("run-0", "--predictions", "p.csv"), "give RUNs with `--ratings`, or `--predictions` alone"),
        (
            ("--predictions", "p.csv", "--ratings", "ratings.csv"),
            "`--ratings`: a file of predictions has no use for it",
        ),
        (("--predictions", "p.csv", "--method", "sgd"), "`--method`: a file of predictions has no use for it"),
        (("--predictions", "no-such.csv"), "no-such.csv"),
        (("--predictions", "ratings.csv"), "lacks the column"),
        (("nowhere", *RATED), "nowhere"),
        (("run-0", *RATED, "--folds", "200"), "fewer images of one label than folds"),
        (("run-0", *RATED, "--folds", "1"), "not in the range"),
        (("run-0", *RATED, "--fractions", "0%"), "cannot read the fractions"),
        (("run-0", *RATED, "--fractions", "ten"), "cannot read the fractions"),
        (("run-0", *RATED, "--fractions", "0.1%"), "cannot divide these images"),
        (("run-0", *RATED, "--protocol", "paper", "--fractions", "0.1%"), "cannot divide these images"),
        (("run-0", *RATED, "--protocol", "hold-out"), "--split-column"),
        (("run-0", *RATED, "--split-column", "part", "--protocol", "paper"), "belongs to `--protocol hold-out`"),
        (("run-0", *RATED, "--split-column", "rating"), "does not say what to train and what to test on"),
        (("run-0", *RATED, "--split-column", "nothing"), "nothing"),
        (("run-0", *RATED, "--confidence", "1"), "not in the range"),
        (("run-0", *RATED, "-c", "no-such-classifier"), "no classifier `no-such-classifier`"),
        (("run-0", "run-0", *RATED), "two methods have the same name"),
        (("run-0", "run-1", *RATED, "--model", "ViT-B-32__openai"), "one model cannot be the encoder of several runs"),
        (("run-0", *RATED, "--model", "./ViT-L-14__openai"), "is not the one that made the run"),
        (("run-0", *RATED, "-o", "ratings.csv"), "`ratings.csv` is a file"),
    ],
)
def test_what_makes_no_sense(type_in, tmp_path, args, message):
    output = () if "-o" in args else ("-o", tmp_path / "out")
    status, out, err = type_in("evaluate", *args, *output)
    assert status in (1, 2)
    assert out == ""
    assert message in err
    assert "clipsieve itself failed" not in err
    assert not (tmp_path / "out").exists()


def test_a_classifier_that_saw_these_images_and_one_of_another_encoder(type_in, tmp_path):
    mine = tmp_path / "mine.safetensors"
    type_in("tune", "run-0", *RATED[:4], "-o", mine, "--strength", "1")
    _, err = evaluate(type_in, "run-0", *RATED, "-c", mine)
    assert "warning: `mine` was tuned on" in err
    _, err = evaluate(type_in, "run-1", *RATED, "-c", mine, status=1)
    assert "error: the classifier was made for another encoder" in err
