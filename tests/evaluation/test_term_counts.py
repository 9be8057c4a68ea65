"""Words of captions, whatever stands in them; and how many are held."""

import time

import pytest

from clipsieve.evaluation.term_counts import STOP_WORDS, TermCounter, iter_terms, whole_term
from report_records import HOSTILE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog, and THE Dog's ball", ["dog", "dog's", "ball"]),
        ("the dog\u2019s", ["dog's"]),
        ("'quoted' rock'n'roll '", ["quoted", "rock'n'roll"]),
        ("under_score x-ray 4x4", ["score", "ray", "4x4"]),
        ("naïve na\u0069\u0308ve \ufb01ne \uff26\uff35\uff2c\uff2c", ["naïve", "naïve", "fine", "full"]),
        ("straße STRASSE", ["strasse", "strasse"]),
        ("हिन्दी में कुत्ता", ["हिन्दी", "में", "कुत्ता"]),
        ("שָׁלוֹם مُحَمَّد", ["שָׁלוֹם", "مُحَمَّد"]),
        ("日本語 한국어", ["日本語", "한국어"]),
        ("\u202eright\u202c le\u200bft so\u00adft", ["right", "left", "soft"]),
        ("two\nlines\tand a tab\x1b[31m\x00end", ["two", "lines", "tab", "31m", "end"]),
        ("<b>bold</b> &amp; {{ 7 * 77 }}", ["bold", "amp", "77"]),
        ("🔪🩸 \U0001f469\u200d\U0001f692", []),
        ("x" * 10_000, []),
        ("y" * 40 + " " + "z" * 41, ["y" * 40]),
        ("", []),
    ],
)
def test_words(text, words):
    import unicodedata

    assert list(iter_terms(text)) == [unicodedata.normalize("NFKC", word) for word in words]


def test_hostile_captions_give_plain_words():
    for text in HOSTILE:
        for word in iter_terms(text):
            assert 2 <= len(word) <= 40
            assert not set(word) & set('<>&"{}%/\n\t\x1b\u202e\u202c ')
            assert word == word.casefold()


def test_a_long_caption_is_read_in_time_and_cut():
    started = time.thread_time()
    words = list(iter_terms("a\u0301" * 5_000_000 + " end"))
    assert time.thread_time() - started < 2
    assert words == []


def test_stop_words_are_as_they_are_compared():
    assert all(word == word.casefold() and len(word) >= 2 for word in STOP_WORDS)


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("n02123045", "n02123045"),
        ("Military  Uniform", "military uniform"),
        ("two\nlines\tand\x1b[31m", "two lines and [31m"),
        ("\u202eabc\u202c", "abc"),
        ("the", "the"),
        ("<b>", "<b>"),
        ("x" * 10_000, "x" * 10_000),
        (" \u200b ", ""),
    ],
)
def test_a_class_name_is_one_term(name, term):
    assert whole_term(name) == term


def test_a_word_counts_once_for_each_caption():
    counter = TermCounter()
    counter.add_captions(["dog dog dog ball", "dog"], flagged=True)
    counter.add_captions(["dog", "tree Tree"], flagged=False)
    assert counter.flagged == {"dog": 2, "ball": 1}
    assert counter.rest == {"dog": 1, "tree": 1}
    assert counter.n_forgotten == 0


def test_class_names_count_with_their_images():
    counter = TermCounter()
    counter.add_names([("Tank", 30), ("tank ", 2), ("", 4)], flagged=True)
    counter.add_names([("tank", 5), ("tree", 7), ("leaf", 0)], flagged=False)
    assert (counter.flagged, counter.rest) == ({"tank": 32}, {"tank": 5, "tree": 7})


def test_memory_is_bounded_and_frequent_words_are_kept_in_full():
    counter = TermCounter(max_terms=100)
    for i in range(2000):
        counter.add_captions([f"common rare{i}"], flagged=i % 2 == 0)
        assert len(counter.flagged) <= 100
    assert (counter.flagged["common"], counter.rest["common"]) == (1000, 1000)
    assert len(counter.flagged) + len(counter.rest) <= 102
    held = counter.flagged.total() + counter.rest.total()
    assert held + counter.n_forgotten == 4000
