"""The recipe's reference is Pillow itself, written out step by step."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from clipsieve.images.preprocess import fit_to_recipe
from clipsieve.types import Preprocessing

BICUBIC = Image.Resampling.BICUBIC


def recipe(mode: str = "shortest", size: int = 16, interpolation: str = "bicubic", fill: int = 0) -> Preprocessing:
    return Preprocessing(size, mode, interpolation, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), fill)


def draw(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference(pixels: np.ndarray, size: int, resampling: Image.Resampling = BICUBIC) -> np.ndarray:
    height, width = pixels.shape[:2]
    long = int(size * max(width, height) / min(width, height))
    new = (size, long) if width <= height else (long, size)
    resized = np.asarray(Image.fromarray(pixels).resize(new, resampling))
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return resized[top : top + size, left : left + size]


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (2, 3), (3, 2), (16, 16), (17, 16), (31, 47), (640, 480), (33, 100), (100, 33)]
)
def test_shortest_is_resize_then_centre_crop(width, height):
    pixels = draw(width, height)
    np.testing.assert_array_equal(fit_to_recipe(pixels, recipe()), reference(pixels, 16))


def test_squash_ignores_the_aspect_ratio():
    pixels = draw(40, 20)
    expected = np.asarray(Image.fromarray(pixels).resize((16, 16), BICUBIC))
    np.testing.assert_array_equal(fit_to_recipe(pixels, recipe("squash")), expected)


def test_longest_keeps_all_of_the_image_and_fills_the_rest():
    fitted = fit_to_recipe(np.full((20, 40, 3), 200, dtype=np.uint8), recipe("longest", fill=7))
    assert fitted.shape == (16, 16, 3)
    assert (fitted[4:12] == 200).all()
    assert (fitted[:4] == 7).all()
    assert (fitted[12:] == 7).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_another_filter_gives_other_pixels(interpolation):
    pixels = draw(50, 40)
    fitted = fit_to_recipe(pixels, recipe(interpolation=interpolation))
    np.testing.assert_array_equal(fitted, reference(pixels, 16, Image.Resampling[interpolation.upper()]))
    assert (fitted != reference(pixels, 16)).any()


@pytest.mark.parametrize(("width", "height"), [(1, 100), (3, 100), (100, 5), (7, 1000), (64, 2000)])
def test_a_very_long_image_differs_by_one_level_at_most(width, height):
    pixels = draw(width, height)
    fitted = fit_to_recipe(pixels, recipe()).astype(int)
    assert np.abs(fitted - reference(pixels, 16).astype(int)).max() <= 1


@pytest.mark.parametrize("shape", [(1, 100_000), (100_000, 1)])
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_a_line_of_pixels_needs_little_memory(shape, mode):
    tracemalloc.start()
    fitted = fit_to_recipe(draw(*shape), recipe(mode, 224))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fitted.shape == (224, 224, 3)
    assert peak < 20e6


def test_the_input_is_left_alone_and_the_result_is_repeatable():
    pixels = draw(30, 20)
    before = pixels.copy()
    np.testing.assert_array_equal(fit_to_recipe(pixels, recipe()), fit_to_recipe(pixels, recipe()))
    np.testing.assert_array_equal(pixels, before)
