"""Taxonomy files that people write: read as they stand, or refused with what to mend."""

import hashlib

import pytest

from clipsieve.classifiers.prompt_files import builtin_prompt_sets
from clipsieve.classifiers.taxonomy_files import builtin_taxonomy, builtin_taxonomy_text, load_taxonomy
from clipsieve.errors import PromptSetError

GOOD = """
templates = ["A photo of {}"]
min_margin = 0.2

[[concepts]]
name = "weapons"
title = "Weapons of any kind"
prompts = ["a gun", "a knife"]

[[concepts]]
name = "other"
prompts = ["a tree"]
other = true
"""


def load(tmp_path, text):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "mine.toml").write_bytes(content)
    return load_taxonomy(tmp_path / "mine.toml")


def refusal(tmp_path, text):
    with pytest.raises(PromptSetError) as caught:
        load(tmp_path, text)
    assert "mine.toml" in caught.value.what
    return str(caught.value)


def test_a_file_says_what_it_says(tmp_path):
    found = load(tmp_path, GOOD)
    assert (found.name, found.min_margin, found.templates) == ("mine", 0.2, ("A photo of {}",))
    assert [(c.name, c.title, c.prompts, c.is_other) for c in found.concepts] == [
        ("weapons", "Weapons of any kind", ("a gun", "a knife"), False),
        ("other", "other", ("a tree",), True),
    ]
    assert found.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()


def test_the_hash_is_that_of_the_file_whatever_its_line_ends(tmp_path):
    content = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    found = load(tmp_path, content)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.concepts == load(tmp_path, GOOD).concepts


def test_without_templates_and_margin_there_are_defaults(tmp_path):
    found = load(tmp_path, GOOD.split("\n", 3)[3])
    assert (found.templates, found.min_margin) == (("{}",), 0.1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min_margin", "margin", "hint: did you mean `min_margin`?"),
        ("title", "titel", "hint: did you mean `title`?"),
        ("[[concepts]]", "[[classes]]", "unknown key `classes`"),
        ("0.2", '"0.2"', "`min_margin` is no number from 0 to 1"),
        ("0.2", "1.5", "`min_margin` is no number"),
        ("0.2", "nan", "`min_margin` is no number"),
        ("0.2", "true", "`min_margin` is no number"),
        ("A photo of {}", "A photo", "does not say where the prompt goes"),
        ("other = true", "", "no concepts are what is left over"),
        ("other = true", "other = 1", "concept 2: `other` is no truth value"),
        ('["a gun", "a knife"]', '["a gun", "a knife"]\nother = true', "2 concepts are what is left over"),
        ('"a knife"', '"a tree"', "two concepts share a prompt"),
        ('"a knife"', '"a gun"', "says something twice"),
        ('"a knife"', '" "', "concept 1: `prompts`"),
        ('name = "other"', 'name = "weapons"', "two concepts have the same name"),
        ('name = "other"', 'name = "o"\ntitle = "Weapons of any kind"', "two concepts have the same title"),
        ('name = "other"', "", "concept 2: `name` is missing"),
        ("Weapons of any kind", " ", "`title` is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_expected(tmp_path, old, new, words):
    assert words in refusal(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "`concepts` is missing"),
        (GOOD.replace("[[concepts]]", "# ", 1), "unknown key"),
        (
            GOOD.split("[[concepts]]", maxsplit=1)[0] + "[[concepts]]" + GOOD.split("[[concepts]]")[2],
            "too few concepts",
        ),
        ("templates = [", "is not TOML"),
        (GOOD.encode("utf-16"), "is not UTF-8"),
        (b"#" * (1024**2 + 1), "at most 1,048,576 bytes"),
    ],
    ids=["empty", "no tables", "1 concept", "broken", "UTF-16", "large"],
)
def test_what_is_no_taxonomy_is_refused(tmp_path, text, words):
    found = refusal(tmp_path, text)
    assert words in found


def test_errors_advise_a_taxonomy_and_no_prompt_set(tmp_path):
    assert "hint: `clipsieve prompts taxonomy` prints a file to start from" in refusal(tmp_path, "min_margin = 2")
    with pytest.raises(PromptSetError, match="cannot read the taxonomy"):
        load_taxonomy(tmp_path / "missing.toml")


def test_the_built_in_one_is_a_file_like_any_other_and_no_prompt_set(tmp_path):
    built_in = builtin_taxonomy()
    found = load(tmp_path, builtin_taxonomy_text())
    assert found == built_in
    assert (built_in.name, built_in.min_margin, len(built_in.concepts)) == ("offensive-content", 0.1, 11)
    assert built_in.name not in [prompt_set.name for prompt_set in builtin_prompt_sets()]


def test_the_built_in_one_has_every_kind():
    found = builtin_taxonomy()
    assert [concept.title for concept in found.concepts] == [
        "Weapons",
        "Dead or suffering animals",
        "Violence between people",
        "Symbols and gestures of hate",
        "Offensive text",
        "Nudity and voyeurism",
        "Self-harm",
        "Drugs",
        "Disaster and injury",
        "Disgust",
        "Other",
    ]
    assert found.concepts[found.other].name == "other"
    assert all(len(concept.prompts) >= 4 for concept in found.concepts)
