import io

import numpy as np
import pytest
from PIL import Image, features

from clipsieve.outputs.report.clouds import draw_cloud
from clipsieve.outputs.report.records import Term, TermSection
from report_records import HOSTILE


def section(terms, z=None) -> TermSection:
    z = np.linspace(20, 2, len(terms)) if z is None else z
    return TermSection("captions", 1, 1, tuple(Term(t, 9, 1, 1.0, float(s)) for t, s in zip(terms, z, strict=True)), ())


def words(n: int) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("aeioubdgklmnprst"), rng.integers(3, 12))) for _ in range(n)]


@pytest.fixture(scope="module")
def full():
    return draw_cloud(section(words(200)))


def test_the_picture_is_small_and_has_no_ground_of_its_own(full):
    image = Image.open(io.BytesIO(full.png))
    assert (image.format, image.size) == ("PNG", (full.width, full.height))
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert (alpha[0] == 0).all()
    assert 0.02 < (alpha > 200).mean() < 0.6
    assert len(full.png) < 150_000
    assert 30 <= full.n_drawn <= 60


def test_its_inks_can_be_read_on_white_and_on_black(full):
    """Contrast as in the Web Content Accessibility Guidelines 2.2: at least 3 for large letters."""
    pixels = np.asarray(Image.open(io.BytesIO(full.png)).convert("RGBA")).reshape(-1, 4)
    inks, counts = np.unique(pixels[pixels[:, 3] > 250][:, :3], axis=0, return_counts=True)
    linear = np.where(inks <= 10, inks / 255 / 12.92, ((inks / 255 + 0.055) / 1.055) ** 2.4)
    luminance = (linear @ [0.2126, 0.7152, 0.0722])[np.argsort(-counts)[:3]]
    assert (1.05 / (luminance + 0.05) >= 3).all()
    assert ((luminance + 0.05) / 0.06 >= 3).all()


def test_the_same_terms_give_the_same_picture(full):
    few = words(8)
    first = draw_cloud(section(few))
    assert draw_cloud(section(few)) == first
    assert draw_cloud(section(few[::-1])).png != first.png


@pytest.mark.parametrize("terms", [[], ["", " ", "\n"], ["日本語", "🔪"]])
def test_nothing_to_draw_is_no_picture(terms):
    assert draw_cloud(section(terms)) is None


@pytest.mark.parametrize("z", [0.0, -3.0, float("nan"), float("inf")])
def test_only_terms_that_stand_out_are_drawn(z):
    assert draw_cloud(section(["one"], [z])) is None
    assert draw_cloud(section(["one", "two"], [z, 4.0])).n_drawn == 1


def test_terms_whose_letters_the_font_lacks_are_counted_and_left_out():
    cloud = draw_cloud(section(["plain", "日本語", "ελληνικά", "русский", "a 🔪"]))
    assert (cloud.n_drawn, cloud.n_left_out) == (3, 2)
    can_turn = features.check("raqm") and features.check("fribidi")
    assert draw_cloud(section(["plain", "שלום", "مرحبا"])).n_left_out == (0 if can_turn else 2)


def test_hostile_terms_and_terms_too_wide_break_nothing():
    assert draw_cloud(section(list(HOSTILE))).n_drawn >= 5
    assert draw_cloud(section(["W" * 10_000])).n_drawn == 1
    assert draw_cloud(section([f"{'W' * 28}{i}" for i in range(90)])).n_drawn >= 5
