"""Braces and stars mean what WebDataset's users are used to; what they cannot mean is said, and never tried."""

import pytest
from braceexpand import braceexpand
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.errors import SourceError, UsageError
from clipsieve.sources import open_source
from clipsieve.sources.patterns import expand_braces, has_braces, is_glob

BOUNDS = st.tuples(st.integers(0, 120), st.integers(0, 4)).map(lambda pair: f"{pair[0]:0{pair[1]}d}")
RANGES = st.tuples(BOUNDS, BOUNDS).map(lambda pair: f"{{{pair[0]}..{pair[1]}}}")
CHOICES = st.lists(st.text("ab0-", max_size=3), min_size=2, max_size=4).map(lambda some: f"{{{','.join(some)}}}")
PIECES = st.one_of(RANGES, CHOICES, st.text("ab/-.", max_size=5))


@given(st.lists(PIECES, max_size=2).map("".join))
def test_braces_stand_for_what_the_library_behind_webdataset_makes_of_them(pattern):
    assert expand_braces(pattern) == list(braceexpand(pattern))


@pytest.mark.parametrize("name", ["", "a.tar", "{}.tar", "{a}.tar", "a}b{c", "{" * 1000, "x{1.2}"])
def test_a_name_without_choices_is_itself(name):
    assert not has_braces(name)
    assert expand_braces(name) == [name]


def test_braces_within_braces():
    assert sorted(set(expand_braces("{a,{b,c}}.tar"))) == ["a.tar", "b.tar", "c.tar"]


@pytest.mark.parametrize(
    "pattern",
    [
        "{0..1000000}",
        "{1000000..0}",
        pytest.param("{0..999}{0..999}{0..1}", marks=pytest.mark.slow),
        pytest.param("{a,b}" * 25, marks=pytest.mark.slow),
    ],
)
def test_more_than_a_million_names_are_refused(pattern):
    with pytest.raises(UsageError, match="more than 1,000,000 names"):
        expand_braces(pattern)


@pytest.mark.parametrize("bound", ["9" * 19, pytest.param("9" * 5000, marks=pytest.mark.slow)])
def test_numbers_beyond_any_count_end_in_an_error_for_people(tmp_path, bound):
    with pytest.raises((SourceError, UsageError)):
        open_source(f"{tmp_path}/{{0..{bound}}}.tar")


@pytest.mark.parametrize(
    ("location", "is_one"),
    [
        ("a/*.tar", True),
        ("a/?.tar", True),
        ("a/[01].tar", True),
        ("s3://bucket/?.tar", True),
        ("https://example.org/a.tar?key=1", False),
        ("https://example.org/*.tar", True),
        ("a/{0..3}.tar", False),
    ],
)
def test_what_is_a_glob(location, is_one):
    assert is_glob(location) is is_one
