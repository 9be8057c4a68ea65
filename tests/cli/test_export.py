"""`clipsieve export` as a person types it."""

import json

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from clipsieve import write_demo_data
from clipsieve.cli.export import command
from clipsieve.engines import LocalEngine, scan
from clipsieve.errors import UsageError
from clipsieve.sources import open_source
from clipsieve.store import Run
from scored_runs import write_scores
from tiny_encoder import TinyEncoder


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Return a folder with a run of demo images, every tenth of which is flagged."""
    root = tmp_path_factory.mktemp("export")
    write_demo_data(root / "photos", n_images=40)
    scan(open_source(root / "photos"), root / "run", TinyEncoder(), engine=LocalEngine(workers=1))
    run = Run.open(root / "run")
    for index, images in enumerate(run.iter_images()):
        failed = images.column("failure_code").to_pylist()
        some = [None if code else 0.9 if row % 10 == 0 else 0.1 for row, code in enumerate(failed)]
        write_scores(run, index, images, some)
    run.write_score_facts("test", {"threshold": 0.5, "class_names": ["a", "b"], "unwanted": [False, True]})
    return root


@pytest.fixture
def place(scanned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(scanned / "run")
    return tmp_path


def export(*words: str):
    return CliRunner().invoke(command, list(words), catch_exceptions=False)


def test_a_dry_run_says_what_would_go_where_and_what_is_missing(place):
    done = export("run", "clean", "--dry-run")
    assert "keep" in done.stdout
    assert "36  " in done.stdout
    assert "review  4 images: flagged" in done.stdout
    assert "review  3 images: could not be read" in done.stdout
    assert "undecided images need a word" in done.stdout
    assert not (place / "clean").exists()


def test_undecided_images_stop_it(place):
    with pytest.raises(UsageError, match="nobody has decided on 7 of 43 images") as refusal:
        export("run", "clean")
    assert "flagged 4, could not be read 3" in str(refusal.value)
    assert not (place / "clean").exists()


def test_what_was_written_and_what_that_does_not_mean(place):
    done = export("run", "clean", "--policy", "flagged", "--undecided", "remove", "-q")
    assert "remove  4 images: flagged" in done.stdout
    assert "manifest" in done.stdout
    assert "that does not make it harmless" in done.stdout
    assert "safe" not in done.stdout
    assert pq.read_table(place / "clean" / "manifest.parquet").num_rows == 43
    assert all(len(line) <= 100 for line in done.stdout.splitlines() if "/" not in line)


def test_files_that_cannot_be_brought_are_named(place, scanned):
    done = export("run", "clean", "--policy", "flagged", "--undecided", "keep", "-q")
    broken = [path for path in (scanned / "photos").rglob("*") if path.is_symlink()]
    if broken:
        assert "could not be brought" in done.stderr
    kept = {path.name for path in (place / "clean").rglob("*.*")}
    assert "ratings.csv" in kept


def test_json_has_the_same_facts(place):
    facts = json.loads(export("run", "clean", "--dry-run", "--json").stdout)
    assert facts["places"]["keep"]["n_images"] == 36
    assert facts["places"]["review"]["reasons"] == {"flagged": 4, "could not be read": 3}
    assert facts["is_dry_run"] is True
    assert facts["n_undecided"] == 7


def test_verdicts_from_a_file(place):
    ids = [row["image_id"] for row in next(Run.open(place / "run").iter_images(["image_id"])).to_pylist()]
    (place / "v.csv").write_text(f"image_id,verdict,annotator\n{ids[0]},keep,Ann\n{ids[1]},remove,Ann\n")
    facts = json.loads(export("run", "clean", "--dry-run", "--json", "--verdicts", "v.csv").stdout)
    assert facts["places"]["remove"]["reasons"] == {"verdict": 1}
    assert facts["places"]["keep"]["reasons"] == {"not flagged": 35, "verdict": 1}
    with pytest.raises(UsageError, match="there is no file"):
        export("run", "clean", "--verdicts", "none.csv")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "verdicts"], "needs verdicts"),
        (["--undecided", "keep", "--review-to", "doubtful"], "exclude each other"),
        (["--as", "datacomp", "--undecided", "keep"], "uid"),
    ],
)
def test_what_makes_no_sense(place, words, message):
    with pytest.raises(UsageError, match=message):
        export("run", "clean", *words)
    assert not (place / "clean" / "manifest.parquet").exists()


def test_after_a_refusal_the_place_can_be_used(place):
    with pytest.raises(UsageError, match="uid"):
        export("run", "clean", "--as", "datacomp", "--undecided", "keep")
    export("run", "clean", "--as", "csv", "--undecided", "keep")
    assert (place / "clean" / "images.csv").exists()
