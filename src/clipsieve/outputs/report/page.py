"""The report as a page: one HTML file that needs nothing else, and that nothing in a data set's names can change."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from clipsieve import legible
from clipsieve.outputs.report import views
from clipsieve.outputs.report.charts import draw_strip
from clipsieve.outputs.report.histogram import draw_histogram
from clipsieve.outputs.report.method_tree import commands_of, is_promised_elsewhere, method_cards
from clipsieve.outputs.report.records import Report

if TYPE_CHECKING:
    from jinja2 import Template
else:  # annotations are checked at run time by the tests, and nobody who renders nothing loads the library
    Template = Any

__all__ = ["render_page"]

SOURCE_WORDS = {
    "folder": "A folder of images",
    "webdataset": "Tar files in the layout of WebDataset",
    "table": "A table",
    "huggingface": "A Hugging Face data set",
    "embeddings": "Embeddings that were computed elsewhere",
}
_WIDE_PX, _NARROW_PX = 820.0, 320.0  # the histogram is drawn for both, and the page shows the one that fits


def render_page(report: Report) -> str:
    """Return the report as one HTML file.

    It loads nothing from anywhere and its content security policy forbids that; it can be read without JavaScript, in light and
    dark, on a phone and on paper. Thumbnails are covered until a person asks for them. What is shown is bounded, whatever
    the size of the data set; the tables beside the report hold the rest.

    Parameters
    ----------
    report : Report
        Names in it may hold anything.
    """
    from markupsafe import Markup

    style, script = _asset("page.css"), _asset("page.js")
    text: str = _template().render(
        report=report,
        figure=lambda figure_id: views.figure_of(report, figure_id),
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704
        policy=_policy(style, script),
        made=_date(report.made),
        source=SOURCE_WORDS.get(report.source_kind, report.source_kind),
        histograms=_histograms(report),
        strip=draw_strip(views.fates(report)),
        rows=views.class_rows(report),
        views=views,
        commands=commands_of(report.method),
        cards=method_cards(report.method),
        is_promised_elsewhere=is_promised_elsewhere(report.method),
    )
    return text


def _histograms(report: Report) -> list[Any]:
    sizes = {"wide": _WIDE_PX, "narrow": _NARROW_PX}
    return [
        draw_histogram(report.histogram, report.threshold, report.remove_threshold, key=key, width=width)
        for key, width in sizes.items()
    ]


@lru_cache(maxsize=8)
def _asset(name: str) -> str:
    text = files("clipsieve.outputs.report").joinpath(name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")  # as browsers do before they compare the hash


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {
        "count": legible.as_count,
        "percent": legible.as_percent,
        "share": legible.as_share,
        "q_value": legible.as_q_value,
        "name": legible.as_name,
        "text": legible.as_text,
        "interval": views.interval_words,
    }
    return page.from_string(_asset("page.html.j2"))


def _policy(style: str, script: str) -> str:
    """Return what the page may do: show its own pictures, its one style sheet and its one script, and nothing else.

    Content Security Policy Level 3, section 2.3.1: an inline element is known by the hash of its text.
    """
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _date(made: str) -> str:
    """Return a time of ISO 8601 as a person would write it; anything else as it is."""
    try:
        when = datetime.fromisoformat(made).astimezone(UTC)
    except ValueError:
        return made
    return f"{when.day} {when:%B %Y, %H:%M} UTC"
