"""What opening a JPEG and fitting it to a recipe of 224 px costs: as a person writes it with Pillow, exactly, and fast.

Processor time of one core, all ways in turn on the same image. Where libraries that decode JPEG in other ways are there, what
they need to decode alone, with no fitting and no facts of the file, stands beside. Three kinds of files: photographs of half a
megapixel or less, the same enlarged to 12 megapixels, and those with the grain of a camera. With grain most of the time goes
into Huffman decoding, of each bit of the file, which no way can leave out: the row "read, and keep 1/8" is about that time, for
there hardly anything else is left to do.
"""

import importlib.util
import io
import time
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from benchmarks._machine import describe_machine
from benchmarks._photographs import camera_like, photographs, scaled
from clipsieve.images import DecodeLimits, decode_fitted
from clipsieve.types import DecodedImage, ImageRef, Preprocessing

SIZE = 224
RECIPE = Preprocessing(SIZE, "shortest", "bicubic", (0.5,) * 3, (0.5,) * 3)
REPEATS, N_LARGE = 3, 8
FIRST = "Pillow, as a person writes it"

Way = Callable[[bytes], object]


def by_hand(content: bytes) -> np.ndarray:
    """Open, convert, resize the shortest side, crop the centre."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = SIZE / min(image.size)
    width, height = (max(SIZE, int(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def ours(*, exact: bool) -> Way:
    """Return one of clipsieve's two ways."""

    def run(content: bytes) -> np.ndarray:
        found = decode_fitted(ImageRef("", "", None, None, content), DecodeLimits(), RECIPE, exact=exact)
        assert isinstance(found, DecodedImage), found
        return found.pixels

    return run


def read_only(content: bytes) -> None:
    """Read all frequencies and keep one pixel of each block."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft(None, (image.width // 8, image.height // 8))
        image.load()


def ways() -> dict[str, Way]:
    """Return what can be measured here."""
    found: dict[str, Way] = {
        FIRST: by_hand,
        "clipsieve, exact": ours(exact=True),
        "clipsieve, fast": ours(exact=False),
        "Pillow: read, and keep 1/8": read_only,
    }
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        found["simplejpeg, decode alone, sides >= 672"] = lambda content: simplejpeg.decode_jpeg(
            content, min_height=3 * SIZE, min_width=3 * SIZE
        )
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
        found["OpenCV, decode alone, all pixels"] = lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), 1)
    if importlib.util.find_spec("pyvips"):
        import pyvips

        found["libvips, thumbnail of 224"] = lambda content: pyvips.Image.thumbnail_buffer(
            content, SIZE, height=SIZE, crop="centre", no_rotate=True
        ).numpy()
    return found


def measure(photos: Sequence[bytes], all_ways: dict[str, Way]) -> dict[str, float]:
    """Return ms of processor time for one image: the mean over images of the median of repeats."""
    found = {name: np.empty((len(photos), REPEATS)) for name in all_ways}
    for i, content in enumerate(photos):
        for repeat in range(REPEATS):
            for name, run in all_ways.items():
                start = time.process_time()
                run(content)
                found[name][i, repeat] = 1000 * (time.process_time() - start)
    return {name: float(np.median(values, axis=1).mean()) for name, values in found.items()}


def main() -> None:
    """Measure and print the tables."""
    print(describe_machine())
    photos, all_ways = photographs(), ways()
    kinds = {
        "photographs": photos,
        "12 megapixels": scaled(photos, 12, N_LARGE),
        "12 megapixels, with grain": camera_like(photos, 12, N_LARGE),
    }
    for kind, contents in kinds.items():
        found = measure(contents, all_ways)
        size_kb = np.mean([len(content) for content in contents]) / 1000
        print(f"\n| {kind}, {size_kb:,.0f} kB each | ms of one core | ratio |\n|---|---|---|")
        for name, ms in found.items():
            print(f"| {name} | {ms:.1f} | {found[FIRST] / ms:.1f} |", flush=True)


if __name__ == "__main__":
    main()
