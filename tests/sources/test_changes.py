"""What changes between listing and reading, and between two scans: never a row too few in silence."""

import json
import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.engines import LocalEngine, MaxFailures, ScanOptions, adopt_embeddings, scan
from clipsieve.errors import RunConflictError, SourceError, TooManyFailuresError
from clipsieve.sources import open_source
from clipsieve.store import Run, locked
from clipsieve.types import Failure, FailureCode
from image_files import png, tar
from tiny_encoder import TinyEncoder

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def tars(folder, *sizes):
    folder.mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(sizes):
        (folder / f"{number}.tar").write_bytes(tar([(f"{number}-{i}.png", png(10 * number + i)) for i in range(size)]))
    return folder


def codes(refs):
    return [ref.content.code if isinstance(ref.content, Failure) else None for ref in refs]


def read(source, plan):
    return [ref for shard in plan.shards for ref in source.read(shard)]


def do(source, run, encoder=None, **more):
    return scan(source, run, encoder or TinyEncoder(), engine=LocalEngine(workers=1), **more)


def test_a_tar_that_vanishes_after_the_listing_is_as_many_failures_as_it_had_images(tmp_path):
    source = open_source(tars(tmp_path / "tars", 3, 4, 2))
    plan = source.plan(2)
    (tmp_path / "tars" / "1.tar").unlink()
    refs = read(source, plan)
    assert codes(refs) == [None] * 3 + [FailureCode.NOT_FOUND] * 4 + [None] * 2
    assert len({ref.image_id for ref in refs}) == 9


def test_a_tar_that_shrank_leaves_failures_and_one_that_grew_stops_the_scan(tmp_path):
    source = open_source(tars(tmp_path / "tars", 3, 4))
    plan = source.plan(2)
    tars(tmp_path / "tars", 3, 2)
    assert codes(read(open_source(tmp_path / "tars"), plan)) == [None] * 5 + [FailureCode.NOT_FOUND] * 2
    tars(tmp_path / "tars", 3, 9)
    with pytest.raises(SourceError, match=r"`1\.tar` has changed since it was listed"):
        read(open_source(tmp_path / "tars"), plan)


def test_a_tar_that_was_cut_at_the_listing_and_is_whole_now_is_not_half_read(tmp_path):
    tars(tmp_path / "tars", 8)
    whole = (tmp_path / "tars" / "0.tar").read_bytes()
    (tmp_path / "tars" / "0.tar").write_bytes(whole[:3000])
    plan = open_source(tmp_path / "tars").plan(100)
    (tmp_path / "tars" / "0.tar").write_bytes(whole)
    with pytest.raises(SourceError, match="has changed"):
        read(open_source(tmp_path / "tars"), plan)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_that_a_table_gained_are_not_left_out(tmp_path, ending):
    def write(n):
        if ending == "csv":
            (tmp_path / "t.csv").write_text("path\n" + "0.png\n" * n)
        else:
            pq.write_table(pa.table({"path": ["0.png"] * n}), tmp_path / "t.parquet")

    (tmp_path / "0.png").write_bytes(png(0))
    write(5)
    source = open_source(tmp_path / f"t.{ending}")
    plan = source.plan(2)
    write(6)
    with pytest.raises(SourceError, match="has changed"):
        read(source, plan)


def test_a_table_that_could_not_be_counted_is_one_failure_even_if_it_can_be_read_now(tmp_path):
    (tmp_path / "0.png").write_bytes(png(0))
    for number in range(2):
        pq.write_table(pa.table({"path": ["0.png"] * 3}), tmp_path / f"{number}.parquet")
    good = (tmp_path / "1.parquet").read_bytes()
    (tmp_path / "1.parquet").write_bytes(b"PAR1")
    source = open_source(tmp_path / "*.parquet")
    plan = source.plan(10)
    (tmp_path / "1.parquet").write_bytes(good)
    assert codes(read(source, plan)) == [None] * 3 + [FailureCode.CORRUPT]
    assert open_source(tmp_path / "*.parquet").plan(10).n_images == 6


def ids(location):
    source = open_source(location)
    return [ref.image_id for ref in read(source, source.plan(9))]


def test_ids_do_not_depend_on_what_else_lies_there(tmp_path):
    tars(tmp_path / "all" / "train", 2)
    before = ids(tmp_path / "all")
    tars(tmp_path / "all" / "val", 2)
    after = ids(tmp_path / "all")
    assert before == ["train/0.tar/0-0.png", "train/0.tar/0-1.png"] == after[:2]
    assert ids(tmp_path / "all/{train,val}/*.tar") == after
    assert ids(tmp_path / "all/train/0.tar")[0] == "0.tar/0-0.png"


