"""What people said of images, and what follows from it for the others, in sentences that change with the figures."""

from __future__ import annotations

import re

from clipsieve.outputs.datasheet.cited import Cited, Piece, inflect

__all__ = ["estimate", "n_unflagged_unseen", "verdicts"]

# The limits of a report that say why there is an estimate, or none.
_ON_SAMPLE = re.compile(r"\b(?:sample|estimated|strata)\b|\bevery scored image\b", re.IGNORECASE)


def n_unflagged_unseen(cited: Cited) -> float:
    """Return how many images without a flag nobody has looked at; for choosing words by."""
    scored, flagged, seen = (
        cited.known(f"figures/{name}").value for name in ("n_scored", "n_flagged", "n_unflagged_reviewed")
    )
    return scored - flagged - seen


def n_unseen(cited: Cited) -> float:
    """Return how many scored images nobody has looked at; for choosing words by."""
    return cited.known("figures/n_scored").value - cited.known("figures/n_verdicts").value


def verdicts(cited: Cited) -> Piece:
    """Return what people said, of flagged images and of others."""
    if not cited.known("figures/n_verdicts"):
        none = cited.say(
            "People have given a verdict on {n}"
            + (" with a probability" if cited.known("figures/n_unscored_reviewed") else "")
            + ": the flags are the opinion of a machine alone.",
            n=cited.count("figures/n_verdicts", "image"),
        )
        return cited.join([none, _unscored_verdicts(cited)])
    whole = cited.say(
        "People have given a verdict on {n}, and judged {unwanted} unwanted.",
        n=cited.count("figures/n_verdicts", "image"),
        unwanted=cited.number("figures/n_verdicts_unwanted"),
    )
    parts = (_unsure, _flagged_verdicts, _confirmed, _unflagged_verdicts, _unscored_verdicts)
    return cited.join([whole, *(part(cited) for part in parts)])


def _unsure(cited: Cited) -> Piece:
    if not cited.known("figures/n_verdicts_unsure"):
        return cited.say("")
    return cited.say(
        "On {n} of these they were unsure, or differed.", n=cited.count("figures/n_verdicts_unsure", "image")
    )


def _unscored_verdicts(cited: Cited) -> Piece:
    """Return what people said of images that no figure of the classifier is about."""
    if not cited.known("figures/n_unscored_reviewed"):
        return cited.say("")
    return cited.say(
        "On {n} without a probability there are verdicts, too, and {unwanted} {were} judged unwanted.",
        n=cited.count("figures/n_unscored_reviewed", "image"),
        unwanted=cited.number("figures/n_unscored_unwanted"),
        were=inflect(cited.known("figures/n_unscored_unwanted"), "was", "were"),
    )


def _flagged_verdicts(cited: Cited) -> Piece:
    if not cited.known("figures/n_flagged"):
        return cited.say("")
    n_seen = cited.number("figures/n_flagged_reviewed")
    if not cited.known("figures/n_flagged_reviewed"):
        return cited.say("Of the flagged images, {n} have one.", n=n_seen)
    if not cited.known("figures/n_flagged_unreviewed"):
        return cited.say("Every flagged image has a verdict ({n}).", n=n_seen)
    return cited.say(
        "Of the flagged images, {seen} {have} a verdict; nobody has looked at the other {unseen}.",
        seen=n_seen,
        have=inflect(cited.known("figures/n_flagged_reviewed"), "has", "have"),
        unseen=cited.number("figures/n_flagged_unreviewed"),
    )


def _confirmed(cited: Cited) -> Piece:
    """Return how many of the flags are right: of all, if that is known or can be estimated, or of those with a verdict."""
    if cited.known("figures/precision", "low").is_known:
        return cited.say(
            "{n} of the flagged images {were} judged unwanted. From verdicts on a random sample it is estimated that people "
            "would judge {share} of all flagged images unwanted.",
            n=cited.number("figures/n_flagged_confirmed"),
            were=inflect(cited.known("figures/n_flagged_confirmed"), "was", "were"),
            share=cited.share("figures/precision"),
        )
    if not cited.known("figures/share_confirmed").is_known:
        return cited.say("")
    speaks = ""
    if cited.known("figures/n_flagged_unreviewed") and not cited.known("figures/precision").is_known:
        # Without an interval they are of a sample in which some flagged images had a better chance to be drawn than others.
        is_plain = cited.known("figures/share_confirmed", "low").is_known
        only_if = " only if those with a verdict were drawn at random" if is_plain else " in no way"
        speaks = f"; that speaks for the other flagged images{only_if}"
    return cited.say(
        "Of the flagged images that people called either unwanted or wanted, {n}, or {share}, {were} judged unwanted"
        + speaks
        + ".",
        n=cited.number("figures/n_flagged_confirmed"),
        share=cited.share("figures/share_confirmed"),
        were=inflect(cited.known("figures/n_flagged_confirmed"), "was", "were"),
    )


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
    """Return how much of the data set is unwanted, if a random sample was judged, or every image."""
    if not cited.known("figures/prevalence").is_known:
        is_all_seen = cited.known("figures/n_scored") and n_unseen(cited) <= 0
        unknown = cited.say(
            "Which share of the data set is unwanted is not known, since people were unsure of some images, or differed."
            if is_all_seen
            else "How much of the data set people would judge unwanted is not known; the share of flagged images is no estimate "
            "of it."
        )
        return cited.join([unknown, _notes_on_sample(cited)])
    is_exact = not cited.known("figures/prevalence", "low").is_known
    found = cited.say(
        "People decided on every scored image: {share} of them are unwanted in their judgement."
        if is_exact
        else "From verdicts on a random sample it is estimated that people would judge {share} of the scored images unwanted.",
        share=cited.share("figures/prevalence"),
    )
    return cited.join([found, _recall(cited, is_exact=is_exact), _notes_on_sample(cited)])


def _recall(cited: Cited, *, is_exact: bool) -> Piece:
    if cited.known("figures/recall").is_known:
        return cited.say(
            "The share of those that is flagged is " + ("" if is_exact else "estimated at ") + "{share}.",
            share=cited.share("figures/recall"),
        )
    return cited.say("" if is_exact else "Which part of those is flagged is not known.")


def _notes_on_sample(cited: Cited) -> Piece:
    """Return what the report says of the estimate, or of why there is none."""
    limits = enumerate(cited.report.limits)
    found = [cited.quote(f"limits/{i}") for i, limit in limits if _ON_SAMPLE.search(limit)]
    return cited.say("The report notes: {found}", found=cited.join(found)) if found else cited.say("")
