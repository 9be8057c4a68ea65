"""A run behind a URL is what it would be in a folder of this machine, and a fault of the service is never taken for damage."""

import io
import pickle
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import upath.registry
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from clipsieve.errors import (
    MissingExtraError,
    RunConflictError,
    RunCorruptError,
    RunError,
    RunNotFoundError,
    UsageError,
)
from clipsieve.store import Run, read_embedded_part, remove_superseded, run_path, set_aside, stored_parts, superseded
from clipsieve.store.files import exists, in_parallel, matching, names_in, put_bytes, remove, rename
from clipsieve.store.parquet_files import _FIRST_BYTES, open_part, read_part_schema
from clipsieve.store.paths import RunPath
from clipsieve.store.writer import append_line, read_lines
from scored_runs import write_scored_run

PROBABILITY = [0.1, 0.9, "truncated", 0.5, 0.7, None]


class InPlace(MemoryFileSystem):
    """A service that shows a file while it grows, as most do that are no object stores; it writes down what it was asked."""

    protocol = ("inplace",)
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    asked: list = []  # noqa: RUF012
    is_away = False

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).replace("inplace://", "memory://", 1))

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self.asked.append(("put", path.rpartition("/")[2]))
        return super().pipe_file(path, value, mode=mode, **kwargs)

    def mv(self, path1, path2, **kwargs):
        self.asked.append(("rename", path2.rpartition("/")[2]))
        return super().mv(path1, path2, **kwargs)

    def cat_file(self, path, start=None, end=None, **kwargs):
        if self.is_away:
            raise PermissionError("not today")
        self.asked.append(("get", start, end))
        return super().cat_file(path, start=start, end=end, **kwargs)


@pytest.fixture
def in_place() -> Iterator[RunPath]:
    fsspec.register_implementation("inplace", InPlace, clobber=True)
    upath.registry.register_implementation("inplace", UPath, clobber=True)
    InPlace.asked.clear()
    yield run_path(f"inplace://{uuid.uuid4().hex}/run")
    InPlace.is_away = False


@pytest.fixture
def remote() -> RunPath:
    return run_path(f"memory://{uuid.uuid4().hex}/run")


def content(folder: RunPath) -> dict[str, bytes]:
    """Return all files of a run."""
    if isinstance(folder, Path):
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = folder.fs.find(folder.path)
    return {name.removeprefix(folder.path + "/"): folder.fs.cat_file(name) for name in found}


@pytest.mark.parametrize("service", ["remote", "in_place"])
def test_the_same_files_with_the_same_bytes(service, request, tmp_path):
    here = write_scored_run(tmp_path / "run", PROBABILITY, threshold=0.5, part_size=4)
    there = write_scored_run(request.getfixturevalue(service), PROBABILITY, threshold=0.5, part_size=4)
    for run in (here, there):
        run.record(what="scan", finished="2026-01-01")
        run.save_listing({"a.tar": ("stamp", 1, 2)})
    assert content(there.path) == content(here.path)
    opened = Run.open(str(there.path))
    assert opened.manifest == here.manifest
    assert (opened.history(), opened.score_names()) == (here.history(), here.score_names())
    assert Run.load_listing(there.path) == {"a.tar": ("stamp", 1, 2)}
    for (images, scores), (own_images, own_scores) in zip(
        there.iter_scores("test"), here.iter_scores("test"), strict=True
    ):
        assert images.equals(own_images, check_metadata=True)
        assert scores.equals(own_scores, check_metadata=True)
    for index in range(2):
        found, own = (read_embedded_part(run, index, ["image_id"]) for run in (there, here))
        assert found.rows.equals(own.rows)
        assert (found.values[:] == own.values[:]).all()


def test_a_service_that_writes_in_place_gets_a_file_under_another_name_first(in_place):
    put_bytes(in_place / "a.json", b"old")
    put_bytes(in_place / "a.json", b"new")
    first = [("put", ".a.json.tmp"), ("rename", "a.json")]
    assert InPlace.asked == [*first, ("put", ".a.json.tmp"), ("rename", "a.json.old"), ("rename", "a.json")]
    assert content(in_place) == {"a.json": b"new"}


