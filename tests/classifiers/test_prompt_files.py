"""Prompt files that people write: read as they stand, or refused with what to mend."""

import pytest

from clipsieve.classifiers import builtin_prompt_set, load_prompt_set
from clipsieve.errors import PromptSetError

GOOD = """
templates = ["This image is about something {}"]

[[classes]]
name = "wanted"
prompts = ["nice", "kind"]

[[classes]]
name = "unwanted"
prompts = ["nasty"]
unwanted = true
"""


def load(tmp_path, text):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "mine.toml").write_bytes(content)
    return load_prompt_set(tmp_path / "mine.toml")


def refusal(tmp_path, text):
    with pytest.raises(PromptSetError) as caught:
        load(tmp_path, text)
    assert "mine.toml" in caught.value.what
    return str(caught.value)


def test_a_file_says_what_it_says(tmp_path):
    found = load(tmp_path, GOOD)
    assert (found.name, found.templates) == ("mine", ("This image is about something {}",))
    assert [(c.name, c.prompts, c.unwanted) for c in found.classes] == [
        ("wanted", ("nice", "kind"), False),
        ("unwanted", ("nasty",), True),
    ]


def test_without_templates_a_prompt_stands_alone(tmp_path):
    found = load(tmp_path, GOOD.replace("templates", "# templates"))
    assert found.texts(found.classes[0]) == ["nice", "kind"]


@pytest.mark.parametrize("change", [lambda t: b"\xef\xbb\xbf" + t, lambda t: t.replace(b"\n", b"\r\n")])
def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path, change):
    assert load(tmp_path, change(GOOD.encode())) == load(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("templates", "template", "templates"),
        ("unwanted = ", "unwnted = ", "unwanted"),
        ("prompts", "promts", "prompts"),
    ],
)
def test_a_typo_in_a_key_is_answered_with_the_key_that_was_meant(tmp_path, old, new, meant):
    assert f"hint: did you mean `{meant}`?" in refusal(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('["nasty"]', '"nasty"', "class 2: `prompts` is missing or no list of texts"),
        ('["nasty"]', "[]", "class 2: `prompts`"),
        ('["nasty"]', '[" "]', "class 2: `prompts`"),
        ('["nasty"]', "[5]", "class 2: `prompts`"),
        ('["nasty"]', '["nasty", "nasty"]', "says something twice"),
        ('["nasty"]', '["nice"]', "two classes share a prompt"),
        ('name = "unwanted"', "", "class 2: `name` is missing"),
        ('name = "unwanted"', 'name = "wanted"', "two classes have the same name"),
        ("unwanted = true", "unwanted = 1", "class 2: `unwanted` is no truth value"),
        ("unwanted = true", "", "no class, or every class, is unwanted"),
        ('"wanted"', '"wanted"\nunwanted = true', "no class, or every class, is unwanted"),
        ("something {}", "something", "does not say where the prompt goes"),
        ("something {}", "{} and {}", "exactly one `{}`"),
        ("[[classes]]", "[[other]]", "unknown key `other`"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_expected(tmp_path, old, new, words):
    assert words in refusal(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "`classes` is missing"),
        ("classes = 5", "no list of tables"),
        (GOOD.split("[[classes]]", maxsplit=1)[0] + "[[classes]]" + GOOD.split("[[classes]]")[2], "too few classes"),
        ("templates = [", "is not TOML"),
        ('name = "a"\nname = "b"', "is not TOML"),
        ('name = "a"\nsource = nobody', "line 2, column 10"),
        ("a = " + "[" * 5000 + "]" * 5000, "is not TOML"),
        ("a = " + "9" * 10_000, "is not TOML"),
        (GOOD.encode("utf-16"), "is not UTF-8"),
        (GOOD.replace("nasty", "naïve").encode("latin-1"), "a wrong byte at"),
        (b"#" * (1024**2 + 1), "at most 1,048,576 bytes"),
    ],
    ids=[
        "empty",
        "no tables",
        "1 class",
        "broken",
        "same key",
        "no quotes",
        "too deep",
        "long number",
        "UTF-16",
        "Latin-1",
        "large",
    ],
)
def test_what_is_no_prompt_file_is_refused(tmp_path, text, words):
    assert words in refusal(tmp_path, text)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(PromptSetError, match="cannot read the prompt file"):
        load_prompt_set(tmp_path / name)


@pytest.mark.parametrize("name", ["unknown", "", "../errors", "positive-negative.toml"])
def test_an_unknown_name_is_answered_with_the_names_there_are(name):
    with pytest.raises(PromptSetError, match="`positive-negative`"):
        builtin_prompt_set(name)
