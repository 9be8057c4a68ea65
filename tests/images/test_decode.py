"""From bytes to pixels as the reference recipes do, or a reason from the closed list."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from clipsieve.images import DecodeLimits, decode
from clipsieve.types import DecodedImage, FailedImage, Failure, FailureCode, FailureStep, ImageRef

LIMITS = DecodeLimits()
LOSSLESS = [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True}), ("TGA", {}), ("PCX", {})]


def ref(content: bytes | Failure) -> ImageRef:
    return ImageRef("id", "file:///id", "label", "caption", content)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def drawn(mode: str = "RGB", size: tuple[int, int] = (13, 9)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(values, "RGBA").convert(mode) if mode != "CMYK" else Image.fromarray(values, mode="CMYK")


def pixels_of(content: bytes) -> np.ndarray:
    found = decode(ref(content), LIMITS)
    assert isinstance(found, DecodedImage), found
    return found.pixels


def failure_of(content: bytes, limits: DecodeLimits = LIMITS) -> Failure:
    found = decode(ref(content), limits)
    assert isinstance(found, FailedImage), found
    return found.failure


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_come_back_exactly(kind, options):
    image = drawn()
    np.testing.assert_array_equal(pixels_of(encoded(image, kind, **options)), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "JPEG2000", "GIF", "ICO", "SGI", "QOI", "DIB", "MPO"])
def test_every_other_format_is_decoded(kind):
    content = encoded(drawn(), kind)
    found = decode(ref(content), LIMITS)
    assert isinstance(found, DecodedImage), found
    assert found.facts.format in (kind, "JPEG", "BMP")


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "I", "F", "CMYK", "YCbCr"])
def test_opaque_modes_are_converted_as_pillow_converts_them(mode):
    deep = Image.fromarray(np.arange(0, 65536, 601, dtype=np.uint16).reshape(10, 11))
    image = deep if mode == "I;16" else drawn(mode)
    content = encoded(image, "PNG" if mode in ("1", "L", "I;16") else "TIFF")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(pixels_of(content), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_lies_on_white(mode):
    layer = drawn().convert(mode)
    layer.putalpha(0)
    layer.paste(Image.new(mode, (6, 9), {"RGBA": (0, 0, 0, 128), "LA": (0, 128)}[mode]), (0, 0))
    found = pixels_of(encoded(layer))
    assert (found[:, 6:] == 255).all()
    assert (found[:, :6] == 127).all()


@pytest.mark.parametrize("transparency", [0, b"\x00\x80\xff"], ids=["one colour", "per colour"])
def test_a_transparent_colour_of_a_palette_lies_on_white(transparency):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    assert (pixels_of(encoded(image, transparency=transparency)) == 255).all()


def test_exif_does_not_turn_the_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pixels_of(encoded(drawn(), "JPEG", exif=exif)).shape == (9, 13, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_counts(kind):
    first, second = Image.new("RGB", (5, 4), "white"), Image.new("RGB", (5, 4), "black")
    content = encoded(first, kind, save_all=True, append_images=[second])
    assert pixels_of(content).min() > 250


def test_facts_are_those_of_the_file():
    content = encoded(drawn(), "PNG")
    found = decode(ref(content), LIMITS)
    assert (found.facts.width, found.facts.height, found.facts.format) == (13, 9, "PNG")
    assert (found.facts.n_bytes, found.facts.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert found.ref.content == b""


def test_a_failure_of_the_source_is_passed_on():
    failure = Failure(FailureStep.READ, FailureCode.NOT_FOUND, "gone")
    assert decode(ref(failure), LIMITS).failure == failure


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", FailureCode.EMPTY_FILE),
        (b"\xff", FailureCode.NOT_AN_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", FailureCode.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", FailureCode.NOT_AN_IMAGE),
        (b"%PDF-1.7\n", FailureCode.NOT_AN_IMAGE),
        (b"<html>404</html>", FailureCode.NOT_AN_IMAGE),
        (b"\0" * 4096, FailureCode.NOT_AN_IMAGE),
    ],
)
def test_what_is_no_image_says_so(content, code):
    assert failure_of(content).code is code


def test_the_pixel_budget_is_checked_before_decoding():
    content = encoded(Image.new("L", (100, 11)))
    assert failure_of(content, DecodeLimits(max_pixels=1099)).code is FailureCode.TOO_MANY_PIXELS
    assert isinstance(decode(ref(content), DecodeLimits(max_pixels=1100)), DecodedImage)


def test_a_failure_after_the_header_keeps_the_facts():
    content = encoded(drawn("RGB", (64, 64)), "JPEG")
    found = decode(ref(content[: len(content) // 2]), LIMITS)
    assert isinstance(found, FailedImage)
    assert found.failure.code is FailureCode.TRUNCATED
    assert (found.facts.width, found.facts.format) == (64, "JPEG")