def test_where_a_rename_fails_the_old_file_is_there_again(in_place, monkeypatch):
    put_bytes(in_place / "a.json", b"old")
    rename = InPlace.mv

    def refuse(self, path1, path2, **more):
        if path1.endswith(".tmp"):
            raise PermissionError("not now")
        rename(self, path1, path2, **more)

    monkeypatch.setattr(InPlace, "mv", refuse)
    with pytest.raises(RunError, match=r"a\.json"):
        put_bytes(in_place / "a.json", b"new")
    assert content(in_place) == {"a.json": b"old"}


def test_a_service_that_does_not_answer_is_no_damage(in_place):
    """Else parts would be made anew, or removed, because the line was cut."""
    run = write_scored_run(in_place, PROBABILITY, threshold=0.5, part_size=4)
    before = content(run.path)
    InPlace.is_away = True
    for ask in (
        lambda: run.part_metadata(run.image_part(0)),
        lambda: read_embedded_part(run, 0, ["image_id"]),
        lambda: run.read_images(0, ["image_id"]),
        lambda: set_aside(run, ["other", "other"]),
        lambda: list(stored_parts(run, [0, 1], ["failure_code"])),
        lambda: Run.open(run.path),
        lambda: Run.load_listing(run.path),
        lambda: run.record(what="scan"),
    ):
        with pytest.raises(RunError, match="not today") as caught:
            ask()
        assert not isinstance(caught.value, RunCorruptError)
        assert str(run.path) in caught.value.what
    InPlace.is_away = False
    assert content(run.path) == before


@pytest.mark.parametrize("service", ["remote", "in_place"])
def test_parts_of_another_plan_are_set_aside_and_removed(service, request):
    run = write_scored_run(request.getfixturevalue(service), PROBABILITY, threshold=0.5, part_size=2)
    whole = content(run.path)
    set_aside(run, ["inputs-0", "other"])
    assert sorted(names_in(run.path / "images")) == [
        ".superseded-inputs-1.parquet",
        ".superseded-inputs-2.parquet",
        "part-00000.parquet",
    ]
    assert [path.name for path in superseded(run)] == [".superseded-inputs-1.parquet", ".superseded-inputs-2.parquet"]
    assert content(run.path)["images/.superseded-inputs-1.parquet"] == whole["images/part-00001.parquet"]
    assert names_in(run.path / "scores" / "test") == ["classifier.json", "part-00000.parquet", "part-00001.parquet"]
    remove_superseded(run)
    assert names_in(run.path / "images") == ["part-00000.parquet"]
    assert [part is None for part in stored_parts(run, [0, 1, 2], ["failure_code"])] == [False, True, True]
    run.clear()
    assert sorted(content(run.path)) == ["run.json"]


def test_a_damaged_or_missing_part_is_named(remote):
    run = write_scored_run(remote, PROBABILITY, threshold=0.5, part_size=4)
    run.image_part(0).write_bytes(run.image_part(0).read_bytes()[:-9])
    with pytest.raises(RunCorruptError, match=r"memory://.*part-00000.parquet` is damaged"):
        run.read_images(0)
    with pytest.raises(RunCorruptError, match="damaged"):
        read_embedded_part(run, 0, ["image_id"])
    remove(run.image_part(1))
    with pytest.raises(RunCorruptError, match=r"part-00001.parquet` is missing"):
        run.read_images(1, ["image_id"])
    assert run.part_metadata(run.image_part(1)) is None


def test_what_is_not_a_run_is_refused(remote):
    with pytest.raises(RunNotFoundError, match="there is no run in `memory://") as caught:
        Run.open(remote)
    assert caught.value.found == "no such folder"
    run = write_scored_run(remote, PROBABILITY, threshold=0.5)
    put_bytes(remote.parent / "file", b"")
    put_bytes(remote.parent / "other" / "file", b"")
    for place, what in (("file", "is a file"), ("other", "holds other files")):
        with pytest.raises(RunConflictError, match=what):
            Run.create(remote.parent / place, run.manifest)
    with pytest.raises(RunNotFoundError) as caught:
        Run.open(remote.parent / "other")
    assert caught.value.found == "no such file"


