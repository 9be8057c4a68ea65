"""Agreement, against the libraries that others use and figures that were published."""

import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from clipsieve.evaluation.agreement import cohen_kappa, krippendorff_alpha

WORDS = ("keep", "remove", "unsure")
PAIRS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)), max_size=30)
TABLES = st.lists(st.lists(st.sampled_from((*WORDS, None)), min_size=3, max_size=3), max_size=20)


@given(PAIRS)
def test_kappa_is_that_of_scikit_learn(pairs):
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    found = cohen_kappa(first, second)
    if not pairs or len(set(first + second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(cohen_kappa_score(first, second))
        assert found == cohen_kappa(second, first)


@given(TABLES)
def test_alpha_is_that_of_the_library(table):
    found = krippendorff_alpha(table)
    paired = [word for row in table if 3 - row.count(None) >= 2 for word in row if word]
    if len(set(paired)) < 2:
        assert found is None
        return
    codes = np.array([[np.nan if word is None else WORDS.index(word) for word in row] for row in table]).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it divides by nothing where only one person saw an image
        expected = krippendorff.alpha(codes, level_of_measurement="nominal")
    assert found == pytest.approx(expected)


def test_alpha_of_the_published_example():
    """Four observers, twelve units: Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C."""
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    table = [[None if word == "." else word for word in unit] for unit in zip(*map(str.split, observers), strict=True)]
    assert krippendorff_alpha(table) == pytest.approx(0.743, abs=5e-4)


def test_two_observers_of_the_published_example_may_be_a_table_too():
    """Section A of the same: binary data of two observers, alpha 0.095."""
    first, second = (
        ["0", "1", "0", "0", "0", "0", "0", "0", "1", "0"],
        ["1", "1", "1", "0", "0", "1", "0", "0", "0", "0"],
    )
    assert krippendorff_alpha(list(zip(first, second, strict=True))) == pytest.approx(0.095, abs=5e-4)


def test_who_said_it_does_not_matter_to_alpha():
    table = [["keep", None, "remove"], [None, "keep", "keep"], ["remove", "remove", None]]
    assert krippendorff_alpha(table) == krippendorff_alpha([[word for word in row[::-1] if word] for row in table])


def test_people_of_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        cohen_kappa(["keep"], [])
