"""Pictures of single images: the right one or none, whatever has become of the source."""

import hashlib
import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import source_kinds
from clipsieve.engines import LocalEngine, ScanOptions, scan
from clipsieve.engines.lookup import lookup_in
from clipsieve.engines.pictures import ELSEWHERE, NoPicture, Originals, PictureReader, Place
from clipsieve.errors import SourceError, UsageError
from clipsieve.sources import Columns, FolderSource, RemoteFolderSource, WebDatasetSource, open_source
from clipsieve.sources.storage import Storage
from clipsieve.store import Run
from clipsieve.types import FailureCode
from image_files import png, tar
from s3_server import BUCKET, S3Server
from tiny_encoder import TinyEncoder


def scanned(source, run_path, **options) -> Run:
    engine = LocalEngine(workers=1)
    scan(source, run_path, TinyEncoder(), options=ScanOptions(part_size=3, **options), engine=engine)
    return Run.open(run_path)


def places(run: Run) -> list[Place]:
    found = []
    for part, table in enumerate(run.iter_images(["image_id", "sha256"])):
        rows = table.to_pylist()
        found += [Place(part, row, each["image_id"], each["sha256"] or "") for row, each in enumerate(rows)]
    return found


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory):
    """A run of a folder that no test changes."""
    place = tmp_path_factory.mktemp("pictures")
    return scanned(open_source(source_kinds.folder(place / "source")), place / "run")


@pytest.fixture(scope="module")
def reader(folder_run):
    with PictureReader(folder_run, n_workers=1, longest_px=32) as made:
        yield made


KINDS = [
    pytest.param(make, marks=[] if make is source_kinds.webdataset else pytest.mark.slow) for make in source_kinds.KINDS
]


@pytest.mark.parametrize("make", KINDS)
def test_each_image_of_any_source_is_found_in_any_order(make, tmp_path):
    run = scanned(open_source(make(tmp_path / "source")), tmp_path / "run")
    asked = places(run)
    originals = Originals(run)
    for number in (6, 0, 3, 5, 1, 4, 2, 6):
        content = originals.read(asked[number])
        assert isinstance(content, bytes)
        assert hashlib.sha256(content).hexdigest() == asked[number].sha256
    assert len({place.sha256 for place in asked}) == source_kinds.N_IMAGES


@pytest.mark.slow
def test_rows_whose_id_a_column_holds_are_found_by_their_place(tmp_path):
    (tmp_path / "source").mkdir()
    ids = ["b:1", "../x", "b:0", "a/../b", "?", "b:9", "%00"]
    table = pa.table({"jpg": [png(i) for i in range(7)], "name": ids})
    pq.write_table(table, tmp_path / "source" / "b.parquet", row_group_size=2)
    run = scanned(open_source(tmp_path / "source", columns=Columns(id="name")), tmp_path / "run")
    originals = Originals(run)
    assert [originals.read(place) for place in places(run)] == [png(i) for i in range(7)]
    pq.write_table(table.take([1, 0, 2, 3, 4, 5, 6]), tmp_path / "source" / "b.parquet")
    again = Originals(run)
    assert [again.read(place) == NoPicture("its file is not there any more") for place in places(run)[:3]] == [
        True,
        True,
        False,
    ]


def test_in_a_folder_nothing_is_listed(folder_run, monkeypatch):
    monkeypatch.setattr(FolderSource, "plan", lambda *_: pytest.fail("listed"))
    monkeypatch.setattr("os.scandir", lambda *_: pytest.fail("listed"))
    assert Originals(folder_run).read(places(folder_run)[2]) == png(4)


