"""Every kind of source from a real S3 server: what is there comes through, what is not becomes a row with the reason."""

import io
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.engines import LocalEngine, ScanOptions, scan
from clipsieve.errors import SourceError
from clipsieve.sources import HuggingFaceSource, RemoteFolderSource, Source, TableSource, WebDatasetSource, open_source
from clipsieve.store import Run
from clipsieve.types import Failure, FailureCode, ImageRef
from s3_server import BUCKET, S3Server
from tiny_encoder import TinyEncoder

pytestmark = pytest.mark.slow
ODD_NAMES = ["a b.png", "ä/ü.png", "c#1.png", "d%25.png", "e+f.png", "g?.png", "h&i=j.png"]


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 5), (value % 256, value // 256, 7)).save(file, "PNG")
    return file.getvalue()


def tar(names: list[str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = len(png(number))
            made.addfile(member, io.BytesIO(png(number)))
    return file.getvalue()


@pytest.fixture(scope="module")
def started() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def server(started, monkeypatch) -> Iterator[S3Server]:
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    started.fail()
    yield started
    started.fail()


def read(source: Source, part_size: int = 100) -> list[ImageRef]:
    return [ref for shard in source.plan(part_size).shards for ref in source.read(shard)]


def code(ref: ImageRef) -> FailureCode | None:
    return ref.content.code if isinstance(ref.content, Failure) else None


def test_a_listing_of_more_than_a_thousand_keys_is_whole(server):
    client = server.client()
    for number in range(1100):
        client.put_object(Bucket=BUCKET, Key=f"many/{number:04d}.png", Body=b"x")
    client.put_object(Bucket=BUCKET, Key="many/readme.txt", Body=b"x")
    plan = open_source(f"s3://{BUCKET}/many").plan(500)
    assert [shard.n_images for shard in plan.shards] == [500, 500, 100]
    assert plan.n_ignored == 1


def test_odd_names_labels_and_urls(server):
    for number, name in enumerate(ODD_NAMES):
        server.put(f"odd/{name}", png(number))
    server.put("odd/.hidden/x.png", png(0))
    refs = read(open_source(f"s3://{BUCKET}/odd"))
    assert {ref.image_id.replace("%25", "%") for ref in refs} == set(ODD_NAMES)
    by_name = {ref.image_id: ref for ref in refs}
    assert all(ref.content == png(ODD_NAMES.index(ref.image_id.replace("%25", "%"))) for ref in refs)
    assert (by_name["ä/ü.png"].label, by_name["a b.png"].label) == ("ä", None)
    assert by_name["c#1.png"].uri == f"s3://{BUCKET}/odd/c#1.png"
    assert [ref.image_id for ref in refs] == sorted(
        (ref.image_id for ref in refs), key=lambda n: n.replace("%25", "%").encode()
    )


def test_an_object_that_vanished_is_a_failure_of_its_own(server):
    for number in range(5):
        server.put(f"gone/{number}.png", png(number))
    source = open_source(f"s3://{BUCKET}/gone")
    plan = source.plan(100)
    server.client().delete_object(Bucket=BUCKET, Key="gone/3.png")
    refs = list(source.read(plan.shards[0]))
    assert [code(ref) for ref in refs] == [None, None, None, FailureCode.NOT_FOUND, None]


def test_a_server_that_fails_every_tenth_request_loses_nothing(server):
    for number in range(60):
        server.put(f"shaky/{number:02d}.png", png(number))
    server.fail(every=10, status=503)
    before = server.counts()
    refs = read(open_source(f"s3://{BUCKET}/shaky"), 20)
    after = server.counts()
    assert [ref.content for ref in refs] == [png(number) for number in range(60)]
    assert after["n_failed"] - before["n_failed"] >= 6


def test_what_fails_for_good_is_a_failure_with_the_reason(server):
    for name in ("a", "broken", "c"):
        server.put(f"bad/{name}.png", png(1))
    server.fail(containing="broken.png")
    before = server.counts()
    refs = read(open_source(f"s3://{BUCKET}/bad"))
    assert [code(ref) for ref in refs] == [None, FailureCode.READ_ERROR, None]
    assert "5 times" in refs[1].content.detail
    assert server.counts()["n_failed"] - before["n_failed"] >= 5


def test_a_large_object_is_not_fetched(server):
    server.put("large/a.png", b"x" * 5000)
    server.put("large/b.png", png(1))
    refs = read(open_source(f"s3://{BUCKET}/large", max_bytes=1000))
    assert [code(ref) for ref in refs] == [FailureCode.TOO_MANY_BYTES, None]


@pytest.mark.parametrize("pattern", ["{00000..00001}.tar", "*.tar", ""])
def test_tar_files(server, pattern, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for number in range(2):
        server.put(f"tars/{number:05d}.tar", tar([f"{number}{i}.png" for i in range(4)]))
    source = open_source(f"s3://{BUCKET}/tars/{pattern}")
    assert isinstance(source, WebDatasetSource)
    refs = read(source, 3)
    assert [ref.image_id for ref in refs] == [f"{n:05d}.tar/{n}{i}.png" for n in range(2) for i in range(4)]
    assert refs[5].content == png(1)
    assert refs[5].uri == f"s3://{BUCKET}/tars/00001.tar#11.png"
    assert not list(tmp_path.iterdir())  # what was fetched leaves no file behind


def test_a_tar_that_is_missing_or_cut_costs_itself(server):
    server.put("some/0.tar", tar(["a.png"]))
    server.put("some/1.tar", tar(["b.png", "c.png"])[:1100])
    refs = read(open_source(f"s3://{BUCKET}/some/{{0..2}}.tar"))
    assert [code(ref) for ref in refs] == [None, None, FailureCode.TRUNCATED, FailureCode.NOT_FOUND]


def test_a_table_names_files_beside_it_and_urls(server):
    server.put("tables/a.png", png(1))
    cells = [
        "a.png",
        "missing.png",
        f"s3://{BUCKET}/tables/a.png",
        "/etc/passwd",
        "../tables/a.png",
        "file:///etc/passwd",
    ]
    file = io.BytesIO()
    pq.write_table(pa.table({"path": cells, "caption": list("uvwxyz")}), file)
    server.put("tables/t.parquet", file.getvalue())
    server.put(
        "tables/t.csv", ("path,caption\n" + "\n".join(map(",".join, zip(cells, "uvwxyz", strict=True)))).encode()
    )
    for name in ("t.parquet", "t.csv"):
        source = open_source(f"s3://{BUCKET}/tables/{name}")
        assert isinstance(source, TableSource)
        refs = read(source, 4)
        barred = FailureCode.NOT_PERMITTED
        assert [code(ref) for ref in refs] == [None, FailureCode.NOT_FOUND, None, barred, barred, barred]
        assert [ref.caption for ref in refs] == list("uvwxyz")


def test_a_data_set_saved_by_hugging_faces_library(server, tmp_path):
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    rows = {"image": [{"bytes": png(i), "path": None} for i in range(5)], "text": list("abcde")}
    features = Features({"image": ImageFeature(), "text": Value("string")})
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    server.upload(tmp_path / "saved", "saved")
    source = open_source(f"s3://{BUCKET}/saved")
    assert isinstance(source, HuggingFaceSource)
    assert [(ref.content, ref.caption) for ref in read(source, 2)] == [(png(i), "abcde"[i]) for i in range(5)]


def test_a_copy_in_another_process_reads_the_same(server):
    for number in range(4):
        server.put(f"copy/{number}.png", png(number))
    source = open_source(f"s3://{BUCKET}/copy")
    assert isinstance(source, RemoteFolderSource)
    plan = source.plan(3)
    assert plan == source.plan(3)
    again = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert [list(again.read(shard)) for shard in plan.shards] == [list(source.read(shard)) for shard in plan.shards]


def test_a_changed_object_is_picked_up_and_the_rest_kept(server, tmp_path):
    for number in range(6):
        server.put(f"change/{number}.png", png(number))
    source, options = open_source(f"s3://{BUCKET}/change"), ScanOptions(part_size=2)
    scan(source, tmp_path / "run", TinyEncoder(), options=options, engine=LocalEngine(workers=1))
    server.put("change/3.png", png(99))
    encoder = TinyEncoder()
    report = scan(source, tmp_path / "run", encoder, options=options, engine=LocalEngine(workers=1))
    assert (report.n_listed, report.n_new, report.n_reused, encoder.n_images) == (6, 2, 1, 1)
    hashes = [
        value for part in Run.open(tmp_path / "run").iter_images(["sha256"]) for value in part["sha256"].to_pylist()
    ]
    assert len(set(hashes)) == 6


@pytest.mark.parametrize("location", ["s3://no-such-bucket/a", f"s3://{BUCKET}/nothing-here", f"s3://{BUCKET}/no.tar"])
def test_a_place_that_is_not_there_is_an_error_in_words(server, location):
    with pytest.raises(SourceError, match=r"nothing at|no tar files|no images"):
        open_source(location).plan(10)


def test_without_a_server_the_command_gives_up_in_words(server, tmp_path):
    environment = server.environment | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "clipsieve", "scan", f"s3://{BUCKET}/x", "-o", str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot list `s3://{BUCKET}/x`")
    assert "Traceback" not in done.stderr
    assert "hint:" in done.stderr
    assert not (tmp_path / "run").exists()


def test_rows_of_a_scan_add_up(server, tmp_path):
    for number in range(30):
        server.put(f"sum/{number:02d}.png", png(number) if number % 7 else b"words")
    server.fail(containing="13.png")
    report = scan(open_source(f"s3://{BUCKET}/sum"), tmp_path / "run", TinyEncoder(), engine=LocalEngine(workers=1))
    assert (report.n_listed, report.n_scanned, report.n_failed) == (30, 24, 6)
    embeddings = [
        e for part in Run.open(tmp_path / "run").iter_images(["embedding"]) for e in part["embedding"].to_pylist()
    ]
    assert np.count_nonzero([e is not None for e in embeddings]) == 24


def test_paths_of_this_machine_are_no_part_of_it(tmp_path):
    with pytest.raises(SourceError, match="nothing at"):
        open_source(Path(tmp_path) / "s3")
