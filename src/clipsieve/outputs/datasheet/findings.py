"""What was found, in sentences that change with the figures."""

from __future__ import annotations

import re

from clipsieve.outputs.datasheet.cited import Cited, Piece, inflect
from clipsieve.outputs.datasheet.rows import concept_row

__all__ = [
    "class_lines",
    "class_words",
    "concept_lines",
    "concept_words",
    "estimate",
    "flags",
    "short_answer",
    "verdicts",
]

MAX_CLASSES = 5
MAX_CONCEPTS = 15


def short_answer(cited: Cited) -> Piece:
    """Return the answer in one or two sentences: what people said counts before what a machine flagged."""
    unwanted, unsure = (cited.known(f"figures/n_verdicts_{verdict}") for verdict in ("unwanted", "unsure"))
    if unwanted:
        return cited.say(
            "{answer} People judged {n} unwanted.",
            answer=cited.strong("Yes."),
            n=cited.count("figures/n_verdicts_unwanted", "image"),
        )
    if unsure:
        return cited.say(
            "{answer} People judged {unwanted} unwanted; of {n} they were unsure, or they differed.",
            answer=cited.strong("Possibly."),
            unwanted=cited.count("figures/n_verdicts_unwanted", "image"),
            n=cited.number("figures/n_verdicts_unsure"),
        )
    if not cited.known("figures/n_scored"):
        return cited.say(
            "{answer} The classifier could score {n}.",
            answer=cited.strong("Not known."),
            n=cited.count("figures/n_scored", "image"),
        )
    return _none_unwanted(cited)


def _none_unwanted(cited: Cited) -> Piece:
    """Return the answer where nobody has judged an image unwanted: it depends on how much people have looked at."""
    n_open = cited.known("figures/n_flagged_unreviewed")
    if cited.known("figures/n_flagged") and not cited.known("figures/n_flagged_reviewed"):
        return cited.say(
            "{answer} A classifier flagged {n}; nobody has looked at what it flagged.",
            answer=cited.strong("Possibly."),
            n=cited.count("figures/n_flagged", "image"),
        )
    if n_open:
        return cited.say(
            "{answer} A classifier flagged {n}, and nobody has looked at {unseen} of them.",
            answer=cited.strong("Possibly."),
            n=cited.count("figures/n_flagged", "image"),
            unseen=cited.number("figures/n_flagged_unreviewed"),
        )
    if n_unflagged_unseen(cited) <= 0:
        return cited.say(
            "{answer} People have given a verdict on {n}, every one that could be scored, and judged {unwanted} unwanted. Others "
            "may judge differently.",
            answer=cited.strong("Not in the judgement of those who looked."),
            n=cited.count("figures/n_verdicts", "image"),
            unwanted=cited.number("figures/n_verdicts_unwanted"),
        )
    if not cited.known("figures/n_flagged"):
        return cited.say(
            "{answer} A classifier flagged {n}, but classifiers miss some of what people would object to.",
            answer=cited.strong("Not known."),
            n=cited.count("figures/n_flagged", "image"),
        )
    return cited.say(
        "{answer} A classifier flagged {n}. People have looked at all that it flagged, and judged {unwanted} unwanted. That says "
        "little about the images without a flag.",
        answer=cited.strong("Not known for the whole of it."),
        n=cited.count("figures/n_flagged", "image"),
        unwanted=cited.number("figures/n_flagged_confirmed"),
    )


def n_unflagged_unseen(cited: Cited) -> float:
    """Return how many images without a flag nobody has looked at; for choosing words by."""
    scored, flagged, seen = (
        cited.known(f"figures/{name}").value for name in ("n_scored", "n_flagged", "n_unflagged_reviewed")
    )
    return scored - flagged - seen


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


def verdicts(cited: Cited) -> Piece:
    """Return what people said, of flagged images and of others."""
    if not cited.known("figures/n_verdicts"):
        return cited.say(
            "People have given a verdict on {n}: the flags are the opinion of a machine alone.",
            n=cited.count("figures/n_verdicts", "image"),
        )
    whole = cited.say(
        "People have given a verdict on {n}, and judged {unwanted} unwanted.",
        n=cited.count("figures/n_verdicts", "image"),
        unwanted=cited.number("figures/n_verdicts_unwanted"),
    )
    return cited.join([whole, _unsure(cited), _flagged_verdicts(cited), _unflagged_verdicts(cited)])


