"""Pictures for the page: made anew, kept within bounds, one decoding for all who ask, and none of what must not be seen."""

import hashlib
import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import source_kinds
from clipsieve.engines import BlockList, LocalEngine, ScanOptions, scan
from clipsieve.engines.pictures import ELSEWHERE, PictureReader
from clipsieve.errors import UsageError
from clipsieve.review.catalog import Catalog
from clipsieve.review.pictures import SIZES, NoPicture, Pictures
from clipsieve.sources import open_source
from clipsieve.store import Run
from image_files import png
from scored_runs import write_scores
from tiny_encoder import TinyEncoder
from waiting import wait_until


def photo(number: int, size=(40, 20), kind="PNG", **facts) -> bytes:
    """Return a picture of one colour, another for each number."""
    file = io.BytesIO()
    Image.new("RGB", size, (20 * number, 250 - 20 * number, 128)).save(file, kind, **facts)
    return file.getvalue()


def scored(source, run_path, **options) -> tuple[Run, Catalog]:
    scan(source, run_path, TinyEncoder(), options=ScanOptions(part_size=3, **options), engine=LocalEngine(workers=1))
    run = Run.open(run_path)
    for index, table in enumerate(run.iter_images(["image_id", "failure_code"])):
        codes = table.column("failure_code").to_pylist()
        write_scores(run, index, table, [0.5 if code is None else None for code in codes])
    facts = {"method": "zero-shot", "class_names": ["good", "bad"], "unwanted": [False, True], "threshold": 0.5}
    run.write_score_facts("test", facts | {"remove_threshold": None, "calibration": None})
    return run, Catalog.open(run)


def write_folder(root):
    """Write seven photos, among them a broken one, a blocked one, a large one with secrets, and one that is see-through."""
    root.mkdir()
    for number in range(7):
        (root / f"{number}.png").write_bytes(photo(number))
    (root / "1.png").write_bytes(photo(1)[:50])
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "SECRET"
    facts = {"exif": exif, "icc_profile": b"SECRET" * 20, "comment": b"SECRET", "quality": 95}
    (root / "3.png").write_bytes(photo(3, (3000, 1500), "JPEG", **facts))
    file = io.BytesIO()
    Image.new("RGBA", (30, 30), (0, 0, 0, 0)).save(file, "PNG")
    (root / "4.png").write_bytes(file.getvalue())
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def opened(place):
    blocked = BlockList(sha256=frozenset({hashlib.sha256(photo(2)).digest()}))
    return scored(open_source(write_folder(place / "source")), place / "run", block_list=blocked)


@pytest.fixture(scope="module")
def warm(opened):
    """Give pictures whose process has started; what was asked for before is kept."""
    with Pictures.open(*opened, n_workers=1) as made:
        yield made


@pytest.fixture
def pictures(opened):
    """Give pictures that nobody has asked for any."""
    with Pictures.open(*opened, n_workers=1) as made:
        yield made


def seen(content: bytes | NoPicture) -> Image.Image:
    assert isinstance(content, bytes)
    image = Image.open(io.BytesIO(content))
    assert image.format == "WEBP"
    return image


def color(image: Image.Image) -> list[int]:
    return np.asarray(image.convert("RGB")).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()


def test_each_size_is_the_image_upright_and_without_what_it_carried(warm, place):
    assert b"SECRET" in (place / "source" / "3.png").read_bytes()
    for size, longest_px in SIZES.items():
        content = warm.get(3, size)
        image = seen(content)
        assert image.size == (longest_px // 2, longest_px)  # the camera was held upright
        assert np.abs(np.subtract(color(image), (60, 190, 128))).max() <= 6
        assert b"SECRET" not in content
        assert not {"exif", "icc_profile", "xmp"} & image.info.keys()


def test_small_images_are_not_enlarged_and_lie_on_white(warm):
    assert seen(warm.get(0, "large")).size == (40, 20)
    assert color(seen(warm.get(4, "small"))) == [255, 255, 255]


def test_what_must_not_be_opened_is_not(warm, monkeypatch):
    monkeypatch.setattr(PictureReader, "read", lambda *_: pytest.fail("opened"))
    warm.prefetch([1, 2, -1, 7, 10**30], "small")
    assert warm.get(1, "small") == NoPicture("it could not be read or decoded when it was scanned")
    assert warm.get(2, "small") == NoPicture("it is on the block list, and is never opened")
    for row in (-1, 7, 10**30):
        assert warm.get(row, "small") == NoPicture("there is no such image in this run")


@pytest.mark.parametrize("size", ["", "huge", "../small", "small.webp"])
def test_there_are_no_other_sizes(warm, size):
    with pytest.raises(UsageError, match="no picture of that size"):
        warm.get(0, size)


def test_of_embeddings_from_elsewhere_there_are_none(opened, monkeypatch):
    run, catalog = opened
    monkeypatch.setattr("clipsieve.engines.pictures.reopen", lambda *_: pytest.fail("opened"))
    adopted = Run(run.path, replace(run.manifest, source_kind="embeddings"))
    with Pictures.open(adopted, catalog) as pictures:
        pictures.prefetch([0, 3], "small")
        assert pictures.why_not(0) == ELSEWHERE
        assert pictures.get(0, "small") == NoPicture(ELSEWHERE)


def test_an_image_is_decoded_once_for_all_who_ask_at_once_and_for_all_sizes(pictures, monkeypatch):
    asked = count_reads(monkeypatch)
    wanted = [(3, size) for size in SIZES] * 8 + [(5, "small")] * 8
    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(lambda each: pictures.get(*each), wanted))
    assert sorted(asked) == ["3.png", "5.png"]
    assert len({content for content in found if isinstance(content, bytes)}) == 4


