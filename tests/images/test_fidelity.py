"""The fast way beside the exact one: photographs give the same embeddings, and patterns drawn to be hard nearly the same pixels.

The photographs are not part of the project. The tests find them in `$CLIPSIEVE_TEST_DATA/photos` (any folder of JPEGs).
"""

import io
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import clipsieve
from clipsieve import load_encoder
from clipsieve.classifiers import load_prompt_set
from clipsieve.classifiers.prompts import build_zero_shot
from clipsieve.encoders import Encoder
from clipsieve.images import DecodeLimits, decode, decode_fitted, fit_to_recipe
from clipsieve.types import DecodedImage, FailedImage, FailureCode, ImageRef, Preprocessing

PHOTOS = Path(os.environ.get("CLIPSIEVE_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "photos"
needs_photos = pytest.mark.skipif(
    not PHOTOS.is_dir(),
    reason="needs photographs: set CLIPSIEVE_TEST_DATA to a folder that holds `photos` with some JPEGs",
)
MODES = ["shortest", "squash", "longest"]
MIN_COSINE, MAX_FLIPPED = 0.999, 0.002


def recipe(mode: str = "shortest", size: int = 64, interpolation: str = "bicubic") -> Preprocessing:
    return Preprocessing(size, mode, interpolation, (0.5,) * 3, (0.25,) * 3, 9)


def fitted(content: bytes, wanted: Preprocessing, *, exact: bool) -> np.ndarray:
    found = decode_fitted(ImageRef("a", "a", None, None, content), DecodeLimits(), wanted, exact=exact)
    assert isinstance(found, DecodedImage), found
    return found.pixels


def both(content: bytes, wanted: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    return fitted(content, wanted, exact=True).astype(int), fitted(content, wanted, exact=False).astype(int)


def encoded(pixels: np.ndarray | Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}) | options)
    return file.getvalue()


# Photographs


@cache
def photographs() -> list[bytes]:
    return [path.read_bytes() for path in sorted(PHOTOS.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg")]


def enlarged(content: bytes, megapixels: float) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        size = (round(image.width * scale), round(image.height * scale))
        return encoded(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), quality=90, subsampling=2)


def assert_same_embeddings(photos: list[bytes], encoder: Encoder) -> None:
    """Compare both ways at 224 px, as a trained model sees them: the embedded one, which looks at a smaller copy of that."""
    small, probability = encoder.recipe, default_prompts(encoder)
    pixels = [[fitted(p, recipe(size=224), exact=way) for p in photos] for way in (True, False)]
    assert any((one != other).any() for one, other in zip(*pixels, strict=True))
    exact, fast = (encode(encoder, [fit_to_recipe(each, small) for each in way]) for way in pixels)
    cosine = (exact * fast).sum(axis=1)
    assert cosine.min() >= MIN_COSINE, (int(cosine.argmin()), cosine.min(), int((cosine < MIN_COSINE).sum()))
    flipped = (probability(exact) > 0.5) != (probability(fast) > 0.5)
    assert flipped.sum() <= MAX_FLIPPED * len(photos)


def encode(encoder: Encoder, pixels: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([encoder.encode_images(np.stack(pixels[i : i + 16])) for i in range(0, len(pixels), 16)])


def default_prompts(encoder: Encoder) -> Callable[[np.ndarray], np.ndarray]:
    prompts = load_prompt_set(Path(clipsieve.__file__).parent / "prompts" / "positive-negative.toml")
    classifier = build_zero_shot(prompts, encoder.encode_texts, identity=encoder.identity)
    return lambda embeddings: classifier.predict_proba(embeddings)[:, 1]


@needs_photos
@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_trained_model_sees_the_same_in_photographs(step):
    with load_encoder("pictogram") as encoder:
        assert_same_embeddings(photographs()[::step], encoder)


@needs_photos
@pytest.mark.slow
@pytest.mark.parametrize(("megapixels", "step"), [(1, 1), (2.5, 2), (12, 5)])
def test_a_trained_model_sees_the_same_in_large_photographs(megapixels, step):
    with load_encoder("pictogram") as encoder:
        assert_same_embeddings([enlarged(content, megapixels) for content in photographs()[::step]], encoder)


@needs_photos
def test_a_recipe_of_few_pixels_gets_each_of_them_exactly():
    wanted = recipe(size=48)
    for content in [*photographs()[:3], enlarged(photographs()[0], 3)]:
        np.testing.assert_array_equal(fitted(content, wanted, exact=False), fitted(content, wanted, exact=True))


@needs_photos
@pytest.mark.slow
@pytest.mark.torch
def test_a_vit_b_32_sees_the_same(tmp_path):
    """Weights are random, so decisions are along a random direction, at the median."""
    import torch
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    config = CLIPConfig(text_config={"num_hidden_layers": 1, "eos_token_id": 2}, vision_config={"patch_size": 32})
    model = CLIPModel(config).eval()
    processor = CLIPImageProcessorPil()
    photos = photographs() + [enlarged(content, 12) for content in photographs()[::15]]
    direction = np.random.default_rng(0).normal(size=config.projection_dim)

    def embed(exact: bool) -> np.ndarray:
        pixels = [fitted(content, recipe(size=224), exact=exact) for content in photos]
        scaled = [processor(Image.fromarray(p), return_tensors="pt")["pixel_values"] for p in pixels]
        with torch.no_grad():
            found = [model.visual_projection(model.vision_model(batch).pooler_output) for batch in scaled]
        rows = torch.cat(found).numpy()
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    exact, fast = embed(True), embed(False)
    assert (exact * fast).sum(axis=1).min() >= MIN_COSINE
    at = np.median(exact @ direction)
    flipped = (exact @ direction > at) != (fast @ direction > at)
    assert flipped.mean() <= MAX_FLIPPED


# Patterns drawn to be hard


def pattern(name: str, width: int = 1201, height: int = 901) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    grey = {
        "stripes of 1 px": lambda: 255 * (x % 2),
        "stripes of 3 px": lambda: 255 * (y // 3 % 2),
        "stripes of 12 px": lambda: 255 * ((x + y) // 12 % 2),
        "checkerboard of 1 px": lambda: 255 * ((x + y) % 2),
        "checkerboard of 8 px": lambda: 255 * ((x // 8 + y // 8) % 2),
        "zone plate": lambda: 127.5 + 127.5 * np.cos(np.pi / width * ((x - width / 2) ** 2 + (y - height / 2) ** 2)),
        "noise": lambda: rng.integers(0, 256, (height, width)),
        "edge": lambda: 255 * (x > 0.47 * width),
    }[name]()
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


@cache
def drawn(name: str, kind: str) -> bytes:
    return encoded(pattern(name, 801, 603), kind, **({"compress_level": 1} if kind == "PNG" else {}))


def text(width: int = 1201, height: int = 901) -> np.ndarray:
    image = Image.new("RGB", (width, height), "white")
    for line in range(0, height, 14):
        ImageDraw.Draw(image).text((line % 50, line), "The quick brown fox jumps over the lazy dog. " * 5, fill="black")
    return np.asarray(image)


# Mean levels of 255 by which the two ways may differ: what was measured, rounded up. Where a pattern has periods near the
# pixels of the reduced image, neither way is right, and they differ most.
LIMITS = {
    "stripes of 1 px": 1.0,
    "stripes of 3 px": 1.5,
    "stripes of 12 px": 1.5,
    "checkerboard of 1 px": 1.0,
    "checkerboard of 8 px": 2.5,
    "zone plate": 0.6,
    "noise": 2.0,
    "edge": 0.2,
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LIMITS)
def test_hard_patterns(name, mode, kind):
    exact, fast = both(drawn(name, kind), recipe(mode, 32))
    assert np.abs(exact - fast).mean() <= LIMITS[name]


@pytest.mark.parametrize("size", [64, 150])
def test_text(size):
    exact, fast = both(encoded(text()), recipe(size=size))
    assert np.abs(exact - fast).mean() <= 2.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 900), (900, 1), (17, 4000), (4000, 17), (511, 387), (1000, 40)]
)
def test_odd_sizes(width, height, mode):
    ramp = np.linspace(0, 255, width)[None, :, None] * np.linspace(0.2, 1, height)[:, None, None] * np.ones(3)
    for kind in ("JPEG", "PNG"):
        exact, fast = both(encoded(ramp.astype(np.uint8), kind), recipe(mode))
        assert exact.shape == fast.shape == (64, 64, 3)
        assert np.abs(exact - fast).mean() <= 0.6


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 2}, {"restart_marker_blocks": 3}, {"quality": 20}]
)
@pytest.mark.parametrize("colours", ["RGB", "L", "CMYK"])
def test_every_kind_of_jpeg(colours, options):
    image = Image.fromarray(pattern("zone plate", 600, 500)).convert(colours)
    exact, fast = both(encoded(image, **options), recipe())
    assert 0 < np.abs(exact - fast).mean() <= 1.0


def test_mpo():
    image = Image.fromarray(pattern("zone plate", 600, 500))
    exact, fast = both(encoded(image, "MPO", save_all=True, append_images=[Image.new("RGB", (600, 500))]), recipe())
    assert 0 < np.abs(exact - fast).mean() <= 1.0


# What does not change


def lossless_jpeg(width: int, height: int) -> bytes:
    """Return a grey JPEG of the lossless kind (ITU-T T.81, annex H): each pixel is as the one before it."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body

    frame = bytes([8]) + height.to_bytes(2) + width.to_bytes(2) + bytes([1, 1, 0x11, 0])
    one_code = bytes([0, 1, *[0] * 15, 0])  # of one bit, for "no difference"
    scan = bytes([1, 1, 0, 1, 0, 0])
    parts = segment(0xC3, frame) + segment(0xC4, one_code) + segment(0xDA, scan)
    return b"\xff\xd8" + parts + bytes(width * height // 8 + 1) + b"\xff\xd9"


@pytest.mark.parametrize("size", [(900, 600), (2048, 1024)])
def test_a_lossless_jpeg_is_never_decoded_at_a_reduced_scale(size):
    exact, fast = both(lossless_jpeg(*size), recipe())
    assert np.abs(exact - fast).max() <= 1


@pytest.mark.parametrize("filler", [b"", b"\xff\xff\xff", b"\xff\xe1\x00\x08secret"])
def test_the_frame_is_found_behind_whatever_comes_before_it(filler):
    content = encoded(pattern("zone plate", 600, 500))
    exact, fast = both(content[:2] + filler + content[2:], recipe())
    assert 0 < np.abs(exact - fast).mean() <= 1.0


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize(("mode", "aspect"), [("shortest", 1.5), ("squash", 1.0), ("longest", 1.5)])
def test_an_image_is_reduced_only_if_enough_is_left(mode, aspect, size, kind):
    short = 2 * 3 * size
    longest = mode == "longest"
    height = round(short / aspect) if longest else short
    width = short if longest else round(short * aspect)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exact, fast = both(encoded(pixels[:-9, :-9], kind), recipe(mode, size))
    assert np.abs(exact - fast).max() <= 1
    exact, fast = both(encoded(pixels, kind), recipe(mode, size))
    assert np.abs(exact - fast).max() > 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_each_side_is_looked_at(kind):
    """Squashed, an image may have enough along one side alone: rows that differ stay whole."""
    rows = np.random.default_rng(0).integers(0, 256, (6 * 64 - 9, 1, 3), dtype=np.uint8).repeat(900, axis=1)
    exact, fast = both(encoded(rows, kind), recipe("squash", 64))
    assert np.abs(exact - fast).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_nearest_takes_the_same_pixels(kind):
    exact, fast = both(drawn("noise", kind), recipe(interpolation="nearest"))
    np.testing.assert_array_equal(exact, fast)


@pytest.mark.parametrize("colours", ["RGB", "L", "CMYK", "RGBA", "P"])
@pytest.mark.parametrize("mode", MODES)
def test_exact_is_the_recipe_on_all_pixels(mode, colours):
    kind = "JPEG" if colours in ("RGB", "L", "CMYK") else "PNG"
    content = encoded(Image.fromarray(pattern("zone plate", 333, 250)).convert(colours), kind)
    whole = decode(ImageRef("a", "a", None, None, content), DecodeLimits())
    np.testing.assert_array_equal(fitted(content, recipe(mode), exact=True), fit_to_recipe(whole.pixels, recipe(mode)))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("progressive", [False, True])
def test_facts_and_failures_are_the_same(part, progressive):
    content = encoded(pattern("zone plate", 601, 451), progressive=progressive)
    for cut in (content, content[: int(part * len(content))]):
        ref = ImageRef("a", "a", None, None, cut)
        plain = decode(ref, DecodeLimits())
        found = [decode_fitted(ref, DecodeLimits(), recipe(), exact=exact) for exact in (True, False)]
        assert plain.facts == found[0].facts == found[1].facts
        assert (plain.facts.width, plain.facts.height) == (601, 451)
        if cut is not content:
            assert isinstance(plain, FailedImage)
            assert plain.failure.code is FailureCode.TRUNCATED
            assert plain.failure == found[0].failure == found[1].failure


def test_the_stated_size_counts_against_the_limit():
    ref = ImageRef("a", "a", None, None, encoded(pattern("edge")))
    found = decode_fitted(ref, DecodeLimits(max_pixels=1_000_000), recipe(), exact=False)
    assert isinstance(found, FailedImage)
    assert found.failure.code is FailureCode.TOO_MANY_PIXELS
