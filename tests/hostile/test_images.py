"""Files made to break a decoder: each ends as one row, with a reason from the closed list."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clipsieve.images import DecodeLimits, decode
from clipsieve.types import DecodedImage, FailedImage, FailureCode, ImageRef

LIMITS = DecodeLimits()
BROKEN = {FailureCode.TRUNCATED, FailureCode.CORRUPT, FailureCode.NOT_AN_IMAGE}
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF", "PPM", "ICO"]


def outcome(content: bytes) -> DecodedImage | FailedImage:
    """Decode a file and check what holds of every outcome."""
    found = decode(ImageRef("id", "uri", None, None, content), LIMITS)
    if isinstance(found, FailedImage):
        detail = found.failure.detail
        assert 0 < len(detail) <= 250
        assert not [part for part in ("\n", "0x", "/") if part in detail], detail  # one line, no address, no path
    return found


def code(content: bytes) -> FailureCode | None:
    found = outcome(content)
    return found.failure.code if isinstance(found, FailedImage) else None


def photo(kind: str) -> bytes:
    values = np.random.default_rng(1).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, width: int = 1, height: int = 1) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


BOMB = zlib.compress(b"\0" * (80 << 20), 9)  # 80 kB that unfold to 80 MiB
END = chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("tenths", range(10))
@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_never_half_an_image(kind, tenths):
    content = photo(kind)
    found = outcome(content[: len(content) * tenths // 10])
    assert isinstance(found, FailedImage)
    assert found.failure.code in BROKEN | {FailureCode.EMPTY_FILE}


@pytest.mark.parametrize("kind", FORMATS)
def test_flipped_bits_end_as_an_image_or_a_reason(kind):
    content, rng = photo(kind), np.random.default_rng(2)
    for _ in range(30):
        damaged = bytearray(content)
        for position in rng.integers(0, min(len(content), 600), 4):
            damaged[position] ^= 1 << int(rng.integers(8))
        outcome(bytes(damaged))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_extension_is_not_asked(kind):
    assert code(photo(kind)) is None


def bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 16, 0, 0, 54) + header + b"\0" * 16


HUGE = {
    "PNG": png(END, width=2**31 - 1, height=2**31 - 1),
    "PNG just over": png(END, width=178_000_001),
    "BMP": b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 10**6, 10**6, 1, 24, *[0] * 6),
    "JPEG": photo("JPEG").replace(struct.pack(">HH", 48, 40), b"\xff\xff\xff\xff", 1),
    "BMP of negative width": bmp(-2, 2),
    "BMP of the lowest height": bmp(2, -(2**31)),
    "GIF": b"GIF89a\xff\xff\xff\xff" + photo("GIF")[10:],
    "PPM": b"P6 100000 100000 255\n",
}


@pytest.mark.parametrize("name", HUGE)
def test_absurd_sizes_are_refused_before_any_pixel(name):
    assert code(HUGE[name]) is FailureCode.TOO_MANY_PIXELS


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(chunk(b"zTXt", b"a\0\0" + BOMB), END), id="zTXt"),
        pytest.param(png(chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB), END), id="iTXt"),
        pytest.param(png(chunk(b"iCCP", b"a\0\0" + BOMB), END), id="iCCP"),
        pytest.param(png(chunk(b"IDAT", BOMB), chunk(b"IEND", b"")), id="IDAT"),
    ],
)
def test_compressed_bombs_do_not_unfold(content):
    found = outcome(content)
    assert isinstance(found, DecodedImage) or found.failure.code in BROKEN


def tiff_that_points_at_itself() -> bytes:
    entry = struct.pack("<HHII", 256, 4, 1, 8)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 8)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(bmp(0, 0), id="BMP of no size"),
        pytest.param(b"GIF89a\x02\0\x02\0\0\0\0;", id="GIF without a frame"),
        pytest.param(tiff_that_points_at_itself(), id="TIFF in a loop"),
        pytest.param(b"\xff\xd8\xff\xd9", id="JPEG of markers"),
        pytest.param(png(chunk(b"IEND", b"")), id="PNG without pixels"),
        pytest.param(png(width=0, height=0), id="PNG of no size"),
    ],
)
def test_malformed_headers_are_broken_images(content):
    assert code(content) in BROKEN


def test_a_bmp_from_the_top_down_is_an_image():
    assert code(bmp(2, -2)) is None