def test_a_file_that_a_table_names_and_that_changed_is_picked_up(tmp_path):
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(png(index))
    (tmp_path / "t.csv").write_text("path\n0.png\n1.png\n2.png\n3.png\n")
    options = ScanOptions(part_size=2)
    do(open_source(tmp_path / "t.csv"), tmp_path / "run", options=options)
    assert do(open_source(tmp_path / "t.csv"), tmp_path / "run", options=options).n_new == 0
    (tmp_path / "3.png").write_bytes(png(99))
    encoder = TinyEncoder()
    report = do(open_source(tmp_path / "t.csv"), tmp_path / "run", encoder, options=options)
    assert (report.n_new, report.n_reused, encoder.n_images) == (2, 1, 1)


def test_what_could_not_be_read_is_tried_again_when_asked_for(tmp_path):
    """The listing says nothing of the file's absence: size and time of the table's row are those of a file that is not there."""
    (tmp_path / "tars").mkdir()
    tars(tmp_path / "tars", 2, 2)
    source = open_source(tmp_path / "tars" / "{0..2}.tar")
    assert do(source, tmp_path / "run").n_failed == 1
    run = Run.open(tmp_path / "run")
    assert do(open_source(tmp_path / "tars" / "{0..2}.tar"), tmp_path / "run").n_new == 0
    encoder = TinyEncoder()
    report = do(open_source(tmp_path / "tars" / "{0..2}.tar"), tmp_path / "run", encoder, retry_failed=True)
    assert (report.n_new, report.n_failed, encoder.n_images) == (1, 1, 0)
    assert run.manifest.n_images == 5


def test_too_many_failures_stay_too_many(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"words")
    (tmp_path / "photos" / "b.png").write_bytes(png(1))
    options = ScanOptions(max_failures=MaxFailures(count=0))
    for _ in range(2):
        with pytest.raises(TooManyFailuresError, match="1 of the 2 images"):
            do(open_source(tmp_path / "photos"), tmp_path / "run", options=options)


def test_a_scan_and_a_scoring_exclude_each_other(tmp_path):
    from clipsieve.classifiers import SoftPrompts
    from clipsieve.engines import score

    (tmp_path / "laion").mkdir()
    np.save(tmp_path / "laion" / "a_0.npy", np.eye(3, 4, dtype=np.float32))
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model="some/model")
    head = SoftPrompts(np.eye(2, 4, dtype=np.float32), ("a", "b"), (False, True), "some/model")
    with locked(tmp_path / "run"), pytest.raises(RunConflictError, match="another process"):
        score(Run.open(tmp_path / "run"), head, name="head")
    (tmp_path / "run" / "embeddings.json").write_text("{damaged")
    adopt_embeddings(tmp_path / "laion", tmp_path / "run", model="some/model")
    assert score(Run.open(tmp_path / "run"), head, name="head").n_scored == 3


def test_a_damaged_description_is_mended_by_overwrite(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "b.png").write_bytes(png(1))
    do(open_source(tmp_path / "photos"), tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{damaged")
    with pytest.raises(Exception, match="is damaged"):
        do(open_source(tmp_path / "photos"), tmp_path / "run")
    assert do(open_source(tmp_path / "photos"), tmp_path / "run", redo="all").n_new == 1


def test_a_tar_that_has_not_changed_is_not_listed_again(tmp_path):
    tars(tmp_path / "tars", 3, 4)
    options = ScanOptions(part_size=2)
    do(open_source(tmp_path / "tars"), tmp_path / "run", options=options)
    listing = json.loads((tmp_path / "run" / "listing.json").read_text())
    assert {name: counts[1:] for name, counts in listing.items()} == {"0.tar": [3, 0], "1.tar": [4, 0]}
    facts = (tmp_path / "tars" / "1.tar").stat()
    content = (tmp_path / "tars" / "1.tar").read_bytes()
    (tmp_path / "tars" / "1.tar").write_bytes(bytes(len(content)))  # were it opened, it would hold nothing
    os.utime(tmp_path / "tars" / "1.tar", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert do(open_source(tmp_path / "tars"), tmp_path / "run", options=options).n_listed == 7
    for nonsense in ("{", "[]", '{"0.tar": 5}', '{"0.tar": ["x", "y", "z"]}'):
        (tmp_path / "run" / "listing.json").write_text(nonsense)
        assert do(open_source(tmp_path / "tars" / "0.tar"), tmp_path / "other", options=options).n_listed == 3


def test_times_of_files_decide_and_not_the_clock(tmp_path):
    source = open_source(tars(tmp_path / "tars", 2))
    plan = source.plan(10)
    time.sleep(0.01)
    assert open_source(tmp_path / "tars").plan(10) == plan
    os.utime(tmp_path / "tars" / "0.tar", ns=(1, 1))
    assert open_source(tmp_path / "tars").plan(10) != plan
