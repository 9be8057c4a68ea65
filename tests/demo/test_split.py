"""Which part of the demo data a picture belongs to: decided by the pictograms alone, whatever else is drawn."""

import itertools

import pytest

from clipsieve.demo import load_pictograms
from clipsieve.demo.split import tuning_part
from clipsieve.demo.sprites import STYLES

N = len(load_pictograms())


def unseen() -> set[int]:
    return {i for i in range(N) if tuning_part((i,), STYLES[0]) == "unseen"}


def test_about_a_fifth_of_the_pictograms_is_unseen_in_every_style():
    hidden = unseen()
    assert len(hidden) / N == pytest.approx(0.2, abs=0.05)
    for i in range(N):
        assert {tuning_part((i,), style) == "unseen" for style in STYLES} == {i in hidden}


def test_a_picture_with_any_unseen_pictogram_is_never_for_tuning():
    hidden = unseen()
    for pair in itertools.islice(itertools.combinations(range(N), 2), 0, None, 37):
        n_hidden = len(hidden & set(pair))
        part = tuning_part(pair, STYLES[0])
        assert (part == "unseen") == (n_hidden == 2)
        if n_hidden == 1:
            assert part == "test"


def test_neither_order_nor_style_moves_pictograms_together():
    for triple in ((0, 5, 9), (3, 4, 8), (1, 2, 7), (10, 20, 30)):
        found = {tuning_part(order, style) for order in itertools.permutations(triple) for style in STYLES}
        assert len(found) == 1


def test_about_a_quarter_of_the_rest_is_for_testing():
    shown = [i for i in range(60) if i not in unseen()]
    parts = [tuning_part(pair, STYLES[0]) for pair in itertools.combinations(shown, 2)]
    assert set(parts) == {"train", "test"}
    assert parts.count("test") / len(parts) == pytest.approx(0.25, abs=0.05)