def _unsure(cited: Cited) -> Piece:
    if not cited.known("figures/n_verdicts_unsure"):
        return cited.say("")
    return cited.say(
        "On {n} they were unsure, or differed.", n=cited.count("figures/n_verdicts_unsure", "further image")
    )


def _flagged_verdicts(cited: Cited) -> Piece:
    if not cited.known("figures/n_flagged"):
        return cited.say("")
    n_seen = cited.number("figures/n_flagged_reviewed")
    if not cited.known("figures/n_flagged_reviewed"):
        return cited.say("Of the flagged images, {n} have one.", n=n_seen)
    if not cited.known("figures/n_flagged_unreviewed"):
        seen = cited.say("Every flagged image has a verdict ({n}).", n=n_seen)
    else:
        seen = cited.say(
            "Of the flagged images, {seen} {have} a verdict; nobody has looked at the other {unseen}.",
            seen=n_seen,
            have=inflect(cited.known("figures/n_flagged_reviewed"), "has", "have"),
            unseen=cited.number("figures/n_flagged_unreviewed"),
        )
    if not cited.known("figures/share_confirmed").is_known:
        return seen
    confirmed = cited.say(
        "Of the flagged images with a verdict, {n}, or {share}, {were} judged unwanted; that speaks for the other flagged images "
        "only if those with a verdict were drawn at random.",
        n=cited.number("figures/n_flagged_confirmed"),
        share=cited.share("figures/share_confirmed"),
        were=inflect(cited.known("figures/n_flagged_confirmed"), "was", "were"),
    )
    return cited.join([seen, confirmed])


def _unflagged_verdicts(cited: Cited) -> Piece:
    seen = cited.known("figures/n_unflagged_reviewed")
    if not seen and n_unflagged_unseen(cited) <= 0:
        return cited.say("")
    if not seen:
        return cited.say(
            "Of the images without a flag, people have looked at {n}.", n=cited.number("figures/n_unflagged_reviewed")
        )
    rest = "" if n_unflagged_unseen(cited) <= 0 else " Nobody has looked at the others."
    return cited.say(
        "Of the images without a flag, people have looked at {n}, and judged {unwanted} unwanted." + rest,
        n=cited.number("figures/n_unflagged_reviewed"),
        unwanted=cited.number("figures/n_unflagged_unwanted"),
    )


def estimate(cited: Cited) -> Piece:
    """Return how much of the data set is unwanted, if a random sample was judged."""
    if not cited.known("figures/prevalence").is_known:
        unknown = cited.say(
            "How much of the data set people would judge unwanted is not known; the share of flagged images is no estimate of it."
        )
        return cited.join([unknown, _notes_on_sample(cited)])
    found = cited.say(
        "From verdicts on a random sample it is estimated that people would judge {share} of the scored images unwanted.",
        share=cited.share("figures/prevalence"),
    )
    if not cited.known("figures/recall").is_known:
        unknown = cited.say("Which part of those is flagged is not known.")
        return cited.join([found, unknown, _notes_on_sample(cited)])
    recall = cited.say(
        "The share of those that is flagged is estimated at {share}.", share=cited.share("figures/recall")
    )
    return cited.join([found, recall, _notes_on_sample(cited)])


def _notes_on_sample(cited: Cited) -> Piece:
    """Return what the report says of the estimate, or of why there is none."""
    limits = enumerate(cited.report.limits)
    found = [cited.quote(f"limits/{i}") for i, limit in limits if re.search(r"\b(sample|estimated)\b", limit)]
    return cited.say("The report notes: {found}", found=cited.join(found)) if found else cited.say("")


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
    """Return how many classes are flagged more often than the rest."""
    if not cited.known("figures/n_classes"):
        return cited.say("The source has no classes, so nothing is said of single ones.")
    over = cited.known("figures/n_classes_over")
    several = " The clearest are:" if over.value > MAX_CLASSES else " They are:"
    introduction = "" if not over else " It is:" if over.value == 1 else several
    return cited.say(
        "Of {classes}, {over} {are} flagged more often than the rest of the data set, after correction for the number of "
        "classes ({work})." + introduction,
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
