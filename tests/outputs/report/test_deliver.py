"""Where a report may be written, and where not."""

from dataclasses import replace

import pytest

from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts
from clipsieve.errors import ExportError, RunConflictError, UsageError
from clipsieve.outputs.report.deliver import ReportOptions, find, write_report
from clipsieve.store import Run
from scored_runs import write_scored_run

PLAIN = ReportOptions(taxonomy="none", has_thumbnails=False)


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    (tmp_path / "photos" / "classes.csv").write_text("mine")
    run = write_scored_run(tmp_path / "runs" / "run", [0.9, 0.1, 0.8], threshold=0.5)
    return Run(run.path, replace(run.manifest, source_location=str(tmp_path / "photos")))


@pytest.mark.parametrize(
    "output",
    ["photos.html", "photos/deep.html", "photos/new.html", "runs.html", "runs/run.html", "runs/run/report.html"],
)
def test_nothing_is_written_into_the_source_or_the_run_or_around_them(run, tmp_path, output):
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="is not apart from the"):
        write_report(run, tmp_path / output, PLAIN)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "photos" / "classes.csv").read_text() == "mine"


def test_nor_into_the_place_where_the_source_lies_now(run, tmp_path):
    (tmp_path / "moved").mkdir()
    with pytest.raises(UsageError, match="is not apart from the source"):
        write_report(run, tmp_path / "moved.html", replace(PLAIN, location=str(tmp_path / "moved")))


def test_nor_into_a_folder_of_somebody(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ExportError, match="no report's"):
        write_report(run, tmp_path / "mine.html", PLAIN)
    assert not (tmp_path / "mine.html").exists()


def test_a_report_is_replaced_by_the_next_one(run, tmp_path):
    for _ in range(2):
        write_report(run, tmp_path / "out" / "r.html", PLAIN)
    assert (tmp_path / "out" / "r" / "report.json").exists()


def test_verdicts_may_be_given_as_they_were_read(run, tmp_path):
    said = ImageVerdicts(tmp_path / "v.csv", "0" * 64, {"0000.png": ImageVerdict(True, (), 1)})
    found = find(run, replace(PLAIN, verdicts=said), with_examples=False)
    assert found.report.figure("n_flagged_confirmed").value == 1
    assert [image.verdict for image in found.flagged(None)] == ["unwanted", None]


def test_one_report_speaks_of_one_scoring(run, tmp_path):
    found = find(run, PLAIN, with_examples=False)
    run.write_score_facts("test", run.score_facts("test") | {"threshold": 0.85})
    with pytest.raises(RunConflictError, match="made anew"):
        list(found.flagged(None))


def test_why_there_is_no_thumbnail_is_said_once(run, tmp_path):
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    found = write_report(run, tmp_path / "r.html", replace(PLAIN, has_thumbnails=True))
    (sentence,) = found.warnings
    assert sentence.startswith("No example has a thumbnail: the source cannot be opened any more")
    assert sentence.count("thumbnail") == 1
    assert str(tmp_path) not in sentence
    assert sentence in found.report.limits
