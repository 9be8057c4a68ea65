"""`clipsieve tune` as a person types it."""

import json

import numpy as np
import pytest

from clipsieve.classifiers import load_classifier
from clipsieve.cli.entry import run
from model_folders import WIDTH, make_onnx_folder
from rated_runs import THREE, TWO, draw_embeddings, draw_ratings, write_run, write_table

N = 160
RATING = draw_ratings(N, seed=7)
SMID = {f"{name}_mean": [3.0] * N for name in ("valence", "arousal", "harm")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a run, ratings and prompts."""
    path = tmp_path_factory.mktemp("tune")
    write_run(
        path / "run", make_onnx_folder(path / "model"), draw_embeddings(RATING, WIDTH), missing=[3, 6], broken=[5]
    )
    write_table(path / "ratings.csv", rating=RATING)
    write_table(path / "labels.csv", bad=np.where(RATING < 3, "yes", "no"))
    (path / "two.toml").write_text(TWO)
    (path / "three.toml").write_text(THREE)
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


def tune(type_in, *options, ratings="ratings.csv", output="out.safetensors", status=0):
    found, out, err = type_in("tune", "run", "--ratings", ratings, "--prompts", "two.toml", "-o", output, *options)
    assert found == status, err
    return out, err


def test_what_a_person_reads(type_in, folder):
    out, err = tune(type_in, "--seed", "1")
    classifier = load_classifier(folder / "out.safetensors")
    n, n_unwanted = (classifier.provenance["ratings"][name] for name in ("n_images", "n_unwanted"))
    lines = out.splitlines()
    assert lines[0].startswith(f"tuned      soft-prompts on {n} images, {n_unwanted} of them unwanted, in ")
    assert "chosen by cross-validation" in lines[1]
    assert lines[2].startswith(("calibrated platt, held-out loss ", "calibrated no: held-out loss "))
    assert ("platt" in lines[2]) == (classifier.calibration is not None)
    assert lines[3:] == ["wrote      out.safetensors", "next       clipsieve score run -c out.safetensors"]
    assert max(map(len, lines)) <= 80
    assert err.splitlines() == [
        f"matched {N - 3} of {N} rated images ({N - 3} by image_id)",
        "warning: 2 rated names not in the run: 0003.png, 0006.png",
        "warning: 1 rated name of an image that could not be read: 0005.png (truncated)",
    ]


def test_json_is_all_that_stdout_holds(type_in):
    out, err = tune(type_in, "--json", "--hold-out", "30%")
    facts = json.loads(out)
    kept = [i for i in range(N) if i not in (3, 5, 6) and not 2.5 <= RATING[i] <= 3.5]
    assert facts["n_images"] + facts["n_held_out"] == len(kept)
    assert facts["n_held_out"] == pytest.approx(0.3 * len(kept), abs=1)
    assert (facts["file"], facts["encoder"], facts["method"]) == ("out.safetensors", "model", "soft-prompts")
    assert facts["tuning"]["optimizer"] == "lbfgs"
    assert err.startswith("matched")


def test_the_same_again_gives_the_same_bytes_and_another_seed_others(type_in, folder):
    content = []
    for seed in (1, 1, 2):
        tune(type_in, "--n-images", "30", "--strength", "1", "--seed", seed)
        content.append((folder / "out.safetensors").read_bytes())
    assert content[0] == content[1] != content[2]


def test_without_images_the_prompts_in_words_are_kept(type_in, folder):
    out, err = tune(type_in, "--n-images", "0")
    assert out.startswith("tuned      soft-prompts on 0 images")
    assert "calibrated no" in out
    assert "warning: the prompts were kept as they are" in err
    assert load_classifier(folder / "out.safetensors").provenance["tuned_on"] == []


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (["--method", "linear-probe"], "linear-probe"),
        (["--optimizer", "sgd"], "soft-prompts"),
        (["--strength", "3"], "soft-prompts"),
    ],
)
def test_methods_and_what_was_tuned_scores(type_in, folder, options, method):
    tune(type_in, *options)
    assert load_classifier(folder / "out.safetensors").method == method
    status, out, err = type_in("score", "run", "-c", "out.safetensors", "--json")
    assert status == 0, err
    rows = {row["image_id"]: row["probability"] for row in map(json.loads, out.splitlines())}
    clear = [i for i in range(N) if i not in (3, 5, 6) and not 2 <= RATING[i] <= 4]
    assert np.mean([(rows[f"{i:04d}.png"] > 0.5) == (RATING[i] < 3) for i in clear]) > 0.9


BAD_TABLES = {
    "a rating that is NaN": ({"rating": ["nan", *RATING[1:]]}, (), "is empty"),
    "an empty rating": ({"rating": ["", *RATING[1:]]}, (), "is empty"),
    "a text": ({"rating": ["awful", *RATING[1:]]}, (), "is no number"),
    "infinity": ({"rating": ["inf", *RATING[1:]]}, (), "is infinite"),
    "an image twice": ({"file": ["0001.png"] * 2, "rating": [1, 5]}, (), "is there twice"),
    "no name": ({"file": ["", "0001.png"], "rating": [1, 5]}, (), "is empty"),
    "outside SMID's scale": ({"img_name": range(N), **SMID, "moral_mean": [9, *RATING[1:]]}, (), "outside its scale"),
    "one class": ({"rating": [1.5] * N}, (), "does not hold two classes"),
    "only the middle": ({"rating": [3] * N}, (), "does not hold two classes"),
    "one label": ({"bad": ["yes"] * N}, ("--label-column", "bad"), "does not hold two classes"),
    "one label of those found": ({"file": ["0000.png", "x.png"], "rating": [1, 5]}, (), "one label alone"),
    "nothing found": ({"file": ["x.png", "y.png"], "rating": [1, 5]}, (), "none of the 2 images"),
    "no such column": ({"rating": RATING}, ("--rating-column", "mood"), "mood"),
    "cuts the wrong way round": ({"rating": RATING}, ("--low", "4", "--high", "2"), "contradict"),
    "a cut that is NaN": ({"rating": RATING}, ("--low", "nan"), "contradict"),
    "classes that the prompts lack": ({"kind": ["cats", "dogs"] * (N // 2)}, ("--label-column", "kind"), "do not have"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
@pytest.mark.parametrize("command", ["tune", "evaluate"])
def test_ratings_that_make_no_sense(type_in, tmp_path, command, case):
    columns, options, message = BAD_TABLES[case]
    table = write_table(tmp_path / "bad.csv", **columns)
    output = tmp_path / ("out.safetensors" if command == "tune" else "out")
    status, out, err = type_in(command, "run", "--ratings", table, "--prompts", "two.toml", "-o", output, *options)
    assert status in (1, 2)
    assert out == ""
    assert message in err
    assert "error: " in err
    assert "Traceback" not in err
    assert "clipsieve itself failed" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out.pt"], "no name for a classifier"),
        (["-o", "missing/out.safetensors"], "cannot write `missing/out.safetensors`"),
        (["-o", "folder.safetensors"], "cannot write `folder.safetensors`"),
        (["--hold-out", "100%"], "cannot read the share"),
        (["--hold-out", "a third"], "cannot read the share"),
        (["--hold-out", "nan"], "cannot read the share"),
        (["--n-images", "-1"], "not in the range"),
        (["--strength", "-1"], "not in the range"),
        (["--strength", "nan"], "0 or more"),
        (["--strength", "0", "--method", "linear-probe"], "above 0"),
        (["--strength", "1", "--method", "context"], "does not belong to `--method context`"),
        (["--strength", "1", "--optimizer", "sgd"], "does not belong to `--optimizer sgd`"),
        (["--optimizer", "sgd", "--method", "linear-probe"], "does not belong to `--method linear-probe`"),
        (["--method", "linear-probe", "--n-images", "1"], "needs images of both labels"),
        (["--prompts", "no-such-set"], "no classifier `no-such-set`"),
        (["--ratings", "no-such-file.csv"], "no-such-file.csv"),
    ],
)
def test_options_that_make_no_sense(type_in, folder, options, message):
    (folder / "folder.safetensors").mkdir(exist_ok=True)
    before = {path.name for path in folder.iterdir()} - {"out.safetensors"}
    (folder / "out.safetensors").unlink(missing_ok=True)
    status, out, err = type_in(
        "tune", "run", "--ratings", "ratings.csv", "--prompts", "two.toml", "-o", "out.safetensors", *options
    )
    assert status in (1, 2)
    assert out == ""
    assert message in err
    assert {path.name for path in folder.iterdir()} == before


def test_no_ratings_are_named(type_in):
    status, _, err = type_in("tune", "run", "-o", "out.safetensors")
    assert status == 2
    assert "name a CSV or Parquet file with `--ratings`" in err


def test_a_file_that_was_there_is_kept_when_tuning_fails(type_in, folder, tmp_path):
    tune(type_in)
    before = (folder / "out.safetensors").read_bytes()
    tune(type_in, "--method", "linear-probe", "--n-images", "1", status=2)
    assert (folder / "out.safetensors").read_bytes() == before


@pytest.mark.torch
@pytest.mark.slow
def test_context_vectors_need_an_encoder_of_torch(type_in):
    _, err = tune(type_in, "--method", "context", status=2)
    assert "cannot be differentiated" in err
