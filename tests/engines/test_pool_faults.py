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
