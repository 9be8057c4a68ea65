"""The hand-written table, the sheets that follow its order, and the split that keeps compositions apart."""

import itertools
from collections import Counter

import numpy as np
import pytest

from clipsieve.demo import load_pictograms
from clipsieve.demo.ratings import group_of, rate
from clipsieve.demo.split import is_reserved
from clipsieve.demo.sprites import SPRITE_DIR, SPRITE_PX, STYLES, drawn_in, load_sheet
from clipsieve.demo.table import UNWANTED_BELOW, WANTED_ABOVE, mean_rating

TABLE = load_pictograms()


def test_names_and_code_points_are_unique():
    assert len(TABLE) >= 330
    assert len({p.name for p in TABLE}) == len({p.code_point for p in TABLE}) == len(TABLE)


def test_a_kind_has_one_class_name():
    assert (
        len({p.kind for p in TABLE})
        == len({p.class_name for p in TABLE})
        == len({(p.kind, p.class_name) for p in TABLE})
    )


@pytest.mark.parametrize("scale", ["valence", "moral", "arousal", "harm"])
def test_ratings_lie_on_the_scale(scale):
    assert all(1 <= getattr(p, scale) <= 5 for p in TABLE)


def test_neutral_pictograms_and_only_they_are_in_no_group():
    for p in TABLE:
        assert (p.group == "N") == (UNWANTED_BELOW <= p.valence <= WANTED_ABOVE), p.name


def test_half_of_every_kind_is_told():
    counts = Counter((p.kind, p.group) for p in TABLE if p.group != "N")
    for kind in {kind for kind, _ in counts}:
        assert abs(counts[kind, "A"] - counts[kind, "B"]) <= 1, kind


@pytest.mark.parametrize("style", STYLES)
def test_sheets_follow_the_table(style):
    assert load_sheet(style).shape == (len(TABLE), SPRITE_PX, SPRITE_PX, 4)
    assert len(drawn_in(style)) >= 320


def test_sheets_are_small():
    assert sum(path.stat().st_size for path in SPRITE_DIR.iterdir()) <= 3 * 1024**2


def test_the_split_ignores_order_and_reserves_about_a_seventh():
    pairs = list(itertools.combinations(range(100), 2))
    reserved = [is_reserved(pair, "noto") for pair in pairs]
    assert reserved == [is_reserved(pair[::-1], "blob") for pair in pairs]
    assert np.mean(reserved) == pytest.approx(0.15, abs=0.02)
    singles = [is_reserved((i,), style) for style in STYLES for i in range(len(TABLE))]
    assert np.mean(singles) == pytest.approx(0.15, abs=0.03)


def test_three_are_reserved_if_two_of_them_are():
    pair = next(pair for pair in itertools.combinations(range(50), 2) if is_reserved(pair, "noto"))
    assert all(is_reserved((*pair, i), "noto") for i in range(50, 80))


def test_raters_agree_with_the_table_on_average():
    rng = np.random.default_rng(0)
    given = [float(rate(rng, (i,))["valence_mean"]) for i in range(len(TABLE))]
    truth = [mean_rating((i,)) for i in range(len(TABLE))]
    assert np.corrcoef(given, truth)[0, 1] > 0.97


def test_the_group_of_a_picture():
    first = {group: next(i for i, p in enumerate(TABLE) if p.group == group) for group in "ABN"}
    a, b, n = first["A"], first["B"], first["N"]
    assert [group_of(m) for m in ((a,), (b, n), (a, b), (n,))] == ["A", "B", "mixed", "N"]
