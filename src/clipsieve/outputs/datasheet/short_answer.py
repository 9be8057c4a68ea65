"""The answer in short: its first words say how far it goes."""

from __future__ import annotations

from clipsieve.outputs.datasheet.cited import Cited, Piece, inflect
from clipsieve.outputs.datasheet.judgements import n_unflagged_unseen

__all__ = ["blocked", "short_answer"]


def short_answer(cited: Cited) -> Piece:
    """Return the answer in a few sentences: what people said counts before what a machine flagged."""
    unwanted, unscored = (cited.known(f"figures/{name}") for name in ("n_verdicts_unwanted", "n_unscored_unwanted"))
    if unwanted:
        found = cited.say(
            "{answer} People judged {n} unwanted.",
            answer=cited.strong("Yes."),
            n=cited.count("figures/n_verdicts_unwanted", "image"),
        )
    elif unscored:
        found = cited.say(
            "{answer} People judged {n} unwanted that the classifier could not score.",
            answer=cited.strong("Yes."),
            n=cited.count("figures/n_unscored_unwanted", "image"),
        )
    elif cited.known("figures/n_verdicts_unsure"):
        found = _unsure_answer(cited)
    elif not cited.known("figures/n_scored"):
        found = cited.say(
            "{answer} The classifier could score {n}.",
            answer=_word(cited, "Not known."),
            n=cited.count("figures/n_scored", "image"),
        )
    else:
        found = _none_unwanted(cited)
    return cited.join([found, blocked(cited)])


def _word(cited: Cited, otherwise: str) -> Piece:
    """Return the first words of an answer that is no yes: known files that were put on a list are a reason to think of one."""
    return cited.strong("Possibly." if cited.known("figures/n_blocked") else otherwise)


def blocked(cited: Cited) -> Piece:
    """Return how many files are known ones that were put on a list."""
    n = cited.known("figures/n_blocked")
    if not n:
        return cited.say("")
    return cited.say(
        "{n} {are} on the block list, a list of known files that was given to the scan, and {were} never opened.",
        n=cited.count("figures/n_blocked", "image"),
        are=inflect(n, "is", "are"),
        were=inflect(n, "was", "were"),
    )


def _unsure_answer(cited: Cited) -> Piece:
    found = cited.say(
        "{answer} People judged {unwanted} unwanted; of {n} they were unsure, or they differed.",
        answer=cited.strong("Possibly."),
        unwanted=cited.count("figures/n_verdicts_unwanted", "image"),
        n=cited.number("figures/n_verdicts_unsure"),
    )
    if not cited.known("figures/n_flagged_unreviewed"):
        return found
    unseen = cited.say(
        "A classifier flagged {n}, and nobody has looked at {unseen} of them.",
        n=cited.count("figures/n_flagged", "image"),
        unseen=cited.number("figures/n_flagged_unreviewed"),
    )
    return cited.join([found, unseen])


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
            answer=_word(cited, "Not in the judgement of those who looked."),
            n=cited.count("figures/n_verdicts", "image"),
            unwanted=cited.number("figures/n_verdicts_unwanted"),
        )
    if not cited.known("figures/n_flagged"):
        return cited.say(
            "{answer} A classifier flagged {n}, but classifiers miss some of what people would object to.",
            answer=_word(cited, "Not known."),
            n=cited.count("figures/n_flagged", "image"),
        )
    return cited.say(
        "{answer} A classifier flagged {n}. People have looked at all that it flagged, and judged {unwanted} unwanted. That says "
        "little about the images without a flag.",
        answer=_word(cited, "Not known for the whole of it."),
        n=cited.count("figures/n_flagged", "image"),
        unwanted=cited.number("figures/n_flagged_confirmed"),
    )
