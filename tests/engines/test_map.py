"""What is made of a run's parts is the same whoever works on them, also where each piece of work is done twice at once."""

import os

import pytest

from clipsieve.engines import LocalEngine
from clipsieve.errors import RunCorruptError, SourceError
from clipsieve.outputs.export.local_files import LEFTOVER
from image_files import png, tar
from mapped_work import (
    Stopped,
    Twice,
    adopted,
    export_by,
    files,
    found_by,
    report_by,
    scored_run,
    scored_source,
    scores_by,
)
from source_kinds import KINDS, folder, webdataset


@pytest.fixture(params=[LocalEngine(), Twice()], ids=["threads", "twice"])
def engine(request):
    return request.param


@pytest.fixture
def run(tmp_path):
    return scored_run(tmp_path / "run")


def test_work_is_done_in_order_and_its_error_arrives(engine):
    assert list(engine.map(abs, [-3, 2, -1])) == [3, 2, 1]
    found = engine.map(int, ["1", "x", "2"])
    assert next(found) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        next(found)


def test_scores_are_the_same_files(run, engine):
    expected = scores_by(run, None)
    assert len(expected) == 10
    left = run.path / "scores/head/.0123456789abcdef.part-00002.parquet"
    left.write_bytes(b"of a worker that died")
    assert scores_by(run, engine) == expected


def test_a_missing_part_ends_a_scoring_as_it_does_without_an_engine(run, engine):
    run.image_part(4).unlink()
    with pytest.raises(RunCorruptError, match=r"part-00004.parquet` is missing"):
        scores_by(run, engine)
    assert "head" not in run.score_names()
    with pytest.raises(RunCorruptError, match=r"part-00004.parquet` is missing"):
        found_by(run, engine)
    with pytest.raises(RunCorruptError, match=r"part-00004.parquet` is missing"):
        report_by(run, engine)


def test_what_is_found_is_the_same(run, engine):
    assert found_by(run, engine) == found_by(run, None)


def test_a_report_says_the_same(run, engine):
    assert report_by(run, engine) == report_by(run, None)


def test_scores_that_are_older_than_the_scan_are_not_counted(run, engine):
    table = run.read_images(3)
    metadata = dict(table.schema.metadata) | {b"clipsieve.inputs": b"others"}
    run.write_part(run.image_part(3), table.replace_schema_metadata(metadata))
    with pytest.raises(RunCorruptError, match="are older than the scan"):
        report_by(run, engine)


def with_more(source):
    """Add to a source what is no input: files beside the images, and what was never looked at."""
    if source.name == "tars":
        content = [("a.png", png(20)), (".hidden/b.png", png(21)), ("a.txt", b"words")]
        (source / "part-9.tar").write_bytes(tar(content))
        (source / "part-99.tar").write_bytes(tar([("labels.json", b"{}")]))
    else:
        (source / "README.md").write_bytes(b"words")
        (source / "class 0/0.txt").write_bytes(b"beside an image")
        (source / ".hidden.png").write_bytes(png(21))
    return source


@pytest.mark.parametrize(("write", "name"), [(folder, "files"), (webdataset, "tars")])
def test_an_export_leaves_the_same_files(tmp_path, engine, write, name):
    run = scored_source(with_more(write(tmp_path / name)), tmp_path / "run")
    expected = export_by(run, tmp_path / "alone", None)
    assert expected["n_problems"] == 1
    assert export_by(run, tmp_path / "together", engine) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "write", [each for each in KINDS if each not in (folder, webdataset)], ids=lambda w: w.__name__
)
def test_an_export_of_other_kinds_leaves_the_same_files(tmp_path, engine, write):
    run = scored_source(write(tmp_path / "source"), tmp_path / "run")
    assert export_by(run, tmp_path / "together", engine) == export_by(run, tmp_path / "alone", None)


def test_an_export_of_embeddings_leaves_the_same_files(tmp_path, engine):
    run = adopted(tmp_path / "arrays", tmp_path / "run")
    assert export_by(run, tmp_path / "together", engine) == export_by(run, tmp_path / "alone", None)


def test_an_export_that_was_killed_goes_on(tmp_path):
    run = scored_source(webdataset(tmp_path / "source"), tmp_path / "run")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export_by(run, out, Stopped(1))
    assert not (out / "keep/manifest.parquet").exists()
    before = {name: path.stat().st_mtime_ns for name, path in files(out).items() if name.endswith(".tar")}
    (out / "keep" / LEFTOVER.format("0123456789abcdef")).write_bytes(b"of a worker that died")
    assert export_by(run, out, LocalEngine()) == export_by(run, tmp_path / "alone", None)
    assert before
    assert before.items() <= {name: path.stat().st_mtime_ns for name, path in files(out).items()}.items()


def test_a_source_that_has_changed_ends_an_export(tmp_path, engine):
    source = folder(tmp_path / "source")
    run = scored_source(source, tmp_path / "run")
    path = source / "class 0/0.png"
    facts = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(SourceError, match="has changed since it was scanned"):
        export_by(run, tmp_path / "out", engine)
    assert not (tmp_path / "out/keep/manifest.parquet").exists()
