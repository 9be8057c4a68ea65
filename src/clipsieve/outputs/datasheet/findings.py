"""What the classifier found, in sentences that change with the figures."""

from __future__ import annotations

from clipsieve.outputs.datasheet.cited import Cited, Piece, inflect
from clipsieve.outputs.datasheet.rows import concept_row

__all__ = ["class_lines", "class_words", "concept_lines", "concept_words", "flags"]

MAX_CLASSES = 5
MAX_CONCEPTS = 15


def flags(cited: Cited) -> Piece:
    """Return how many images have a probability, and how many are flagged."""
    scored, flagged = cited.known("figures/n_scored"), cited.known("figures/n_flagged")
    found = cited.say(
        "Of {listed} in the data set, {scored} {has} a probability of being unwanted. Of those, {flagged} {are} flagged: at or "
        "above the threshold of {threshold}.",
        listed=cited.count("figures/n_listed", "image"),
        scored=cited.number("figures/n_scored"),
        has=inflect(scored, "has", "have"),
        flagged=cited.number("figures/n_flagged"),
        are=inflect(flagged, "is", "are"),
        threshold=cited.level("threshold"),
    )
    if not cited.known("figures/share_flagged").is_known:
        return found
    share = cited.say(
        "That is {share} of the scored images; of this data set the share is exact, and the interval is about the population "
        "that its images were drawn from.",
        share=cited.share("figures/share_flagged"),
    )
    return cited.join([found, share])


def concept_words(cited: Cited) -> Piece:
    """Return how the flagged images were sorted by what they show, or why they were not; nothing if none is flagged."""
    taxonomy = cited.report.taxonomy
    if not cited.known("figures/n_flagged"):
        return cited.say("")
    if taxonomy is None:
        return cited.say("The flagged images were not sorted by what they show.")
    if taxonomy.problem is not None:
        return cited.say(
            "The flagged images could not be sorted by what they show: {problem}.",
            problem=cited.quote("taxonomy/problem"),
        )
    return cited.say(
        "A machine sorted the flagged images by what they seem to show, by comparing them with the words of the taxonomy "
        "{name}. An image counts for a concept if that is more probable than the next one by at least {margin}, and for "
        "what is left over otherwise. The list is a hint at what is there, no finding about any single image.",
        name=cited.name(taxonomy.name),
        margin=cited.level("taxonomy/min_margin"),
    )


def concept_lines(cited: Cited) -> list[Piece]:
    """Return a line for each concept, in the order of the taxonomy's file."""
    taxonomy = cited.report.taxonomy
    if taxonomy is None or taxonomy.problem is not None or not cited.known("figures/n_flagged"):
        return []
    lines = [_concept_line(cited, position) for position in range(len(taxonomy.concepts[:MAX_CONCEPTS]))]
    if len(taxonomy.concepts) > MAX_CONCEPTS:
        lines.append(cited.say("The others stand in `report.json`, under `taxonomy/concepts`."))
    return lines


def _concept_line(cited: Cited, position: int) -> Piece:
    assert cited.report.taxonomy is not None, "only a taxonomy has concepts"  # noqa: S101
    concept, path = cited.report.taxonomy.concepts[position], concept_row(cited.report, position)
    title = cited.title(concept.title)
    if concept.n == 0:
        return cited.say("{name}: {n}", name=title, n=cited.number(path, "n"))
    noun = "image" if concept.n == 1 else "images"
    template, fields = f"{{name}}: {{count_n}} {noun}, {{share}} of the flagged", {"count_n": "n", "share": "share"}
    if concept.median_margin is not None:
        template, fields = f"{template}, by a median margin of {{level}}", fields | {"level": "median_margin"}
    if concept.is_other and concept.n_too_close:
        were = "was" if concept.n_too_close == 1 else "were"
        template = f"{template}; {{count_close}} of them {were} nearer to another concept, but not by enough"
        fields |= {"count_close": "n_too_close"}
    return cited.several(path, template, title, **fields)


def class_words(cited: Cited) -> Piece:
    """Return how many classes are flagged clearly more often than the rest."""
    if not cited.known("figures/n_classes"):
        return cited.say("The source has no classes, so nothing is said of single ones.")
    over = cited.known("figures/n_classes_over")
    several = " The clearest are:" if over.value > MAX_CLASSES else " They are:"
    introduction = "" if not over else " It is:" if over.value == 1 else several
    return cited.say(
        "Of {classes}, {over} {are} flagged clearly more often than the rest of the data set: by a test that was corrected for "
        "the number of classes ({work}), at a false discovery rate of five percent. That the others are flagged as often as "
        "the rest does not follow." + introduction,
        classes=cited.count("figures/n_classes", "class", "classes"),
        over=cited.number("figures/n_classes_over"),
        are=inflect(over, "is", "are"),
        work=cited.work("classes"),
    )


def class_lines(cited: Cited) -> list[Piece]:
    """Return a line for each of the classes that are most clearly flagged more often than the rest."""
    n_over = int(cited.known("figures/n_classes_over").value)
    return [
        cited.several(
            f"classes/{i}",
            "{name}: {count_flagged} of {count_scored} images, {share} (interval: {share_low} to {share_high})",
            cited.name(found.label),
            count_flagged="n_flagged",
            count_scored="n_scored",
            share="share",
            share_low="low",
            share_high="high",
        )
        for i, found in enumerate(cited.report.classes[: min(n_over, MAX_CLASSES)])
    ]
