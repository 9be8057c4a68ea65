"""Several images in one request: which ones share it decides nothing, and each is blamed for itself alone."""

import hashlib
import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve.engines.decoder import DecoderDiedError, DecoderProcess
from clipsieve.engines.pool import DecodePool
from clipsieve.images import DecodeLimits, decode_fitted
from clipsieve.images.worker import pack_setup, unpack_reply
from clipsieve.types import DecodedImage, FailedImage, FailureCode, ImageRef, Preprocessing
from image_files import png
from waiting import wait_until

RECIPE = Preprocessing(8, "shortest", "bicubic", (0.5,) * 3, (0.5,) * 3)
SHA256 = hashlib.sha256(b"").hexdigest()

# Python runs a module of this name in each new process: here it makes decoders that do what some files say.
ODD_DECODER = """
import os, pathlib, signal, sys, time
from clipsieve.images import fitted

decode = fitted.decode_fitted

def decode_or_obey(ref, limits, recipe, *, exact):
    with open({log!r}, "a") as log:
        log.write(ref.content[:5].decode("latin-1").strip() + "\\n")
    if ref.content.startswith(b"crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if ref.content.startswith(b"hang"):
        time.sleep(600)
    if ref.content.startswith(b"slow"):
        time.sleep(0.5)
    while ref.content.startswith(b"wait") and not pathlib.Path({log!r} + ".go").exists():
        time.sleep(0.01)
    return decode(ref, limits, recipe, exact=exact)

fitted.decode_fitted = decode_or_obey
"""


def ref(name: str, content: bytes) -> ImageRef:
    return ImageRef(name, name, None, None, content)


def pool(n_workers: int = 1, *, max_seconds: float = 60.0) -> DecodePool:
    return DecodePool(n_workers, RECIPE, DecodeLimits(max_seconds=max_seconds), window=64)


def codes(results: list) -> list[FailureCode | None]:
    return [result.failure.code if isinstance(result, FailedImage) else None for result in results]


