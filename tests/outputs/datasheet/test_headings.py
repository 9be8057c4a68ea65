"""Headings are those that a Markdown parser finds."""

import numpy as np
import pytest
from huggingface_hub import DatasetCard, DatasetCardData
from markdown_it import MarkdownIt

from clipsieve.outputs.datasheet.front_matter import split_front_matter
from clipsieve.outputs.datasheet.headings import find_headings

TEXTS = {
    "empty": "",
    "hashes": "# a\n## b ##\n   ### c #\n#### d #e\n##### \n###### f###\n####### g\n#h\n    # i\n",
    "underlined": "a\n=\nb\nc\n---\n\nd\n\n---\n\n    e\n---\nf\n  ===  \n",
    "no end of line": "x\n---",
    "other ends of lines": "# a\r\nb\r\n---\r\n",
    "a form feed ends no line": "x\x0c# a\n",
    "code": "```\n# a\n```\n~~~md\n# b\n```\n~~~\n# c\n``` d`\ne\n---\n",
    "code in a paragraph": "a\n```\n# b\n---\n```\n---\n",
    "lists": "- a\nb\n---\n\n- c\n\n  # d\n  e\n  ---\n\nf\n---\n1. g\n# h\n",
    "quotations": "> a\nb\n---\n> # c\n\nd\n---\n",
    "rules": "a\n***\nb\n---\n- - -\n***\n---\nc\n=\n",
    "comments": "<!-- # a -->\nb\n---\n<!--\n\n# c\n\n-->\n# d\n",
    "template": split_front_matter(DatasetCard.from_template(DatasetCardData()).content)[1],
}


def parsed(text: str) -> list[tuple[int, str, int]]:
    """Return level, words and first line of the headings on the top level."""
    tokens = MarkdownIt("commonmark").parse(text)
    opened = [(i, token) for i, token in enumerate(tokens) if token.type == "heading_open" and token.level == 0]
    return [(int(token.tag[1]), " ".join(tokens[i + 1].content.split()), token.map[0]) for i, token in opened]


def ours(text: str) -> list[tuple[int, str, int]]:
    return [
        (h.level, " ".join(h.title.split()), text[: h.start].replace("\r\n", "\n").count("\n"))
        for h in find_headings(text)
    ]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_they_are_those_of_a_parser(text):
    assert ours(text) == parsed(text)


def test_they_are_those_of_a_parser_in_texts_put_together_by_chance():
    rng = np.random.default_rng(5)
    lines = [
        "a",
        "b c",
        "# d",
        "## e ##",
        "---",
        "===",
        "",
        "",
        "```",
        "- f",
        "  g",
        "> h",
        "    i",
        "* * *",
        "<!-- j -->",
    ]
    for _ in range(400):
        text = "\n".join(rng.choice(lines, 12)) + "\n"
        assert ours(text) == parsed(text), text
