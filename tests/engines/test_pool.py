"""The decoding processes: in order, bounded, and none takes more with it than its own image."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from clipsieve.engines.pool import DecodePool
from clipsieve.errors import EngineError
from clipsieve.images import DecodeLimits
from clipsieve.types import DecodedImage, FailedImage, Failure, FailureCode, FailureStep, ImageRef, Preprocessing
from open_files import open_files, opened_since

RECIPE = Preprocessing(8, "shortest", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def photo(value: int, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def slow_photo() -> bytes:
    """An image within the budget that takes a worker about a second: there is time to kill it."""
    file = io.BytesIO()
    Image.new("RGB", (13_000, 13_000)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def refs(contents: list[bytes | Failure]) -> list[ImageRef]:
    return [ImageRef(str(i), f"file:///{i}", None, None, content) for i, content in enumerate(contents)]


def codes(results: list[DecodedImage | FailedImage]) -> list[FailureCode | None]:
    return [result.failure.code if isinstance(result, FailedImage) else None for result in results]


def pool(n_workers: int = 2, *, window: int = 8, max_seconds: float = 60.0) -> DecodePool:
    return DecodePool(n_workers, RECIPE, DecodeLimits(max_seconds=max_seconds), window=window)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_results_come_in_order(n_workers):
    # Large images between small ones: the small ones are done first.
    contents = [photo(i, 900 if i % 3 == 0 else 8) for i in range(20)]
    with pool(n_workers) as decode:
        found = list(decode.map(refs(contents)))
    assert [result.ref.image_id for result in found] == [str(i) for i in range(20)]
    assert [int(result.pixels[0, 0, 0]) for result in found] == list(range(20))


def test_no_more_than_the_window_is_taken_ahead():
    taken = 0

    def endless() -> Iterator[ImageRef]:
        nonlocal taken
        while True:
            taken += 1
            yield ImageRef(str(taken), "", None, None, photo(1))

    with pool(window=5) as decode:
        for n_done, _ in zip(range(1, 20), decode.map(endless()), strict=False):
            assert taken - n_done <= 5


def test_failures_take_their_place():
    gone = Failure(FailureStep.READ, FailureCode.NOT_FOUND, "gone")
    with pool() as decode:
        found = list(decode.map(refs([photo(1), gone, b"words", photo(2)])))
    assert codes(found) == [None, FailureCode.NOT_FOUND, FailureCode.NOT_AN_IMAGE, None]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_costs_its_image_alone(number):
    with pool(1) as decode:
        results = decode.map(refs([slow_photo(), photo(1), photo(2)]))
        (worker,) = decode._workers
        threading.Timer(0.5, os.kill, [worker.process.pid, number]).start()
        found = list(results)
    assert codes(found) == [FailureCode.DECODER_CRASHED, None, None]
    assert found[0].failure.detail == f"the decoder process died: {number.name}"


@pytest.mark.slow
def test_a_worker_that_hangs_costs_its_image_alone():
    with pool(1, max_seconds=2.0) as decode:
        (worker,) = decode._workers
        assert codes(list(decode.map(refs([photo(0)])))) == [None]
        os.kill(worker.process.pid, signal.SIGSTOP)
        found = [decode.submit(ref).result() for ref in refs([photo(1), photo(2)])]
    assert codes(found) == [FailureCode.TIMED_OUT, None]
    assert found[0].failure.detail == "not decoded within 2 s"


def test_a_worker_that_dies_idle_costs_nothing():
    with pool(2) as decode:
        for worker in decode._workers:
            worker.process.kill()
            worker.process.wait()
        assert codes(list(decode.map(refs([photo(1), photo(2)])))) == [None, None]


@pytest.mark.slow
def test_an_image_over_the_memory_is_a_failure_and_the_worker_goes_on(monkeypatch):
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr("subprocess.Popen", _popen_with_little_memory())
    with pool(1) as decode:
        found = codes(list(decode.map(refs([slow_photo(), photo(1)]))))
    assert found[0] in (FailureCode.OUT_OF_MEMORY, FailureCode.DECODER_CRASHED)
    assert found[1] is None
    assert resource.getrlimit(resource.RLIMIT_AS) == limit


def _popen_with_little_memory():
    import resource
    import subprocess

    popen = subprocess.Popen

    def start(*args, **options):
        return popen(*args, **options, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)))

    return start


@pytest.mark.slow
def test_closing_in_the_middle_ends_every_process_at_once():
    for _ in range(5):
        with pool(3, window=40) as decode:
            next(decode.map(refs([photo(0), *[photo(i % 200, 400) for i in range(40)]])))
            processes = [worker.process for worker in decode._workers]
            closing_s = time.monotonic()
        assert time.monotonic() - closing_s < 15
        assert all(process.returncode is not None for process in processes)


def test_closing_settles_what_was_asked_for_and_leaves_nothing_open():
    before = open_files()
    with pool(1) as decode:
        futures = [decode.submit(ref) for ref in refs([photo(i, 300) for i in range(30)])]
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        decode.submit(refs([photo(1)])[0])
    assert not opened_since(before)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode-")]


ENDLESS = """
from clipsieve.engines.pool import DecodePool
from clipsieve.images import DecodeLimits
from clipsieve.types import ImageRef, Preprocessing

recipe = Preprocessing(224, "shortest", "bicubic", (0.5,) * 3, (0.5,) * 3)
with DecodePool(2, recipe, DecodeLimits(), window=8) as pool:
    content = open({path!r}, "rb").read()
    for n, _ in enumerate(pool.map(ImageRef("", "", None, None, content) for _ in iter(int, 1))):
        if n == 20:
            print(*(worker.process.pid for worker in pool._workers), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_command(number, tmp_path):
    (tmp_path / "photo.png").write_bytes(photo(1, 300))
    command = [sys.executable, "-c", ENDLESS.format(path=str(tmp_path / "photo.png"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        workers = [int(word) for word in process.stdout.readline().split()]
        process.send_signal(number)
    until = time.monotonic() + 20
    while alive := [worker for worker in workers if Path(f"/proc/{worker}").exists()]:
        assert time.monotonic() < until, alive
        time.sleep(0.05)
    assert len(workers) == 2


def test_processes_that_cannot_start_are_no_images_fault(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with DecodePool(1, RECIPE, DecodeLimits(), window=1) as pool, pytest.raises(EngineError, match="cannot be started"):
        list(pool.map([ImageRef("a", "a", None, None, b"x")]))
