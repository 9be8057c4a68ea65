"""Composition: layouts stay inside, pasting is exact, a generator decides everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.demo.compose import compose, draw_background, paste, plan_layout
from clipsieve.demo.sprites import STYLES, drawn_in, sprite


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(32, 200))
def test_layouts_stay_within_the_square(seed, n, side):
    for size, left, top in plan_layout(np.random.default_rng(seed), n, side):
        assert 0 <= left <= side - size
        assert 0 <= top <= side - size


@given(st.integers(0, 10_000), st.integers(8, 60), st.integers(8, 60))
def test_backgrounds_have_the_size_asked_for(seed, height, width):
    background = draw_background(np.random.default_rng(seed), height, width)
    assert background.shape == (height, width, 3)
    assert background.dtype == np.uint8


def test_a_clear_sprite_changes_nothing_and_a_solid_one_covers():
    canvas = np.full((10, 10, 3), 100, np.uint8)
    paste(canvas, np.zeros((4, 4, 4), np.uint8), 2, 3)
    assert (canvas == 100).all()
    solid = np.dstack([np.full((4, 4, 3), 200, np.uint8), np.full((4, 4), 255, np.uint8)])
    paste(canvas, solid, 2, 3)
    assert (canvas[3:7, 2:6] == 200).all()
    assert (canvas != 100).sum() == 4 * 4 * 3


def test_half_alpha_mixes_without_overflow():
    canvas = np.full((2, 2, 3), 255, np.uint8)
    paste(canvas, np.full((2, 2, 4), 128, np.uint8), 0, 0)
    assert (np.abs(canvas.astype(int) - 255) <= 1).all()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size_px", [12, 64, 130])
def test_colour_never_exceeds_alpha(style, size_px):
    for index in sorted(drawn_in(style))[::40]:
        glyph = sprite(style, index, size_px)
        assert glyph.shape == (size_px, size_px, 4)
        assert (glyph[..., :3] <= glyph[..., 3:]).all()


@pytest.mark.parametrize("members", [(0,), (0, 5), (3, 9, 200)])
def test_the_generator_decides_the_picture(members):
    first, second, other = (
        compose(np.random.default_rng(seed), members, "noto", height_px=100, width_px=130) for seed in (1, 1, 2)
    )
    assert first.shape == (100, 130, 3)
    assert (first == second).all()
    assert (first != other).any()
