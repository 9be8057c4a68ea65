"""What another person needs to repeat a report, laid out: tables within tables, of bounded size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from clipsieve.legible import as_name, as_share, as_text

__all__ = ["commands_of", "is_promised_elsewhere", "lay_out", "method_cards"]

MAX_CHARS = 300
MAX_ITEMS = 40
MAX_DEPTH = 5
MAX_VALUES = 1500
MAX_COMMANDS = 30
_HASH = re.compile(r"[0-9a-f]{32,128}")
_MORE = Markup('<li class="more">and {:,} more in <code>report.json</code></li>')


def commands_of(method: Mapping[str, Any]) -> list[str]:
    """Return the commands to give again, one a line, with what does not print spelled out."""
    found = method.get("commands")
    lines = found if isinstance(found, list | tuple) else []
    return [as_text(str(line), 2000) for line in lines[:MAX_COMMANDS]]


def method_cards(method: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Return each part of the method but the commands: its name, and its values as HTML."""
    budget = _Budget(MAX_VALUES)
    parts = [(name, value) for name, value in method.items() if name != "commands"][:MAX_ITEMS]
    return [(_heading(str(name)), lay_out(value, budget)) for name, value in parts]


def _heading(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def is_promised_elsewhere(method: Mapping[str, Any]) -> bool:
    """Return whether the classifier's file says that its thresholds were chosen on rated images, for whatever run."""
    found: object = method
    for key in ("classifier", "provenance", "operating_points"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return isinstance(found, list | tuple) and len(found) > 0


class _Budget:
    """How many values may still be shown, in all tables together."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0


def lay_out(value: Any, budget: _Budget | None = None, depth: int = 0) -> Markup:  # noqa: ANN401 - whatever JSON takes
    """Return a value as HTML: a table of names and values, a list, or a piece of text; the rest is only counted."""
    budget = budget or _Budget(MAX_VALUES)
    if not budget.take() or (depth >= MAX_DEPTH and isinstance(value, Mapping | list | tuple)):
        return Markup('<span class="more">in <code>report.json</code></span>')
    if isinstance(value, Mapping):
        return _table(value, budget, depth)
    if isinstance(value, list | tuple):
        return _list(value, budget, depth)
    return _one(value)


def _table(value: Mapping[str, Any], budget: _Budget, depth: int) -> Markup:
    rows = [
        Markup("<div{}><dt>{}</dt><dd>{}</dd></div>").format(
            Markup(' class="deep"') if isinstance(each, Mapping) or _is_hash(each) else "",
            as_name(str(name).replace("_", " ")),
            lay_out(each, budget, depth + 1),
        )
        for name, each in list(value.items())[:MAX_ITEMS]
    ]
    n_more = len(value) - MAX_ITEMS
    more = Markup('<div class="more">and {:,} more in <code>report.json</code></div>').format(n_more)
    return Markup("<dl>{}{}</dl>").format(Markup("").join(rows), more if n_more > 0 else "")


def _list(value: Sequence[Any], budget: _Budget, depth: int) -> Markup:
    if not value:
        return Markup('<span class="none">none</span>')
    items = [Markup("<li>{}</li>").format(lay_out(each, budget, depth + 1)) for each in value[:MAX_ITEMS]]
    n_more = len(value) - MAX_ITEMS
    return Markup("<ul>{}{}</ul>").format(Markup("").join(items), _MORE.format(n_more) if n_more > 0 else "")


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _one(value: object) -> Markup:
    if value is None:
        return Markup('<span class="none">none</span>')
    if isinstance(value, bool):
        return escape("yes" if value else "no")
    if isinstance(value, int):
        return Markup("{:,}").format(value)
    text = as_share(value) if isinstance(value, float) else str(value)
    if _is_hash(text):
        return Markup("<code class=hash>{}</code>").format(text)
    return as_name(text, MAX_CHARS)