@pytest.mark.slow
def test_of_a_tar_the_headers_are_read_once_and_one_member(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    big = [png(i) + os.urandom(200_000) for i in range(30)]  # decoders pass over what follows an image
    (tmp_path / "source" / "0.tar").write_bytes(tar([(f"{i}.png", each) for i, each in enumerate(big)]))
    run = scanned(open_source(tmp_path / "source"), tmp_path / "run")
    opened = []
    real = WebDatasetSource.open_tar

    def counted(source, name):
        made = real(source, name)
        opened.append(id(made))
        return made

    monkeypatch.setattr(WebDatasetSource, "open_tar", counted)
    asked, originals = places(run), Originals(run)
    n_before = n_bytes_read()
    for number in (17, 3, 29):
        assert originals.read(asked[number]) == big[number]
    assert n_bytes_read() - n_before < 1_500_000  # of 6 MB
    assert len(set(opened)) == 1


def n_bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_files_that_are_not_what_was_scanned_are_never_shown(tmp_path):
    root = source_kinds.folder(tmp_path / "source")
    run = scanned(open_source(root), tmp_path / "run")
    by_id = {place.image_id: place for place in places(run)}
    path = root / "class 0" / "2.png"
    before = path.stat()
    path.write_bytes(png(99))  # of the same length
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (root / "class 0" / "4.png").write_bytes((root / "class 0" / "6.png").read_bytes())
    (root / "class 0" / "6.png").unlink()
    (root / "class 1" / "1.png").unlink()
    (root / "class 1" / "1.png").symlink_to("/etc/passwd")
    originals = Originals(run)
    changed, gone = NoPicture("its file has changed since the scan"), NoPicture("its file is not there any more")
    assert originals.read(by_id["class 0/2.png"]) == changed
    assert originals.read(by_id["class 0/4.png"]) == changed
    assert originals.read(by_id["class 0/6.png"]) == gone
    assert "a link leads it out of the source" in originals.read(by_id["class 1/1.png"]).why
    assert originals.read(by_id["class 0/0.png"]) == png(0)


@pytest.mark.parametrize(
    "image_id", ["/etc/passwd", "../../../../../../etc/passwd", "%2Fetc%2Fpasswd", "", ".", "x" * 5000, "a%00b", "😀"]
)
def test_an_id_leads_nowhere_but_into_the_source(folder_run, image_id):
    digest = hashlib.sha256(Path("/etc/passwd").read_bytes()).hexdigest()
    assert isinstance(Originals(folder_run).read(Place(0, 0, image_id, digest)), NoPicture)


@pytest.mark.slow
def test_an_id_that_no_tar_has_is_gone(tmp_path):
    run = scanned(open_source(source_kinds.webdataset(tmp_path / "source")), tmp_path / "run")
    originals = Originals(run)
    for image_id in (
        "00000.tar",
        "00000.tar/",
        "/00000.tar/0000.png",
        "0.tar/0",
        "00000.tar/x.png",
        "../00000.tar/0000.png",
    ):
        assert originals.read(Place(0, 0, image_id, "0" * 64)) == NoPicture("its file is not there any more")


@pytest.mark.slow
@pytest.mark.parametrize(
    "image_id", ["t.parquet", "t.parquet:", "t.parquet:7", "t.parquet:-1", "t.parquet:²", ":0", "x:0"]
)
def test_an_id_that_no_table_has_is_no_picture(tmp_path, image_id):
    run = scanned(open_source(source_kinds.parquet_of_bytes(tmp_path / "source")), tmp_path / "run")
    found = Originals(run).read(Place(0, 0, image_id, "0" * 64))
    assert isinstance(found, NoPicture)
    assert str(tmp_path) not in found.why


def test_in_a_remote_folder_one_file_is_asked_for_and_none_outside(tmp_path):
    root = source_kinds.folder(tmp_path / "source")
    (tmp_path / "outside.png").write_bytes(png(50))
    lookup = lookup_in(RemoteFolderSource(Storage(f"file://{root}")), 3)
    assert lookup.read(Place(0, 0, "class 1/3.png", "")) == png(3)
    for image_id in ("../outside.png", "class 1/../../outside.png", "%2E%2E/outside.png", "", "class 1/8.png"):
        assert lookup.read(Place(0, 0, image_id, "")).code is FailureCode.NOT_FOUND


@pytest.mark.slow
def test_behind_s3_one_object_is_fetched_and_a_server_that_fails_is_not_waited_for(tmp_path, monkeypatch):
    root, bucket = source_kinds.folder(tmp_path / "source"), f"s3://{BUCKET}"
    with S3Server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        for path in root.rglob("*.png"):
            server.put(f"photos/{path.relative_to(root)}", path.read_bytes())
        server.put("tars/0.tar", tar([(f"{i}.png", png(i)) for i in range(7)]))
        for where in ("photos", "tars"):
            run = scanned(open_source(f"{bucket}/{where}"), tmp_path / where)
            originals = Originals(run)
            for place in reversed(places(run)):
                assert hashlib.sha256(originals.read(place)).hexdigest() == place.sha256
        run = Run.open(tmp_path / "photos")
        originals = Originals(run)
        originals.open()
        server.fail(every=1)
        begun_s = time.monotonic()
        assert originals.read(places(run)[0], max_seconds=0.5).why == "its source did not answer within 0.5 s"
        assert time.monotonic() - begun_s < 2
        server.fail()


def test_a_source_that_is_gone_is_said_without_folders_and_tried_again(folder_run, tmp_path, monkeypatch):
    gone = Run(folder_run.path, replace(folder_run.manifest, source_location=str(tmp_path / "moved")))
    asked, originals = places(folder_run), Originals(gone)
    with pytest.raises(SourceError):
        originals.open()
    why = originals.read(asked[0]).why
    assert why == "the source cannot be opened any more (there is no folder `moved`)"
    source_kinds.folder(tmp_path / "moved")
    assert originals.read(asked[0]).why == why  # not found out anew for each image
    monkeypatch.setattr("clipsieve.engines.pictures.AGAIN_S", 0.0)
    assert originals.read(asked[0]) == png(0)


@pytest.mark.slow
def test_it_may_lie_elsewhere_now(folder_run, tmp_path):
    moved = Run(folder_run.path, replace(folder_run.manifest, source_location=str(tmp_path / "gone")))
    where = source_kinds.folder(tmp_path / "copy")
    assert Originals(moved, str(where)).read(places(folder_run)[0]) == png(0)


def test_of_embeddings_from_elsewhere_nothing_is_opened(folder_run, monkeypatch):
    monkeypatch.setattr("clipsieve.engines.pictures.reopen", lambda *_: pytest.fail("opened"))
    adopted = Run(folder_run.path, replace(folder_run.manifest, source_kind="embeddings"))
    assert Originals(adopted).read(places(folder_run)[0]) == NoPicture(ELSEWHERE)
    monkeypatch.undo()
    with pytest.raises(UsageError):
        Originals(adopted).open()


def test_a_source_that_hangs_costs_its_time_and_no_more(folder_run):
    run = folder_run
    hangs = threading.Event()
    originals = Originals(run)
    originals.open()
    real = originals._lookup
    originals._lookup = type("Hangs", (type(real),), {"read": lambda *_: hangs.wait(20) and png(0)})(real._source)
    begun_s = time.monotonic()
    assert originals.read(places(run)[0], max_seconds=0.2).why == "its source did not answer within 0.2 s"
    assert originals.read(places(run)[0], max_seconds=-1.0).why.startswith("its source did not answer")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(originals.read, places(run)[0])
        time.sleep(0.1)
        originals.close()
        assert waiting.result() == NoPicture("the pictures have been closed")
    assert originals.read(places(run)[0]) == NoPicture("the pictures have been closed")
    assert time.monotonic() - begun_s < 15  # it hangs for 20
    hangs.set()


@pytest.mark.slow
def test_many_threads_get_what_they_asked_for(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    for name in range(12):  # more tars than stay open
        content = [(f"{i}.png", png(10 * name + i)) for i in range(5)]
        (root / f"{name:02d}.tar").write_bytes(tar(content))
    run = scanned(open_source(root), tmp_path / "run")
    asked, originals = places(run), Originals(run)
    order = np.random.default_rng(3).integers(0, len(asked), 600).tolist()
    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(lambda row: originals.read(asked[row]), order))
    assert [hashlib.sha256(each).hexdigest() for each in found] == [asked[row].sha256 for row in order]


def test_pixels_come_back_as_they_are(reader, folder_run):
    by_id = {place.image_id: place for place in places(folder_run)}
    pixels = reader.read(by_id["class 1/3.png"])
    assert pixels.shape == (6, 6, 3)  # never enlarged
    assert pixels.reshape(-1, 3).tolist() == [[3, 0, 7]] * 36
    assert reader.read(Place(0, 0, "class 1/9.png", "0" * 64)).why == "its file is not there any more"


def oriented(number: int) -> bytes:
    """Return a JPEG of 40 x 20 that is red on its left, with an orientation in its EXIF."""
    image = Image.new("RGB", (40, 20), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = number
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    return file.getvalue()


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (1200, 1200)).save(file, "PNG")
    return file.getvalue()


def shown(reader: PictureReader, root, name: str, content: bytes):
    (root / name).write_bytes(content)
    return reader.read(Place(0, 0, name, hashlib.sha256(content).hexdigest()))


@pytest.mark.slow
def test_what_a_file_holds_does_no_harm(tmp_path):
    root = source_kinds.folder(tmp_path / "source")
    made = scanned(open_source(root), tmp_path / "run")
    options = made.manifest.options | {"max_pixels": 1_000_000, "max_bytes": 5_000_000}
    run = Run(made.path, replace(made.manifest, options=options))
    with PictureReader(run, n_workers=1, longest_px=32) as reader:
        assert shown(reader, root, "bomb.png", bomb()).why.startswith("it cannot be decoded: 1200 x 1200 pixels")
        assert (
            shown(reader, root, "text.png", b"<svg onload=alert(1)>").why
            == "it cannot be decoded: no known image format"
        )
        assert shown(reader, root, "none.png", b"").why == "it cannot be decoded: 0 bytes"
        assert "5,000,001 bytes, allowed" in shown(reader, root, "large.png", bytes(5_000_001)).why
        assert shown(reader, root, "fine.jpg", oriented(1)).shape == (16, 32, 3)


@pytest.mark.parametrize(
    ("number", "shape", "red"), [(1, (16, 32), "left"), (6, (32, 16), "top"), (3, (16, 32), "right")]
)
def test_a_person_sees_it_upright(reader, folder_run, number, shape, red):
    root = Path(folder_run.manifest.source_location)
    pixels = shown(reader, root, f"turned-{number}.jpg", oriented(number))
    assert pixels.shape[:2] == shape
    height, width = shape
    middle = {"left": (height // 2, 3), "right": (height // 2, width - 4), "top": (3, width // 2)}[red]
    assert pixels[middle][0] > 200
    assert pixels[middle][2] < 60


@pytest.mark.slow
def test_a_decoder_that_dies_costs_its_image_alone(tmp_path):
    root = source_kinds.folder(tmp_path / "source")
    run = scanned(open_source(root), tmp_path / "run")
    file = io.BytesIO()
    Image.new("RGB", (13_000, 13_000)).save(file, "PNG", compress_level=1)  # about a second of work
    with PictureReader(run, n_workers=1, longest_px=32) as reader:
        assert not isinstance(reader.read(places(run)[0]), NoPicture)
        threading.Timer(0.5, reader._pool._workers[0].process.kill).start()
        assert (
            shown(reader, root, "slow.png", file.getvalue()).why
            == "it cannot be decoded: the decoder process died: SIGKILL"
        )
        assert not isinstance(reader.read(places(run)[0]), NoPicture)


@pytest.mark.slow
def test_it_ends_its_processes_and_says_so(folder_run):
    reader = PictureReader(folder_run, n_workers=2, longest_px=32)
    processes = [worker.process for worker in reader._pool._workers]
    reader.close()
    assert all(process.poll() is not None for process in processes)
    assert reader.read(places(folder_run)[0]) == NoPicture("the pictures have been closed")
