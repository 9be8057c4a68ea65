"""The YAML in front of a data set card: one tag is added, and every other byte stays as it is."""

from __future__ import annotations

import re

from clipsieve.errors import UsageError

__all__ = ["add_tag", "has_tag", "split_front_matter"]

_FENCE = re.compile(r"\A(?:\ufeff)?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^tags:[ \t]*(?:#.*)?(\r?\n)(?P<items>(?:(?:[ \t]*(?:- .*|#.*)?)\r?\n)*)", re.MULTILINE)
_EMPTY = re.compile(r"^\{[ \t]*\}[ \t]*(?=\r?$)", re.MULTILINE)  # what the hub's template holds before anybody fills it
_OTHER = re.compile(r"^(?:['\"]?tags['\"]?[ \t]*:|\{)", re.MULTILINE)
_FLOW = re.compile(r"^tags:[ \t]*\[(?P<items>[^\[\]{}#]*)\][ \t]*(?:#.*)?$", re.MULTILINE)


def split_front_matter(card: str) -> tuple[str, str]:
    """Return the front matter with its fences, empty if there is none, and the rest."""
    found = _FENCE.match(card)
    return (card[: found.end()], card[found.end() :]) if found else ("", card)


def has_tag(front_matter: str, tag: str) -> bool:
    """Return whether a tag stands in the list of tags."""
    block, flow = _BLOCK.search(front_matter), _FLOW.search(front_matter)
    items: list[str] = []
    if flow:
        items = flow["items"].split(",")
    elif block:
        items = [line.strip().removeprefix("- ") for line in block["items"].splitlines()]
    return tag in (item.partition(" #")[0].strip().strip("'\"") for item in items)


def add_tag(card: str, tag: str) -> str:
    """Return a card with a tag in the `tags` of its front matter, which is made if there is none.

    Raises
    ------
    UsageError
        If `tags` is written in a way that only a YAML parser could change.
    """
    front_matter, body = split_front_matter(card)
    if not front_matter:
        return f"---\ntags:\n- {tag}\n---\n\n{body}" if body else f"---\ntags:\n- {tag}\n---\n"
    return _with_tag(front_matter, tag) + body


def _with_tag(front_matter: str, tag: str) -> str:
    if has_tag(front_matter, tag):
        return front_matter
    flow, block = _FLOW.search(front_matter), _BLOCK.search(front_matter)
    if flow:
        end = flow.end("items")
        return f"{front_matter[:end].rstrip()}{', ' if flow['items'].strip() else ''}{tag}{front_matter[end:]}"
    newline = "\r\n" if "\r\n" in front_matter else "\n"
    if block:
        first = re.match(r"(?:[ \t]*(?:#.*)?\r?\n)*([ \t]*)- ", block["items"])
        at = block.start("items")
        return f"{front_matter[:at]}{first[1] if first else ''}- {tag}{newline}{front_matter[at:]}"
    if _EMPTY.search(front_matter):
        return _EMPTY.sub(f"tags:{newline}- {tag}", front_matter, count=1)
    if _OTHER.search(front_matter):
        raise UsageError(
            f"cannot add the tag `{tag}` to the card",
            expected="`tags:` as a list, one on each line or in brackets on one line",
            state="nothing was changed",
            hint=f"add `{tag}` to its tags by hand, then give the same command again",
        )
    end = front_matter.rindex("---")
    return f"{front_matter[:end]}tags:{newline}- {tag}{newline}{front_matter[end:]}"
