"""Against transformers' own Pillow image processors: equal bit for bit."""

import numpy as np
import pytest
from PIL import Image

from clipsieve.images.preprocess import fit_to_recipe
from clipsieve.types import Preprocessing

pytestmark = pytest.mark.torch

SIZES = [(1, 1), (2, 3), (3, 2), (224, 224), (225, 224), (224, 225), (333, 500), (640, 481), (1001, 77), (50, 333)]
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def theirs(processor, pixels):
    batch = processor(
        images=[Image.fromarray(pixels)], do_rescale=False, do_normalize=False, return_tensors="np", do_convert_rgb=True
    )
    return np.asarray(batch["pixel_values"][0]).transpose(1, 2, 0)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("size", [224, 63])
def test_clip(width, height, size):
    from transformers import CLIPImageProcessorPil

    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    ours = fit_to_recipe(pixels, Preprocessing(size, "shortest", "bicubic", MEAN, STD))
    np.testing.assert_array_equal(ours, theirs(processor, pixels))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_siglip(width, height):
    from transformers import SiglipImageProcessorPil

    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    processor = SiglipImageProcessorPil(size={"height": 224, "width": 224}, resample=3)
    ours = fit_to_recipe(pixels, Preprocessing(224, "squash", "bicubic", MEAN, STD))
    np.testing.assert_array_equal(ours, theirs(processor, pixels))
