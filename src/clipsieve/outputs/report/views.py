"""What the page's template needs beside the records: bounded lists, and the words that depend on the figures."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from markupsafe import Markup

from clipsieve.legible import as_count, as_range, as_text
from clipsieve.outputs.report.charts import Segment, draw_bar, draw_interval, nice_limit
from clipsieve.outputs.report.clouds import Cloud, draw_cloud
from clipsieve.outputs.report.records import ClassFlags, Concept, Example, Figure, Report, Term, TermSection

__all__ = [
    "FAILURE_WORDS",
    "ClassRow",
    "Estimate",
    "ExampleGroup",
    "Words",
    "alt_text",
    "blocked_words",
    "class_rows",
    "concept_rows",
    "estimates",
    "example_groups",
    "fates",
    "figure_of",
    "has_pictures",
    "interval_words",
    "word_views",
]

MAX_CLASSES = 100
MAX_TERMS = 15
MAX_EXAMPLES = 120
MAX_THUMBNAIL_BYTES = 32_768
SIGNIFICANT = 0.05

_TAKES = {"share_confirmed": "flagged images", "precision": "flagged images drawn at random, or on all of them"}

FAILURE_WORDS = {
    "not_found": "was listed and is gone",
    "not_permitted": "may not be read by the user who scanned",
    "read_error": "could not be read for another reason",
    "too_many_bytes": "is larger than the scan allows, and was not read",
    "blocked": "is on the block list, and was never opened",
    "empty_file": "has 0 bytes",
    "not_an_image": "is in no format that is decoded",
    "truncated": "ends too early",
    "corrupt": "breaks the rules of its format, or of the file it stands in",
    "too_many_pixels": "has more pixels than the scan allows, and was not decoded",
    "out_of_memory": "needs more memory than a decoder may have",
    "timed_out": "was not decoded in time",
    "decoder_crashed": "ended the process that decoded it",
    "not_finite": "gave an embedding that is no number",
}


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class and its bar; `stands_out` if it is flagged clearly more often than the rest."""

    flags: ClassFlags
    bar: Markup
    stands_out: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share in words, and its drawing on an axis that ends at `limit`; none where it has no interval, or is not known."""

    title: str
    figure: Figure
    words: str
    drawing: Markup | None
    limit: float


@dataclass(frozen=True, slots=True)
class Words:
    """The terms of one field, and their picture."""

    section: TermSection
    cloud: Cloud | None
    picture: Markup | None

    @property
    def stand_out(self) -> tuple[Term, ...]:
        """The terms that are shown of those that are over-represented."""
        return self.section.terms[:MAX_TERMS]

    @property
    def frequent(self) -> tuple[Term, ...]:
        """The terms that are shown of the most frequent ones."""
        return self.section.frequent[:MAX_TERMS]


@dataclass(frozen=True, slots=True)
class ExampleGroup:
    """The examples of one concept, each with the address of its thumbnail, if it has one."""

    concept: str | None
    examples: tuple[tuple[Example, Markup | None], ...]


def figure_of(report: Report, figure_id: str) -> Figure:
    """Return a figure; one that is not known if the report has none of that id."""
    found = {figure.id: figure for figure in report.figures}
    return found.get(figure_id) or Figure(figure_id, None, "")


def interval_words(figure: Figure) -> str:
    """Return the interval of a share in words; nothing for a plain count."""
    if figure.low is None or figure.high is None or figure.confidence is None:
        return ""
    return f"{100 * figure.confidence:g}\N{NO-BREAK SPACE}% interval: {as_range(figure.low, figure.high)}"


def fates(report: Report) -> list[Segment]:
    """Return what became of the images that were listed; nothing if that is not known."""
    known = {name: figure_of(report, name).value for name in ("n_scored", "n_flagged", "n_review", "n_remove")}
    listed, failed = figure_of(report, "n_listed").value, figure_of(report, "n_failed").value
    if None in known.values() or listed is None or failed is None:
        return []
    counts = {name: int(value or 0) for name, value in known.items()}
    n_blocked = int(figure_of(report, "n_blocked").value or 0)
    not_scored = int(listed) - int(failed) - counts["n_scored"]
    found = [
        Segment("not flagged", counts["n_scored"] - counts["n_flagged"], "unflagged"),
        Segment("flagged, left to people", counts["n_review"], "flagged"),
        Segment("flagged, at or above the removal threshold", counts["n_remove"], "removed"),
        Segment("failed: the classifier has not seen them", int(failed) - n_blocked, "failed"),
        Segment("on the block list, never opened", n_blocked, "blocked"),
        Segment("not scored", not_scored, "failed"),
    ]
    return [segment for segment in found if segment.n > 0]


def estimates(report: Report) -> list[Estimate]:
    """Return the shares that people's verdicts tell of, on one axis each."""
    titles = {
        "share_confirmed": "Of the flagged images that people decided on, judged unwanted",
        "precision": "Of all flagged images, unwanted in people's eyes",
        "prevalence": "Of all scored images, unwanted in people's eyes",
        "recall": "Of the unwanted images, flagged",
    }
    found = []
    for figure_id, title in titles.items():
        figure = figure_of(report, figure_id)
        drawing, limit = None, nice_limit(figure.high or 0.0)
        if figure.value is not None and figure.low is not None and figure.high is not None:
            drawing = draw_interval(figure.value, figure.low, figure.high, limit=limit)
        found.append(Estimate(title, figure, _estimate_words(report, figure), drawing, limit))
    return found