def test_of_a_large_part_only_some_of_it_is_fetched(in_place):
    numbers = pa.array(range(400_000), pa.int64())
    table = pa.table({"a": numbers, "b": numbers, "c": numbers}).replace_schema_metadata({"clipsieve.inputs": "x"})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False, row_group_size=1 << 20)
    path = in_place / "part.parquet"
    put_bytes(path, sink.getvalue())
    InPlace.asked.clear()
    assert read_part_schema(path).names == ["a", "b", "c"]
    assert [what[0] for what in InPlace.asked] == ["get", "get"]
    InPlace.asked.clear()
    with open_part(path, some=True) as file:
        assert file.read(columns=["c"]).column("c").equals(table.column("c"))
    n_bytes = sum(end - start for _, start, end in InPlace.asked)
    assert _FIRST_BYTES < n_bytes < len(sink.getvalue()) * 0.7
    InPlace.asked.clear()
    with open_part(path, some=False) as file:
        assert file.read().equals(table)
    assert len(InPlace.asked) == 1


def test_a_line_is_appended_also_after_one_that_was_cut(remote):
    path = remote / "history.jsonl"
    assert read_lines(path) == []
    append_line(path, {"a": 1})
    append_line(path, {"b": "ü"})
    path.write_bytes(path.read_bytes() + b'{"c')
    append_line(path, {"d": 2})
    assert read_lines(path) == [{"a": 1}, {"b": "ü"}, {"d": 2}]


@pytest.mark.parametrize("name", ["a [b]", "a*b", "ä ö", "a#b", "100%"])
def test_odd_names_of_folders_are_no_patterns(name, tmp_path):
    for root in (tmp_path, run_path(f"memory://{uuid.uuid4().hex}")):
        run = write_scored_run(root / name, PROBABILITY, threshold=0.5, part_size=4)
        assert Run.open(str(run.path)).score_names() == ["test"]
        assert [path.name for path in matching(run.path, "images/part-*.parquet")] == [
            "part-00000.parquet",
            "part-00001.parquet",
        ]


def test_renaming_replaces_what_has_the_name(remote, in_place):
    for folder in (remote, in_place):
        put_bytes(folder / "a", b"1")
        put_bytes(folder / "b", b"2")
        rename(folder / "a", folder / "b")
        assert (exists(folder / "a"), (folder / "b").read_bytes()) == (False, b"1")


@pytest.mark.parametrize(
    "location", ["s3://key:hunter2@bucket/run", "sftp://me:hunter2@host/run", "s3://bucket/run?X-Amz-Signature=hunter2"]
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(location):
    with pytest.raises(UsageError, match="password or a query") as caught:
        run_path(location)
    assert "hunter2" not in str(caught.value)


def test_locations_of_this_machine_stay_paths(tmp_path):
    assert run_path(str(tmp_path)) == tmp_path
    assert run_path(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert run_path(tmp_path / "s3:") == tmp_path / "s3:"


def test_a_url_reads_as_it_was_given_and_travels_to_other_processes():
    path = run_path("S3://bucket/a/run/")
    assert str(path) == "s3://bucket/a/run"
    assert str(path / "run.json") == "s3://bucket/a/run/run.json"
    assert path.storage_options["use_listings_cache"] is False
    again = pickle.loads(pickle.dumps(path / "x"))  # noqa: S301
    assert (str(again), again.storage_options) == ("s3://bucket/a/run/x", path.storage_options)


def test_unknown_and_missing_services_are_told_in_words():
    with pytest.raises(UsageError, match="`nothing://` is no service"):
        run_path("nothing://bucket/run")
    pytest.importorskip("s3fs")
    with pytest.raises(MissingExtraError, match=r"needs a library") as caught:
        Run.open("gs://bucket/run")
    assert caught.value.hint == "pip install 'clipsieve[gs]'"


def test_what_is_read_ahead_is_bounded(remote):
    class Asynchronous(MemoryFileSystem):
        async_impl = True

    begun: list[int] = []
    place = UPath("memory://x/y")
    place._fs_cached = Asynchronous()
    found = in_parallel(place, lambda item: begun.append(item) or item, range(1000))
    assert [next(found), next(found)] == [0, 1]
    assert len(begun) < 40
    found.close()
    assert list(in_parallel(place, str, range(50))) == [str(i) for i in range(50)]


def test_paths_load_no_service():
    code = (
        "import sys; from clipsieve.store import run_path; run_path('s3://bucket/run'), run_path('gs://bucket/run');"
        "print([name for name in sys.modules if name.split('.')[0] in ('s3fs', 'gcsfs', 'aiobotocore', 'boto3', 'aiohttp')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
