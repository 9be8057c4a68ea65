"""What a classifier was tuned on is found through all the prompts that it began with."""

import pytest

from clipsieve.engines.lineage import is_in_words, is_same_kind, tuned_on


def test_the_whole_chain_counts():
    first = {"tuned_on": ["a", "b"]}
    again = {"tuned_on": ["c"], "begins_with": {"tuned_on": [], "begins_with": first}}
    assert tuned_on(first) == (frozenset("ab"), True)
    assert tuned_on(again) == (frozenset("abc"), True)


@pytest.mark.parametrize(
    "provenance",
    [{}, {"tuned_on": 5}, {"tuned_on": [["a"]]}, {"tuned_on": "ab"}, {"tuned_on": [], "begins_with": {}}],
    ids=repr,
)
def test_what_is_not_known_or_makes_no_sense_is_not_complete(provenance):
    assert tuned_on(provenance) == (frozenset(), False)


def test_prompts_that_began_as_soft_ones_are_not_in_words():
    assert is_in_words("zero-shot", {"prompt_set": "s"})
    assert not is_in_words("zero-shot", {"begins_with": {}})
    assert not is_in_words("soft-prompts", {})


def test_digests_of_contents_never_meet_those_of_ids():
    assert is_same_kind([], ["id-1"])
    assert is_same_kind(["0a"], ["0b"])
    assert not is_same_kind(["0a"], ["id-0b"])
    assert not is_same_kind(["id-0a"], ["0b"])
