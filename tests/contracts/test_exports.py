"""What every export promises, whatever kind of source it is of."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from clipsieve.engines import Decision, LocalEngine, Policy, ScanOptions, scan
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts
from clipsieve.errors import ExportError, SourceError, UsageError
from clipsieve.outputs import ExportOptions, export_run
from clipsieve.sources import open_source, recognise
from clipsieve.store import Run
from image_files import png, tar
from scored_runs import write_scores
from source_kinds import KINDS, N_IMAGES, folder, webdataset
from tiny_encoder import TinyEncoder

pytestmark = pytest.mark.slow  # each of some 90 exports begins with a scan

# By the number that each image is drawn from; in source order another one for each kind.
PROBABILITY = {0: 0.1, 1: 0.95, 2: 0.6, 3: 0.2, 4: 0.99, 5: 0.3, 6: 0.7}
KEPT, DOUBTFUL, REMOVED = {0, 3, 5}, {2, 6}, {1, 4}
NUMBER_OF = {hashlib.sha256(png(index)).hexdigest(): index for index in range(N_IMAGES)}


@pytest.fixture(params=KINDS, ids=lambda write: write.__name__)
def source(request, tmp_path) -> Path:
    return request.param(tmp_path / "source")


def scored(source: Path, path: Path, kind: str = "auto") -> Run:
    """Scan a source, and give each image the probability of its number."""
    scan(
        open_source(source, kind), path, TinyEncoder(), options=ScanOptions(part_size=2), engine=LocalEngine(workers=1)
    )
    run = Run.open(path)
    for index, images in enumerate(run.iter_images()):
        known = [NUMBER_OF.get(digest) for digest in images.column("sha256").to_pylist()]
        write_scores(run, index, images, [None if number is None else PROBABILITY[number] for number in known])
    facts = {"method": "zero-shot", "class_names": ["good", "bad"], "unwanted": [False, True], "calibration": None}
    run.write_score_facts("test", facts | {"threshold": 0.5, "remove_threshold": 0.9})
    return run


@pytest.fixture
def run(source, tmp_path) -> Run:
    return scored(source, tmp_path / "run")


def numbers(place: Path, kind: str) -> list[int]:
    """Return the images of a place, as a scan of it would find them."""
    where = place / "data" if kind == "table" else place
    opened = open_source(where, kind)
    return [
        NUMBER_OF[hashlib.sha256(ref.content).hexdigest()]
        for shard in opened.plan(3).shards
        for ref in opened.read(shard)
    ]


def in_source_order(run: Run, wanted: set[int]) -> list[int]:
    digests = [digest for images in run.iter_images(["sha256"]) for digest in images.column("sha256").to_pylist()]
    return [NUMBER_OF[digest] for digest in digests if NUMBER_OF[digest] in wanted]


def fingerprint(folder: Path) -> dict[str, tuple[int, int, str]]:
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return {
        str(file.relative_to(folder)): (
            file.lstat().st_mtime_ns,
            file.lstat().st_size,
            hashlib.sha256(file.read_bytes()).hexdigest(),
        )
        for file in files
    }


def contents(folder: Path) -> dict[str, str]:
    return {name: digest for name, (_, _, digest) in fingerprint(folder).items()}


def three(tmp_path: Path, **changes: object) -> ExportOptions:
    return ExportOptions(review_to=str(tmp_path / "doubtful"), remove_to=str(tmp_path / "gone"), **changes)


def test_three_places_hold_what_belongs_there_and_the_source_is_as_it_was(source, run, tmp_path):
    kind, before = run.manifest.source_kind, fingerprint(tmp_path / "source")
    report = export_run(run, tmp_path / "clean", three(tmp_path))
    for name, wanted in (("clean", KEPT), ("doubtful", DOUBTFUL), ("gone", REMOVED)):
        assert numbers(tmp_path / name, kind) == in_source_order(run, wanted), name
    assert fingerprint(tmp_path / "source") == before
    assert {name: place.n_images for name, place in report.places.items()} == {"keep": 3, "review": 2, "remove": 2}
    assert (report.n_problems, report.is_dry_run) == (0, False)


def test_the_manifest_names_every_input(run, tmp_path):
    export_run(run, tmp_path / "clean", three(tmp_path))
    manifest = pq.read_table(tmp_path / "clean" / "manifest.parquet").to_pylist()
    ids = [image_id for images in run.iter_images(["image_id"]) for image_id in images.column("image_id").to_pylist()]
    assert [row["image_id"] for row in manifest] == ids
    for row in manifest:
        number = NUMBER_OF[row["sha256"]]
        decision = "keep" if number in KEPT else "review" if number in DOUBTFUL else "remove"
        assert (row["decision"], row["decided_by"]) == (decision, None if decision == "review" else "machine")
        assert row["probability"] == np.float32(PROBABILITY[number])
        assert row["threshold"] == np.float32(0.9 if decision == "remove" else 0.5)
        place = tmp_path / {"keep": "clean", "review": "doubtful", "remove": "gone"}[decision]
        assert (place / unquote(row["file"])).exists()


def test_an_export_is_recognised_and_can_be_exported_again(run, tmp_path):
    export_run(run, tmp_path / "clean", ExportOptions(Policy.FLAGGED))
    kind = run.manifest.source_kind
    if kind != "table":
        assert recognise(str(tmp_path / "clean")) == kind
    clean = tmp_path / "clean" / "data" if kind == "table" else tmp_path / "clean"
    again = scored(clean, tmp_path / "run 2", kind)
    export_run(again, tmp_path / "cleaner", ExportOptions(Policy.FLAGGED))
    assert numbers(tmp_path / "cleaner", kind) == in_source_order(run, KEPT)


def test_the_same_call_again_writes_nothing_twice(run, tmp_path):
    options = three(tmp_path)
    first = export_run(run, tmp_path / "clean", options)
    times = {p: p.lstat().st_mtime_ns for p in (tmp_path / "clean").rglob("*") if p.is_file()}
    second = export_run(run, tmp_path / "clean", options)
    after = {p: p.lstat().st_mtime_ns for p in (tmp_path / "clean").rglob("*") if p.is_file()}
    rewritten = {path.name for path in times if times[path] != after[path]}
    assert times.keys() == after.keys()
    assert rewritten <= {"manifest.parquet"}
    assert second.places == first.places
    assert second.n_files == first.n_files


def test_what_is_missing_is_written_again(run, tmp_path):
    options = three(tmp_path)
    export_run(run, tmp_path / "clean", options)
    whole = contents(tmp_path / "clean")
    lost = [path for path in sorted((tmp_path / "clean").rglob("*")) if path.is_file() and path.name[0] != "."][::2]
    for path in lost:
        path.unlink()
    export_run(run, tmp_path / "clean", options)
    assert contents(tmp_path / "clean") == whole


def test_a_place_that_holds_anything_else_is_refused(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="holds other files"):
        export_run(run, tmp_path / "full", ExportOptions(Policy.FLAGGED))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    export_run(run, tmp_path / "clean", ExportOptions(Policy.FLAGGED))
    with pytest.raises(ExportError, match="holds another export"):
        export_run(run, tmp_path / "clean", ExportOptions(undecided="keep"))


def test_undecided_images_are_never_kept_in_silence(run, tmp_path):
    with pytest.raises(UsageError, match="nobody has decided on 2 of 7"):
        export_run(run, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
    kind = run.manifest.source_kind
    export_run(run, tmp_path / "all", ExportOptions(undecided="keep"))
    assert numbers(tmp_path / "all", kind) == in_source_order(run, KEPT | DOUBTFUL)
    manifest = pq.read_table(tmp_path / "all" / "manifest.parquet").to_pylist()
    assert {NUMBER_OF[row["sha256"]] for row in manifest if row["decided_by"] == "option"} == DOUBTFUL
    export_run(run, tmp_path / "few", ExportOptions(undecided="remove"))
    assert numbers(tmp_path / "few", kind) == in_source_order(run, KEPT)


def test_a_dry_run_counts_as_the_export_does_and_writes_nothing(run, tmp_path):
    report = export_run(run, tmp_path / "clean", three(tmp_path), dry_run=True)
    assert not (tmp_path / "clean").exists()
    assert not (tmp_path / "gone").exists()
    done = export_run(run, tmp_path / "clean", three(tmp_path))
    assert done.places == report.places
    sizes = {number: len(png(number)) for number in range(N_IMAGES)}
    assert report.places["remove"].n_bytes == sum(sizes[number] for number in REMOVED)


def test_verdicts_decide(run, tmp_path):
    ids = {
        NUMBER_OF[digest]: image_id
        for images in run.iter_images(["image_id", "sha256"])
        for image_id, digest in zip(*(column.to_pylist() for column in images.columns), strict=True)
    }
    said = {
        ids[0]: ImageVerdict(True, ("Ann",), 1),
        ids[1]: ImageVerdict(False, (), 1),
        ids[2]: ImageVerdict(False, (), 1),
    }
    verdicts = ImageVerdicts(Path("verdicts.csv"), "0" * 64, said)
    export_run(run, tmp_path / "clean", ExportOptions(verdicts=verdicts, undecided="remove"))
    assert numbers(tmp_path / "clean", run.manifest.source_kind) == in_source_order(run, {1, 2, 3, 5})
    by = {NUMBER_OF[row["sha256"]]: row for row in pq.read_table(tmp_path / "clean" / "manifest.parquet").to_pylist()}
    assert {number: row["decided_by"] for number, row in by.items()} == {
        0: "person",
        1: "person",
        2: "person",
        3: "machine",
        4: "machine",
        5: "machine",
        6: "option",
    }
    assert by[0]["annotators"] == "Ann"
    facts = json.loads(pq.read_schema(tmp_path / "clean" / "manifest.parquet").metadata[b"clipsieve.export"])
    assert facts["verdicts"] == {"file": "verdicts.csv", "sha256": "0" * 64}


def test_a_source_that_has_changed_is_not_exported(source, run, tmp_path):
    files = [
        path for path in (tmp_path / "source").rglob("*") if path.is_file() and path.suffix not in (".json", ".csv")
    ]
    changed = min(files)
    os.utime(changed, ns=(1, 1))
    with pytest.raises(SourceError, match="not what was scanned"):
        export_run(run, tmp_path / "clean", ExportOptions(Policy.FLAGGED))
    assert not (tmp_path / "clean").exists()


def test_a_source_that_lies_elsewhere_now_is_known_by_its_hashes(source, run, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "source", moved)  # with new times
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(SourceError, match="--from"):
        export_run(run, tmp_path / "clean", ExportOptions(Policy.FLAGGED))
    location = str(moved / source.relative_to(tmp_path / "source"))
    export_run(run, tmp_path / "clean", ExportOptions(Policy.FLAGGED, location=location))
    assert numbers(tmp_path / "clean", run.manifest.source_kind) == in_source_order(run, KEPT)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_lists_need_no_source(run, tmp_path, form):
    shutil.rmtree(tmp_path / "source")
    export_run(run, tmp_path / "clean", three(tmp_path, form=form))
    for name, wanted in (("clean", KEPT), ("doubtful", DOUBTFUL), ("gone", REMOVED)):
        path = tmp_path / name / f"images.{form}"
        table = pl.read_parquet(path) if form == "parquet" else pl.read_csv(path)
        assert [NUMBER_OF[digest] for digest in table["sha256"]] == in_source_order(run, wanted)


def test_blocked_images_are_never_kept(tmp_path):
    from clipsieve.images import BlockList

    source = folder(tmp_path / "source")
    blocked = BlockList(frozenset({hashlib.sha256(png(3)).digest()}))
    options = ScanOptions(part_size=3, block_list=blocked)
    scan(open_source(source), tmp_path / "run", TinyEncoder(), options=options, engine=LocalEngine(workers=1))
    run = Run.open(tmp_path / "run")
    for index, images in enumerate(run.iter_images()):
        codes = images.column("failure_code").to_pylist()
        write_scores(run, index, images, [0.1 if code is None else None for code in codes])
    run.write_score_facts("test", {"threshold": 0.5, "class_names": ["a", "b"], "unwanted": [False, True]})
    said = ImageVerdicts(Path("v"), "0" * 64, {"class 1/3.png": ImageVerdict(False, (), 1)})
    export_run(run, tmp_path / "clean", ExportOptions(verdicts=said, undecided="keep"))
    assert sorted(numbers(tmp_path / "clean", "folder")) == [0, 1, 2, 4, 5, 6]
    rows = pq.read_table(tmp_path / "clean" / "manifest.parquet").to_pylist()
    assert [row["decided_by"] for row in rows if row["decision"] == "remove"] == ["block list"]


def test_places_must_lie_apart(tmp_path):
    run = scored(webdataset(tmp_path / "source"), tmp_path / "run")
    elsewhere = shutil.copytree(tmp_path / "source", tmp_path / "elsewhere")
    moved = ExportOptions(Policy.FLAGGED, location=elsewhere.as_uri())
    for place in ("source/clean", "run/clean", "source"):
        for dry_run in (False, True):
            with pytest.raises(UsageError, match="not apart"):
                export_run(run, tmp_path / place, ExportOptions(Policy.FLAGGED), dry_run=dry_run)
        with pytest.raises(UsageError, match="not apart"):
            export_run(run, (tmp_path / place).as_uri(), ExportOptions(Policy.FLAGGED, form="csv"))
        with pytest.raises(UsageError, match="not apart"):
            export_run(run, tmp_path / place, moved)
    with pytest.raises(UsageError, match="not apart from the source"):
        export_run(run, elsewhere / "clean", moved)
    assert sorted(path.name for path in (tmp_path / "source").iterdir()) == ["00000.tar", "00001.tar"]
    with pytest.raises(UsageError, match="not apart from the place of what is to keep"):
        export_run(run, tmp_path / "clean", ExportOptions(Policy.FLAGGED, remove_to=str(tmp_path / "clean" / "gone")))
    assert not (tmp_path / "clean").exists()


def test_places_that_are_swapped_are_refused(tmp_path):
    run = scored(folder(tmp_path / "source"), tmp_path / "run")
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    export_run(run, one, ExportOptions(review_to=other))
    before = contents(tmp_path / "one"), contents(tmp_path / "other")
    with pytest.raises(ExportError, match="another export"):
        export_run(run, other, ExportOptions(review_to=one))
    with pytest.raises(ExportError, match="another export"):
        export_run(run, tmp_path / "third", ExportOptions(review_to=one))
    assert (contents(tmp_path / "one"), contents(tmp_path / "other")) == before


def test_a_dry_run_refuses_what_the_export_would(tmp_path):
    run = scored(folder(tmp_path / "source"), tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="holds other files"):
        export_run(run, tmp_path / "full", ExportOptions(Policy.FLAGGED), dry_run=True)


def test_scores_that_change_meanwhile_change_nothing_of_what_was_decided(tmp_path):
    run = scored(folder(tmp_path / "source"), tmp_path / "run")

    def score_anew(_n_done: int, _n_total: int) -> None:
        for index, images in enumerate(run.iter_images()):
            write_scores(run, index, images, [0.99] * images.num_rows)

    export_run(run, tmp_path / "clean", ExportOptions(Policy.FLAGGED), on_progress=score_anew)
    for row in pq.read_table(tmp_path / "clean" / "manifest.parquet").to_pylist():
        assert (row["probability"] < row["threshold"]) is (row["decision"] == "keep")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_list_of_tars_parts_no_sample(tmp_path, form):
    (tmp_path / "source").mkdir()
    members = [("0.jpg", png(0)), ("0.second.jpg", png(1)), ("1.jpg", png(3)), ("2.jpg", png(5)), ("0.txt", b"caption")]
    (tmp_path / "source" / "a.tar").write_bytes(tar(members))
    run = scored(tmp_path / "source", tmp_path / "run")
    export_run(run, tmp_path / "list", ExportOptions(Policy.FLAGGED, form=form))
    path = tmp_path / "list" / f"images.{form}"
    table = pl.read_parquet(path) if form == "parquet" else pl.read_csv(path)
    assert table["image_id"].to_list() == ["a.tar/1.jpg", "a.tar/2.jpg"]


def test_options_that_would_do_nothing_are_refused(tmp_path):
    run = scored(webdataset(tmp_path / "source"), tmp_path / "run")
    for options in (
        ExportOptions(Policy.FLAGGED, how="hardlink"),
        ExportOptions(Policy.FLAGGED, how="symlink", form="csv"),
        ExportOptions(Policy.FLAGGED, form="csv", location=str(tmp_path)),
    ):
        with pytest.raises(UsageError, match="means nothing"):
            export_run(run, tmp_path / "clean", options)
    of_a_folder = scored(folder(tmp_path / "folder"), tmp_path / "run 2")
    with pytest.raises(UsageError, match="can hold no links"):
        export_run(of_a_folder, "memory://links/clean", ExportOptions(Policy.FLAGGED, how="symlink"))


def test_decisions_have_codes_in_order_of_strictness():
    assert [decision.name for decision in sorted(Decision)] == ["KEEP", "REVIEW", "REMOVE"]
