"""How words reach a person: data on stdout, everything else on stderr, and no meaning in colour alone."""

from __future__ import annotations

import json
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = [
    "count",
    "emit_json",
    "labelled",
    "percent",
    "print_error",
    "print_note",
    "print_table",
    "print_text",
    "print_warning",
    "rate",
    "seconds",
    "size",
    "visible",
]

_WIDTH, _LABEL_WIDTH = 79, 10


def _console(*, stderr: bool) -> Console:
    # Made anew each time: the streams may have been replaced since the import. Rich itself obeys NO_COLOR and TERM.
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False, markup=False)


def print_error(message: str) -> None:
    """Print a whole error message on stderr; `error:` and `hint:` are coloured where colours are wanted."""
    text = Text()
    for line in visible(f"error: {message}").splitlines():
        word, colon, rest = line.partition(":")
        style = {"error": "bold red", "hint": "bold cyan"}.get(word)
        text.append(word + colon, style) if style and colon else text.append(word + colon)
        text.append(f"{rest}\n")
    _console(stderr=True).print(text, end="")


def print_warning(message: str) -> None:
    """Print one warning on stderr."""
    text = Text()
    text.append("warning:", "bold yellow")
    text.append(f" {visible(message)}")
    _console(stderr=True).print(text)


def print_note(message: str) -> None:
    """Print one line for people on stderr."""
    _console(stderr=True).print(Text(visible(message)))


def emit_json(value: object, *, lines: bool = False) -> None:
    """Print one JSON value on stdout: indented, or on a single line."""
    print(json.dumps(value, ensure_ascii=False, indent=None if lines else 2))


def print_table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table on stdout; a column is a heading and "left" or "right"."""
    table = Table(box=None, pad_edge=False, show_edge=False, title=title, title_justify="left", title_style="bold")
    for heading, justify in columns:
        table.add_column(
            heading, justify="right" if justify == "right" else "left", header_style="dim", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = _console(stderr=False)
    console.soft_wrap = False
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def print_text(text: str = "") -> None:
    """Print text on stdout as it is, but for characters that would steer the terminal."""
    sys.stdout.write(f"{visible(text)}\n")


def labelled(answers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield words beside their labels line by line, for a terminal of 80 columns; an empty label goes on with the one before."""
    for label, words in answers:
        wrapped = textwrap.wrap(words, _WIDTH - _LABEL_WIDTH, break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(wrapped):
            yield f"{'' if number else label:{_LABEL_WIDTH}}{line}"


def visible(text: str) -> str:
    r"""Return a text in which what could steer a terminal is spelled out: names come from other people's files.

    >>> visible("evil\x1b[31m"), visible("two\nlines")
    ('evil\\x1b[31m', 'two\nlines')
    """
    return "".join(repr(letter)[1:-1] if _steers(letter) else letter for letter in text)


def _steers(letter: str) -> bool:
    """Return whether a letter is a control character, or turns the direction of writing (Unicode's bidirectional controls)."""
    if letter in "\n\t":
        return False
    return unicodedata.category(letter) == "Cc" or "\u202a" <= letter <= "\u202e" or "\u2066" <= letter <= "\u2069"


def count(n: int, noun: str) -> str:
    """Return a number with its noun: "1 image", "1,204 images"."""
    plural = noun if n == 1 else (f"{noun}es" if noun.endswith("s") else f"{noun}s")
    return f"{n:,} {plural}"


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with one decimal."""
    return f"{100 * fraction:.1f} %"


def rate(n: float, elapsed_s: float) -> str:
    """Return images per second with three significant digits."""
    if elapsed_s <= 0:
        return "-"
    value = n / elapsed_s
    return f"{value:,.0f} images/s" if value >= 100 else f"{value:.3g} images/s"


def seconds(elapsed_s: float) -> str:
    """Return a duration as a person would say it: "0.8 s", "42 s", "3 min 5 s", "2 h 10 min"."""
    if elapsed_s < 10:
        return f"{elapsed_s:.1f} s"
    if elapsed_s < 100:
        return f"{elapsed_s:.0f} s"
    minutes, rest = divmod(round(elapsed_s), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def size(n_bytes: int) -> str:
    """Return a number of bytes with three significant digits: "812 B", "4.21 MB", "1.2 TB"."""
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
