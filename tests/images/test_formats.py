"""Every raster format that Pillow can write comes through, under each of its names; the first frame where there are several."""

import io

import numpy as np
import pytest
from PIL import Image

from clipsieve.images import DecodeLimits, decode
from clipsieve.images.decode import FORMATS
from clipsieve.sources.signatures import is_image_name
from clipsieve.types import DecodedImage, ImageRef

Image.init()

# Written by Pillow, but no pictures that it reads, or read by running another program.
NOT_READ = {"EPS", "PDF", "PALM"}
MODES = {"MSP": "1", "XBM": "1", "SPIDER": "F", "BLP": "P", "GIF": "P"}
WRITABLE = sorted(set(Image.SAVE) & set(Image.OPEN) - NOT_READ - {"GRIB", "BUFR", "HDF5", "WMF", "IM"})


def picture(mode: str) -> Image.Image:
    ramp = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    return Image.fromarray(ramp).convert(mode)


def decoded(content: bytes) -> DecodedImage:
    found = decode(ImageRef("a", "a", None, None, content), DecodeLimits())
    assert isinstance(found, DecodedImage), found
    return found


@pytest.mark.parametrize("kind", WRITABLE)
def test_what_pillow_writes_is_read(kind):
    file = io.BytesIO()
    picture(MODES.get(kind, "RGB")).save(file, kind)
    found = decoded(file.getvalue())
    assert found.pixels.shape == ((1024, 1024, 3) if kind == "ICNS" else (32, 32, 3))
    assert found.facts.format in {kind, "JPEG" if kind == "MPO" else kind, "BMP" if kind == "DIB" else kind}


@pytest.mark.parametrize(("extension", "kind"), [item for item in Image.EXTENSION.items() if item[1] in FORMATS])
def test_each_name_of_a_format_counts_as_an_image(extension, kind):
    assert is_image_name(f"picture{extension.upper()}"), kind


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_several_frames_the_first_counts(kind):
    file = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), color) for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    red, green, _ = decoded(file.getvalue()).pixels.reshape(-1, 3).mean(axis=0)
    assert red > 150 > 60 > green