def count_reads(monkeypatch) -> list[str]:
    asked: list[str] = []
    real = PictureReader.read

    def counted(reader, place):
        asked.append(place.image_id)
        time.sleep(0.05)  # so that the others come meanwhile
        return real(reader, place)

    monkeypatch.setattr(PictureReader, "read", counted)
    return asked


def test_threads_that_ask_for_different_images_get_their_own(warm):
    rows = np.random.default_rng(0).permutation([0, 3, 5, 6] * 16).tolist()
    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(lambda row: warm.get(row, "small"), rows))
    for row, content in zip(rows, found, strict=True):
        assert np.abs(np.subtract(color(seen(content)), (20 * row, 250 - 20 * row, 128))).max() <= 6


@pytest.mark.slow
def test_what_was_fetched_ahead_is_there(pictures, monkeypatch):
    asked = count_reads(monkeypatch)
    pictures.prefetch([0, 5, 6], "small")
    wait_until(lambda: pictures._made.get((6, "small")) is not None)
    assert asked == ["0.png", "5.png", "6.png"]
    assert isinstance(pictures.get(5, "small"), bytes)
    assert len(asked) == 3


@pytest.mark.slow
def test_a_small_memory_only_costs_time(opened, monkeypatch):
    asked = count_reads(monkeypatch)
    with Pictures.open(*opened, n_workers=1, cache_bytes=400) as pictures:
        before = [pictures.get(row, "small") for row in (0, 3, 5, 6)]
        assert [pictures.get(row, "small") for row in (0, 3, 5, 6)] == before
        assert pictures._made.n_bytes + pictures._pixels.n_bytes <= 400
    assert len(asked) > 4


@pytest.mark.slow
def test_a_file_that_has_changed_is_not_shown_and_asked_for_again_later(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "source")
    run, catalog = scored(open_source(root), tmp_path / "run")
    (root / "5.png").write_bytes(photo(6))
    asked = count_reads(monkeypatch)
    with Pictures.open(run, catalog, n_workers=1) as pictures:
        for size in SIZES:
            assert pictures.get(5, size) == NoPicture("its file has changed since the scan")
        assert len(asked) == 1  # it is not read for each who asks
        (root / "5.png").write_bytes(photo(5))
        monkeypatch.setattr("clipsieve.review.pictures.AGAIN_S", 0.0)
        assert seen(pictures.get(5, "small")).size == (40, 20)


def test_closed_it_keeps_no_process_and_no_thread(opened):
    before = set(threading.enumerate())
    pictures = Pictures.open(*opened, n_workers=2)
    processes = [worker.process for worker in pictures._reader._pool._workers]
    pictures.prefetch([0, 3, 5, 6], "large")
    pictures.close()
    assert all(process.poll() is not None for process in processes)
    assert set(threading.enumerate()) <= before
    assert pictures.get(6, "large") == NoPicture("the pictures have been closed")
    pictures.prefetch([0], "small")
    pictures.close()


@pytest.mark.slow
def test_whoever_waits_when_it_closes_is_told_so(tmp_path):
    root = write_folder(tmp_path / "source")
    file = io.BytesIO()
    Image.new("RGB", (13_000, 13_000)).save(file, "PNG", compress_level=1)
    (root / "0.png").write_bytes(file.getvalue())
    run, catalog = scored(open_source(root), tmp_path / "run")
    pictures = Pictures.open(run, catalog, n_workers=1)
    with ThreadPoolExecutor(8) as threads:
        assert isinstance(pictures.get(5, "small"), bytes)
        waiting = [threads.submit(pictures.get, row, "small") for row in (0, 0, 3, 6)]
        time.sleep(0.3)
        pictures.close()
        slow, again, *others = (future.result(timeout=30) for future in waiting)
        assert slow == again == NoPicture("the pictures have been closed")
        assert all(each == slow or isinstance(each, bytes) for each in others)


@pytest.mark.slow
@pytest.mark.parametrize("make", source_kinds.KINDS)
def test_each_kind_of_source_gives_the_right_pictures(make, tmp_path):
    run, catalog = scored(open_source(make(tmp_path / "source")), tmp_path / "run")
    digests = [hashlib.sha256(png(number)).hexdigest() for number in range(source_kinds.N_IMAGES)]
    with Pictures.open(run, catalog, n_workers=1) as pictures, ThreadPoolExecutor(32) as threads:
        rows = list(range(catalog.n)) * 5
        for row, content in zip(rows, threads.map(lambda row: pictures.get(row, "small"), rows), strict=True):
            number = digests.index(catalog.sha256(row))
            assert np.abs(np.subtract(color(seen(content)), (number, 0, 7))).max() <= 3


@pytest.mark.slow
def test_a_decoder_that_was_killed_is_replaced(opened):
    with Pictures.open(*opened, n_workers=1) as pictures:
        assert isinstance(pictures.get(0, "small"), bytes)
        os.kill(pictures._reader._pool._workers[0].process.pid, 9)
        time.sleep(0.2)
        assert isinstance(pictures.get(3, "small"), bytes)
