import pytest
from markupsafe import escape

from clipsieve.legible import (
    as_compact,
    as_name,
    as_percent,
    as_q_value,
    as_range,
    as_share,
    as_text,
)
from report_records import HOSTILE


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_is_one_isolated_piece_of_text_without_markup_of_its_own(text):
    shown = str(as_name(text))
    assert shown.startswith('<bdi class="name">')
    assert shown.endswith("</bdi>")
    inside = shown.removeprefix('<bdi class="name">').removesuffix("</bdi>")
    inside = inside.replace('<span class="esc">', "").replace("</span>", "")
    assert "<" not in inside
    assert len(as_text(text)) <= 120 + 40  # a few letters are spelled out


def test_what_does_not_print_is_spelled_out_and_nothing_else_is():
    assert as_text("a\x00b\nc\x1b[31m\u202ed\u2028e\ud800f\ufffe") == r"a\x00b\nc\x1b[31m\u202ed\u2028e\ud800f\ufffe"
    hidden = "a\u200bb\ufeffc\u00add\u2060e\U000e0041f\u3164g\u115fh\u034fi\u200dj\u200ck\ufe0fl \ufe0fm"
    assert as_text(hidden) == hidden.encode("unicode_escape").decode()
    assert as_text("🔪\ufe0f\ufe0e") == "🔪\ufe0f\\ufe0e"  # a second selector would only hide something
    untouched = "é 日本語 שלום مرحبا ไม่ e\u0301 👩\u200d🚀 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 می\u200cشود क्\u200dष"
    assert as_text(untouched) == untouched
    assert as_text("葛\U000e0100 \u0600\u0661") == "葛\U000e0100 \u0600\u0661"
    as_name("\ud800\udfff").encode("utf-8")  # what lone surrogates cannot


@pytest.mark.parametrize(
    ("name", "shown"), [("  ", r"\x20\x20"), ("", "(empty)"), ("\u3000\u00a0", r"\u3000\xa0"), ("\u2800", r"\u2800")]
)
def test_a_name_without_ink_is_spelled_out(name, shown):
    assert as_name(name) == f'<bdi class="name"><span class="esc">{shown}</span></bdi>'


def test_a_number_is_not_rounded_to_one():
    values = (0.5, 0.1234567, 0.9999999, 0.99999999999999989, 1.0, 0.0, 1e-7, 1234567.0)
    shown = ["0.5", "0.123457", "0.9999999", "0.9999999999999999", "1", "0", "0.0000001", "1.23457e+06"]
    assert [as_share(value) for value in values] == shown


def test_marks_on_marks_do_not_climb_out_of_the_line():
    assert as_text("a" + "\u0301" * 100 + "b") == "a" + "\u0301" * 4 + "b"


def test_a_long_name_is_cut_and_says_so():
    assert as_text("x" * 120) == "x" * 120
    assert as_text("x" * 121) == "x" * 119 + "…"
    assert as_name(None) == ""
    assert escape(as_name("<b>")) == as_name("<b>")  # markup already


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (1, "100 %"), (0.9999, "> 99.9 %"), (1e-9, "< 0.001 %"), (0.10449, "10.4 %"), (0.0012, "0.12 %")],
)
def test_percentages_never_round_some_to_none_or_most_to_all(share, words):
    assert plain(as_percent(share)) == words
    assert as_percent(None) == "not known"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.4, 0.7, "40.0 % to 70.0 %"),
        (0.0179, 0.0184, "1.79 % to 1.84 %"),
        (0.0, 0.03, "0 % to 3.0 %"),
        (0.5, 0.5, "50.0 % to 50.0 %"),
        (0.999911, 0.999951, "99.991 % to 99.995 %"),
    ],
)
def test_the_ends_of_an_interval_can_be_told_apart(low, high, words):
    assert plain(as_range(low, high)) == words


def test_tiny_q_values_and_counts_on_axes_are_short():
    assert [plain(as_q_value(q)) for q in (0, 1e-20, 0.0123, 0.25, 1)] == [
        "< 0.001",
        "< 0.001",
        "0.012",
        "0.25",
        "1.00",
    ]
    assert [as_compact(n) for n in (0, 50, 1000, 2500, 1e6, 2e9)] == ["0", "50", "1k", "2.5k", "1M", "2G"]
