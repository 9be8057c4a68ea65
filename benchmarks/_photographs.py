"""Photographs for measurements: the ones in `$CLIPSIEVE_PHOTOS`, or else pictures drawn so that they cost what photographs do.

What decoding costs depends on the size in pixels, on the bits that each pixel takes and on the subsampling of colour. The
drawn ones have the sizes and about the bits of the photographs of a web data set: shapes with edges, detail at all scales as
nature has it, and grain.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["camera_like", "photographs", "scaled", "write_images"]

SIZES = ((500, 375), (500, 375), (500, 333), (375, 500), (500, 375), (333, 500), (640, 480), (400, 400))
QUALITY = 90
N_SHAPES = 30
GRAIN = 4.0  # standard deviation, in levels of 255, as of a small camera indoors


def photographs(n: int = 100) -> list[bytes]:
    """Return JPEG files of about half a megapixel or less, the same ones each time.

    Parameters
    ----------
    n : int, default=100
        How many; fewer if the folder `$CLIPSIEVE_PHOTOS` holds fewer. Its files are taken in the order of their names.
    """
    folder = os.environ.get("CLIPSIEVE_PHOTOS")
    if folder:
        paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
        return [path.read_bytes() for path in paths[:n]]
    return [_encode(_draw(np.random.default_rng(i), SIZES[i % len(SIZES)]), QUALITY) for i in range(n)]


def scaled(photos: Sequence[bytes], megapixels: float, n: int) -> list[bytes]:
    """Return the first n photographs enlarged to a number of million pixels, as JPEGs of quality 90.

    Each keeps its aspect ratio. Enlarging makes no detail, so such a file has few bits for its pixels.
    """
    return [_encode(_enlarge(content, megapixels), QUALITY) for content in photos[:n]]


def camera_like(photos: Sequence[bytes], megapixels: float, n: int) -> list[bytes]:
    """Return what `scaled` does, with grain: as many bits a pixel as a camera's own files have."""
    rng, found = np.random.default_rng(0), []
    for content in photos[:n]:
        large = _enlarge(content, megapixels)
        grain = rng.standard_normal((large.height, large.width, 1), dtype=np.float32) * GRAIN
        pixels = np.clip(np.asarray(large) + grain, 0, 255).astype(np.uint8)
        found.append(_encode(Image.fromarray(pixels), QUALITY))
    return found


def write_images(folder: Path, contents: Sequence[bytes], n: int) -> Path:
    """Write the contents over and over, n images in all."""
    folder.mkdir(parents=True)
    for number in range(n):
        (folder / f"{number:06d}.jpg").write_bytes(contents[number % len(contents)])
    return folder


def _enlarge(content: bytes, megapixels: float) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        size = (round(image.width * scale), round(image.height * scale))
        return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _encode(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _draw(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return shapes over a gradient, with the detail of nature: the spectrum of a photograph falls as 1 / frequency."""
    width, height = size
    image = Image.fromarray(rng.integers(40, 220, (2, 2, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    canvas = ImageDraw.Draw(image)
    for _ in range(N_SHAPES):
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        corners = rng.uniform(-0.1, 1.1, 2) * size + rng.uniform(0.02, 0.3, (5, 1)) * rng.normal(size=(5, 2)) * height
        canvas.polygon([(float(x), float(y)) for x, y in corners], fill=colour)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((height, width, 3)), axes=(0, 1)) / frequency[..., None]
    detail = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    detail *= np.array([28.0, 26.0, 24.0]) / detail.std()
    detail = 0.8 * detail.mean(axis=2, keepdims=True) * 3**0.5 + 0.3 * detail  # mostly light and dark, less of colour
    grain = rng.normal(scale=GRAIN, size=(height, width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + detail + grain, 0, 255).astype(np.uint8))
