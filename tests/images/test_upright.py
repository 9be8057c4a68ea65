"""Images as a person looks at them."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from clipsieve.images.decode import DecodeLimits, decode
from clipsieve.images.upright import fit_upright, orientation_of
from clipsieve.types import ImageRef


def encoded(kind: str, orientation: int | None) -> bytes:
    """Return an image of four colours, one for each corner."""
    image = Image.new("RGB", (48, 32), (250, 0, 0))
    for color, corner in (((0, 250, 0), (24, 0)), ((0, 0, 250), (0, 16)), ((250, 250, 250), (24, 16))):
        image.paste(color, (*corner, corner[0] + 24, corner[1] + 16))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def upright(content: bytes, longest_px: int = 1000) -> np.ndarray:
    pixels = decode(ImageRef("", "", None, None, content), DecodeLimits()).pixels
    return fit_upright(pixels, orientation_of(content), longest_px)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_pillow_would(kind, orientation):
    content = encoded(kind, orientation)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(upright(content), expected)


@pytest.mark.parametrize(
    "content", [encoded("JPEG", None), encoded("PNG", None), encoded("JPEG", 0), encoded("JPEG", 99)]
)
def test_without_a_sensible_word_it_stays_as_it_is(content):
    assert orientation_of(content) == 1


@pytest.mark.parametrize("content", [b"", b"words", encoded("JPEG", 6)[:40], encoded("PNG", 6)[:60]])
def test_what_is_no_image_is_upright(content):
    assert orientation_of(content) == 1


def test_damaged_exif_costs_no_picture():
    content = encoded("JPEG", 6)
    at = content.index(b"Exif\0\0") + 6
    for step in range(0, 26, 2):
        damaged = content[: at + step] + b"\xff\xff" + content[at + step + 2 :]
        assert orientation_of(damaged) in range(1, 9)


@pytest.mark.parametrize(
    ("size", "expected"), [((400, 200), (100, 50)), ((3, 5000), (1, 100)), ((100, 100), (100, 100)), ((7, 5), (7, 5))]
)
def test_it_is_made_smaller_and_never_larger(size, expected):
    found = fit_upright(np.zeros((size[1], size[0], 3), np.uint8), 1, 100)
    assert found.shape == (expected[1], expected[0], 3)