@pytest.fixture
def odd_decoder(tmp_path, monkeypatch) -> Path:
    """Make decoders crash, hang and wait as files say; return what they write down of each file they get."""
    log = tmp_path / "log"
    log.touch()
    (tmp_path / "sitecustomize.py").write_text(ODD_DECODER.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return log


def decode_together(log: Path, contents: list[bytes], *, max_seconds: float = 60.0) -> list:
    """Decode files that all wait before a worker is free: the first one is in its way."""
    with pool(max_seconds=max_seconds) as decode:
        first = decode.submit(ref("first", b"wait"))
        wait_until(lambda: "wait" in log.read_text())
        futures = [decode.submit(ref(str(i), content)) for i, content in enumerate(contents)]
        Path(f"{log}.go").touch()
        assert codes([first.result()]) == [FailureCode.NOT_AN_IMAGE]
        return [future.result() for future in futures]


def assert_only_these_fail(found: list, wanted: dict[int, FailureCode]) -> None:
    assert codes(found) == [wanted.get(i) for i in range(len(found))]
    good = {i: int(result.pixels[0, 0, 0]) for i, result in enumerate(found) if isinstance(result, DecodedImage)}
    assert good == {i: i for i in good}
    assert [result.ref.image_id for result in found] == [str(i) for i in range(len(found))]


def test_a_crash_between_fifteen_images_costs_itself_alone(odd_decoder):
    contents = [png(i) for i in range(16)]
    contents[7] = b"crash"
    found = decode_together(odd_decoder, contents)
    assert_only_these_fail(found, {7: FailureCode.DECODER_CRASHED})
    assert found[7].failure.detail == "the decoder process died: SIGSEGV"
    assert odd_decoder.read_text().split().count("crash") == 2  # together, and alone


@pytest.mark.slow
def test_a_hang_between_fifteen_images_costs_itself_alone(odd_decoder):
    contents = [png(i) for i in range(16)]
    contents[3] = b"hang"
    begun_s = time.monotonic()
    found = decode_together(odd_decoder, contents, max_seconds=2.0)
    assert_only_these_fail(found, {3: FailureCode.TIMED_OUT})
    assert found[3].failure.detail == "not decoded within 2 s"
    assert odd_decoder.read_text().split().count("hang") == 2
    assert time.monotonic() - begun_s < 20


@pytest.mark.slow
def test_crashes_and_hangs_in_one_request_cost_themselves_alone(odd_decoder):
    contents = [png(i) for i in range(16)]
    contents[0], contents[9], contents[15] = b"crash", b"hang", b"crash"
    found = decode_together(odd_decoder, contents, max_seconds=2.0)
    crashed, hung = FailureCode.DECODER_CRASHED, FailureCode.TIMED_OUT
    assert_only_these_fail(found, {0: crashed, 9: hung, 15: crashed})


@pytest.mark.slow
def test_images_that_each_take_less_than_their_time_are_no_failures_together(odd_decoder):
    found = decode_together(odd_decoder, [b"slow"] * 8, max_seconds=2.0)
    assert codes(found) == [FailureCode.NOT_AN_IMAGE] * 8


def test_nobody_waits_for_a_request_to_be_filled(odd_decoder):
    def slow_source():
        yield ref("0", b"alone")
        wait_until(lambda: "alone" in odd_decoder.read_text(), "the first image still waits")
        yield ref("1", png(1))

    with pool() as decode:
        assert codes(list(decode.map(slow_source()))) == [FailureCode.NOT_AN_IMAGE, None]


def test_images_of_one_request_are_what_each_is_alone():
    rng, contents = np.random.default_rng(3), []
    for i in range(40):
        file, side = io.BytesIO(), 400 if i % 13 == 5 else 20
        Image.fromarray(rng.integers(0, 256, (side, side + i, 3), dtype=np.uint8)).save(file, "JPEG")
        contents.append(file.getvalue() if i % 11 else b"words")
    with pool(2) as decode:
        found = list(decode.map(ref(str(i), content) for i, content in enumerate(contents)))
    for content, result in zip(contents, found, strict=True):
        alone = decode_fitted(ref("", content), DecodeLimits(), RECIPE, exact=False)
        assert result.facts == alone.facts
        assert codes([result]) == codes([alone])
        if isinstance(alone, DecodedImage):
            np.testing.assert_array_equal(result.pixels, alone.pixels)
            assert result.pixels.flags.owndata


@pytest.mark.parametrize("exact", [False, True])
def test_the_exact_way_reaches_the_decoder(exact):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(4).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(file, "JPEG")
    with DecodePool(1, RECIPE, DecodeLimits(), window=1, exact=exact) as decode:
        found = decode.submit(ref("", file.getvalue())).result()
    wanted = decode_fitted(ref("", file.getvalue()), DecodeLimits(), RECIPE, exact=exact)
    np.testing.assert_array_equal(found.pixels, wanted.pixels)


def test_a_file_of_any_length_is_handed_over():
    with pool() as decode:
        found = decode.submit(ref("", png(5) + bytes(9_000_000))).result()
    assert found.facts.n_bytes == len(png(5)) + 9_000_000
    assert int(found.pixels[0, 0, 0]) == 5


HOSTILE_REPLIES = {
    "nothing": b"",
    "no JSON": b"words",
    "lists without end": b"[" * 60_000,
    "null": b"null",
    "too few": b"[]",
    "a name in place of a list": b'{"abcdef": 1}',
    "no hash": b'[["", 1, 1, "PNG", null, [8, 8]]]',
    "a hash with spaces": b'[["%s", 1, 1, "PNG", null, [8, 8]]]' % (b"00 " * 21 + b"0"),
    "half a width": b'[["%s", 1.5, 1, "PNG", null, [8, 8]]]' % SHA256.encode(),
    "a width beyond any": b'[["%s", 4294967296, 1, "PNG", null, [8, 8]]]' % SHA256.encode(),
    "a format that is no text": b'[["%s", 1, 1, "\\ud800", null, [8, 8]]]' % SHA256.encode(),
    "an unknown failure": b'[["%s", 1, 1, "PNG", ["decode", "boredom", ""], null]]' % SHA256.encode(),
    "no shape": b'[["%s", 1, 1, "PNG", null, null]]' % SHA256.encode(),
    "too large": b'[["%s", 1, 1, "PNG", null, [8, 9]]]' % SHA256.encode(),
    "negative": b'[["%s", 1, 1, "PNG", null, [-8, -8]]]' % SHA256.encode(),
}


@pytest.mark.parametrize("name", HOSTILE_REPLIES)
def test_malformed_replies_are_refused(name):
    with pytest.raises((ValueError, KeyError, TypeError)):
        unpack_reply(HOSTILE_REPLIES[name], [b"x"], 8, for_eyes=True)


def test_the_shape_of_pixels_is_not_the_workers_to_say():
    reply = b'[["%s", 1, 1, "PNG", null, [100000, 100000]]]' % SHA256.encode()
    ((facts, shape),) = unpack_reply(reply, [b"abc"], 8, for_eyes=False)
    assert (facts.n_bytes, shape) == (3, (8, 8))


def test_words_of_a_worker_are_one_line_that_can_be_written_down():
    reply = b'[["%s", 1, 1, "PNG", ["decode", "corrupt", "a\\n\\ud800%s"], null]]' % (SHA256.encode(), b"b" * 5000)
    ((_, failure),) = unpack_reply(reply, [b""], 8, for_eyes=False)
    assert failure.detail.startswith("a ?b")
    assert len(failure.detail) == 300


@pytest.mark.parametrize(
    "lie", ['json.dumps = lambda *_: "[" * 9000', "os.pwrite = lambda fd, data, at: len(data) and data.nbytes"]
)
def test_a_worker_that_lies_is_ended(lie, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(f"import json, os\n{lie}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    setup = pack_setup(RECIPE, DecodeLimits(), exact=False, for_eyes=False)
    process = DecoderProcess(setup, RECIPE.size_px, for_eyes=False)
    with pytest.raises(DecoderDiedError):
        process.ask([png(1)], 60.0)
    assert process.has_ended
