"""Decoding processes that stop, or cannot be started."""

import os
import signal
import time

import pytest

from clipsieve.engines.pool import DecodePool
from clipsieve.errors import EngineError
from clipsieve.images import DecodeLimits
from clipsieve.types import DecodedImage, FailedImage, FailureCode, ImageRef, Preprocessing
from image_files import png

RECIPE = Preprocessing(8, "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)

# Ends each decoding process while it starts, so many times.
ENDS = """
import os, pathlib, signal, sys
if "clipsieve.images.worker" in sys.orig_argv:
    with open({log!r}, "a") as log:
        print("started", file=log)
    if len(pathlib.Path({log!r}).read_text().splitlines()) <= {n}:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def ref(name, content):
    return ImageRef(name, name, None, None, content)


@pytest.mark.slow
@pytest.mark.parametrize("n_bytes", [100, 20_000_000], ids=["small", "larger than the socket holds"])
def test_a_process_that_was_stopped_costs_its_image_in_time(n_bytes):
    with DecodePool(1, RECIPE, DecodeLimits(max_seconds=1), window=1) as pool:
        (first,) = pool.map([ref("first", png(1))])
        assert isinstance(first, DecodedImage)
        os.kill(pool._workers[0].process.pid, signal.SIGSTOP)
        begun_s = time.monotonic()
        stopped, after = pool.map([ref("stopped", png(2) + bytes(n_bytes)), ref("after", png(3))])
        assert time.monotonic() - begun_s < 15
    assert isinstance(stopped, FailedImage)
    assert stopped.failure.code is FailureCode.TIMED_OUT
    assert stopped.facts.n_bytes == len(png(2)) + n_bytes
    assert isinstance(after, DecodedImage)


def test_processes_that_cannot_be_started_are_an_error_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-such-python"))
    with pytest.raises(EngineError, match="cannot be started") as caught:
        DecodePool(1, RECIPE, DecodeLimits(), window=1)
    assert caught.value.found == "No such file or directory"
    assert caught.value.state == "finished parts are kept"


def decoded_where_starts_end(folder, monkeypatch, n):
    (folder / "sitecustomize.py").write_text(ENDS.format(log=str(folder / "log"), n=n))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with DecodePool(1, RECIPE, DecodeLimits(), window=1) as pool:
        return list(pool.map([ref("first", png(1)), ref("second", png(2))]))


@pytest.mark.parametrize("n", [1, 2])
def test_a_process_that_is_ended_while_it_starts_costs_nothing(tmp_path, monkeypatch, n):
    assert [type(row) for row in decoded_where_starts_end(tmp_path, monkeypatch, n)] == [DecodedImage] * 2
    assert (tmp_path / "log").read_text().count("started") == n + 1


def test_processes_that_always_end_while_they_start_are_an_error_in_words(tmp_path, monkeypatch):
    with pytest.raises(EngineError, match="cannot be started") as caught:
        decoded_where_starts_end(tmp_path, monkeypatch, 99)
    assert caught.value.found == "the decoder process died: SIGKILL"