def _estimate_words(report: Report, figure: Figure) -> str:
    """Return why a share has no interval, or no value."""
    if figure.low is not None:
        return ""
    n_scored, n_verdicts = (figure_of(report, name).value for name in ("n_scored", "n_verdicts"))
    if figure.value is None and n_scored and n_scored == n_verdicts:
        return "every scored image has a verdict, but people were unsure of some, or there is none to take a share of"
    if figure.value is None:
        return f"it takes verdicts on {_TAKES.get(figure.id, 'images drawn at random, flagged or not')}"
    if figure.id == "share_confirmed" and figure_of(report, "n_flagged_unreviewed").value:
        return "of these images alone: it does not speak for the other flagged ones"
    return "exact: people decided on every one"


def class_rows(report: Report) -> tuple[list[ClassRow], float]:
    """Return the first classes with their bars, and where the bars' axis ends."""
    shown = report.classes[:MAX_CLASSES]
    limit = nice_limit(max((each.high for each in shown), default=1.0))
    overall = figure_of(report, "share_flagged").value
    rows = []
    for each in shown:
        stands_out = each.q_value < SIGNIFICANT
        ink = "flagged" if stands_out else "unflagged"
        bar = draw_bar(each.share, ink, limit=limit, interval=(each.low, each.high), mark=overall)
        rows.append(ClassRow(each, bar, stands_out))
    return rows, limit


def concept_rows(report: Report) -> list[tuple[Concept, Markup]]:
    """Return the concepts with their bars, the fullest first and what is left over last."""
    concepts = report.taxonomy.concepts if report.taxonomy else ()
    order = sorted(concepts, key=lambda each: (each.is_other, -each.n))
    limit = nice_limit(max((each.share for each in concepts), default=1.0))
    inks = {True: "left-over", False: "concept"}
    return [(each, draw_bar(each.share, inks[each.is_other], limit=limit)) for each in order]


def word_views(report: Report) -> list[Words]:
    """Return the fields whose terms were counted, with a picture of each where there is one."""
    found = []
    for section in report.terms:
        cloud = draw_cloud(section)
        found.append(Words(section, cloud, None if cloud is None else _data_url("image/png", cloud.png)))
    return found


def example_groups(report: Report) -> list[ExampleGroup]:
    """Return the examples by concept, in the order of the concepts; what belongs to none comes last."""
    groups: dict[str | None, list[tuple[Example, Markup | None]]] = {
        concept.title: [] for concept, _ in concept_rows(report)
    }
    for example in report.examples[:MAX_EXAMPLES]:
        groups.setdefault(example.concept, []).append((example, _thumbnail(report, example)))
    order = sorted(groups, key=lambda concept: concept is None)
    return [ExampleGroup(concept, tuple(groups[concept])) for concept in order if groups[concept]]


def has_pictures(groups: list[ExampleGroup]) -> bool:
    """Return whether any of the examples has a thumbnail."""
    return any(picture is not None for group in groups for _, picture in group.examples)


def blocked_words(report: Report) -> str:
    """Return how many images are known files that were put on a list."""
    n = figure_of(report, "n_blocked").value
    are, were = ("is", "was") if n == 1 else ("are", "were")
    return f"{as_count(n)} {are} on the block list that was given to the scan, and {were} never opened."


def _thumbnail(report: Report, example: Example) -> Markup | None:
    content = example.thumbnail
    if not report.has_thumbnails or content is None or len(content) > MAX_THUMBNAIL_BYTES:
        return None
    return _data_url("image/webp", content)


def _data_url(kind: str, content: bytes) -> Markup:
    return Markup("data:{};base64,{}").format(kind, base64.b64encode(content).decode())


def alt_text(words: Words) -> str:
    """Return what a cloud shows, for those who do not see it."""
    first = ", ".join(as_text(term.term, 30) for term in words.section.terms[:5])
    n_drawn = words.cloud.n_drawn if words.cloud else 0
    return f"{as_count(n_drawn)} terms, the larger the more they stand out among the flagged: {first}, and so on"
