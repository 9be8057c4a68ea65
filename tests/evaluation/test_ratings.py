"""What ratings mean: which images are unwanted, which wanted, which neither."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.errors import UsageError
from clipsieve.evaluation.ratings import LABEL_WORDS, SMID_COLUMNS, SMID_SCALES, label_ratings, label_words

RATING = st.floats(1, 5)


def test_the_cuts_themselves_are_left_out():
    rating = np.array([1.0, np.nextafter(2.5, 0), 2.5, 3.0, 3.5, np.nextafter(3.5, 9), 5.0])
    assert label_ratings(rating).tolist() == [1, 1, -1, -1, -1, 0, 0]
    assert label_ratings(rating, reverse=True).tolist() == [0, 0, -1, -1, -1, 1, 1]


def test_equal_cuts_leave_out_only_what_equals_them():
    assert label_ratings(np.array([2.9, 3.0, 3.1]), low=3, high=3).tolist() == [1, -1, 0]


@given(st.lists(RATING, max_size=20), RATING, RATING)
def test_one_rating_at_a_time_gives_the_same(values, a, b):
    low, high = min(a, b), max(a, b)
    expected = [1 if value < low else 0 if value > high else -1 for value in values]
    assert label_ratings(np.array(values, dtype=np.float64), low=low, high=high).tolist() == expected


@given(st.lists(RATING, max_size=20))
def test_reversing_the_scale_is_mirroring_the_ratings(values):
    rating = np.round(np.array(values, dtype=np.float64), 2)
    mirrored = label_ratings(-rating, low=-3.5, high=-2.5, reverse=True)
    assert mirrored.tolist() == label_ratings(rating).tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_refused_with_its_position(bad):
    with pytest.raises(UsageError, match="not a finite number") as caught:
        label_ratings(np.array([1.0, 2.0, bad]))
    assert "position 2" in caught.value.found


@pytest.mark.parametrize("low", [3.6, np.nan])
def test_cuts_in_the_wrong_order_are_refused(low):
    with pytest.raises(UsageError, match="cuts contradict"):
        label_ratings(np.array([1.0]), low=low)


def test_words_in_any_case_and_what_is_no_known_word():
    for label, words in LABEL_WORDS.items():
        assert set(label_words([f" {word.upper()} " for word in words]).tolist()) == {label}
    assert label_words(["maybe", "", "2", "-1"]).tolist() == [-1] * 4


def test_the_scales_of_smid_are_among_its_columns_and_harm_alone_is_reversed():
    assert {scale.column for scale in SMID_SCALES.values()} < SMID_COLUMNS
    assert [name for name, scale in SMID_SCALES.items() if scale.reverse] == ["harm"]
    assert {(scale.low, scale.high) for scale in SMID_SCALES.values()} == {(2.5, 3.5)}
