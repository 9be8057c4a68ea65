"""The prompt sets that come with the package."""

import pytest

from clipsieve.classifiers import builtin_prompt_set, builtin_prompt_set_text, builtin_prompt_sets, load_prompt_set

SETS = builtin_prompt_sets()


def test_the_papers_own_set_comes_first():
    assert [s.name for s in SETS] == [
        "positive-negative",
        "offensive",
        "pleasant-unpleasant",
        "praiseworthy-blameworthy",
    ]


@pytest.mark.parametrize(
    ("name", "wanted", "unwanted"),
    [
        ("positive-negative", "positive", "negative"),
        ("pleasant-unpleasant", "pleasant", "unpleasant"),
        ("praiseworthy-blameworthy", "praiseworthy", "blameworthy"),
    ],
)
def test_pairs_have_the_papers_sentence(name, wanted, unwanted):
    found = builtin_prompt_set(name)
    assert [found.texts(c) for c in found.classes] == [
        [f"This image is about something {wanted}"],
        [f"This image is about something {unwanted}"],
    ]
    assert [c.unwanted for c in found.classes] == [False, True]


def test_the_offensive_set_names_every_kind_of_the_definition():
    offensive = next(c for c in builtin_prompt_set("offensive").classes if c.unwanted)
    text = " ".join(offensive.prompts)
    for kind in (
        "law",
        "regulation",
        "code of conduct",
        "defamatory",
        "false",
        "abusive",
        "indecent",
        "obscene",
        "menacing",
    ):
        assert kind in text


@pytest.mark.parametrize("found", SETS, ids=lambda s: s.name)
def test_every_set_says_what_it_asks_and_works_as_a_file_of_ones_own(found, tmp_path):
    assert found.description.endswith("?")
    assert found.source
    path = tmp_path / f"{found.name}.toml"
    path.write_text(builtin_prompt_set_text(found.name), encoding="utf-8")
    assert load_prompt_set(path) == found
