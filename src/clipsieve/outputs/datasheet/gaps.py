"""What was not looked at, a sentence each: as much part of the answer as what was found."""

from __future__ import annotations

from clipsieve.outputs.datasheet.cited import Cited, Piece, inflect
from clipsieve.outputs.datasheet.judgements import n_unflagged_unseen
from clipsieve.outputs.datasheet.methods import text_of
from clipsieve.outputs.datasheet.short_answer import blocked

__all__ = ["GAPS", "failure_words", "gaps", "judgement", "leanings", "personal", "uses"]

_REASONS = {
    "not_found": "gone, or a link to nothing",
    "not_permitted": "not to be read by the user who scanned",
    "read_error": "not readable",
    "too_many_bytes": "too large to be read",
    "empty_file": "empty",
    "not_an_image": "in no image format that is decoded",
    "truncated": "cut short",
    "corrupt": "damaged",
    "too_many_pixels": "of too many pixels",
    "out_of_memory": "too much for the memory",
    "timed_out": "not decoded in time",
    "decoder_crashed": "fatal to the decoder",
    "not_finite": "without a usable embedding",
}


def gaps(cited: Cited) -> list[Piece]:
    """Return what nobody and nothing has looked at, a sentence or two each; pieces without text are left out."""
    found = [gap(cited) for gap in GAPS]
    return [piece for piece in found if piece.text]


def failure_words(cited: Cited) -> Piece:
    """Return how many images have no probability: those on the block list, and by reason those that failed."""
    if not cited.known("figures/n_failed"):
        return cited.say("{n} failed on the way to the classifier.", n=cited.count("figures/n_failed", "image"))
    return cited.join([_unreadable(cited), blocked(cited), _share_failed(cited)])


def _share_failed(cited: Cited) -> Piece:
    if not cited.known("figures/share_failed").is_known:
        return cited.say("")
    return cited.say(
        "In all, {share} of the listed images never reached the classifier.", share=cited.share("figures/share_failed")
    )


def _unreadable(cited: Cited) -> Piece:
    n = cited.known("figures/n_unreadable")
    if not n:
        return cited.say("")
    whole = cited.say(
        "{n} could not be read, decoded or encoded, and {have} no probability: no machine has seen what {they} {show}.",
        n=cited.count("figures/n_unreadable", "image"),
        have=inflect(n, "has", "have"),
        they=inflect(n, "it", "they"),
        show=inflect(n, "shows", "show"),
    )
    failures = [failure for failure in cited.report.failures if failure.n and failure.code != "blocked"]
    reasons = [_reason(cited, failure.code) for failure in failures]
    by_reason = cited.say("By reason: {all}.", all=cited.join(reasons, "; ")) if reasons else cited.say("")
    return cited.join([whole, by_reason])


def _reason(cited: Cited, code: str) -> Piece:
    n = cited.number(f"failures/{code}")
    words = cited.say(_REASONS[code]) if code in _REASONS else cited.name(code)
    return cited.say("{n} {words}", n=n, words=words)


def _unhashed(cited: Cited) -> Piece:
    n = cited.known("figures/n_not_hashed")
    if not n:
        return cited.say("")
    return cited.say(
        "The content of {n} was never read, so {they} could not be compared with a list of known files.",
        n=cited.count("figures/n_not_hashed", "image"),
        they=inflect(n, "it", "they"),
    )


def _ignored(cited: Cited) -> Piece:
    if not cited.known("figures/n_ignored"):
        return cited.say("")
    return cited.say(
        "{n} in the source {were} passed over, since nothing marks {them}.",
        n=cited.count("figures/n_ignored", "other file"),
        were=inflect(cited.known("figures/n_ignored"), "was", "were"),
        them=inflect(cited.known("figures/n_ignored"), "it as an image", "them as images"),
    )


def _unreviewed(cited: Cited) -> Piece:
    if not cited.known("figures/n_flagged_unreviewed"):
        return cited.say("")
    return cited.say(
        "Nobody has looked at {n}; a flag can be wrong.",
        n=cited.count("figures/n_flagged_unreviewed", "flagged image"),
    )


def _unflagged(cited: Cited) -> Piece:
    if n_unflagged_unseen(cited) <= 0:
        return cited.say("")
    if not cited.known("figures/n_unflagged_reviewed"):
        return cited.say(
            "Nobody has looked at any of the images without a flag. Unwanted images among them would have been missed."
        )
    return cited.say(
        "Of the images without a flag, people have looked at {n} only. Unwanted images among the others would have been "
        "missed.",
        n=cited.number("figures/n_unflagged_reviewed"),
    )


def _insides(cited: Cited) -> Piece:
    if cited.report.source_kind == "embeddings":
        return cited.say(
            "No image was opened for this report: it rests on embeddings that were made elsewhere. Text inside images was "
            "not read."
        )
    return cited.say(
        "Text inside images was not read as text; an insult in letters is found only as far as the encoder sees it. Of "
        "files with several frames, only the first was looked at."
    )


def _sight(cited: Cited) -> Piece:
    """Return how much of an image the encoder is given."""
    size = "method/encoder/preprocessing/size_px"
    if not cited.known(size):
        return cited.say("")
    is_cut = text_of(cited.report, "encoder", "preprocessing", "resize_mode") == "shortest"
    cut = " Of an image that is not square, it saw only the square in the middle." if is_cut else ""
    return cited.say(
        "The encoder saw each image at {n} pixels a side, so that small things are lost." + cut, n=cited.number(size)
    )


def _texts(cited: Cited) -> Piece:
    has = {name: bool(cited.known(f"figures/n_with_{name}")) for name in ("label", "caption")}
    if not any(has.values()):
        return cited.say("The source gives neither class names nor captions, so none were examined.")
    what = " and ".join(words for name, words in (("label", "class names"), ("caption", "captions")) if has[name])
    return cited.say(
        "The {what} were counted, and not judged: whether they themselves offend was not examined.",
        what=cited.say(what),
    )


def personal(cited: Cited) -> Piece:
    """Return that nobody looked for personal information."""
    return cited.say(
        "Nothing was done to find personal information, to recognise anybody, or to find out whether people in the images "
        "agreed to be there."
    )


GAPS = (failure_words, _unhashed, _ignored, _unreviewed, _unflagged, _insides, _sight, _texts, personal)


def judgement(cited: Cited) -> list[Piece]:
    """Return what follows for those who use the data set."""
    return [*uses(cited), leanings(cited)]


def uses(cited: Cited) -> list[Piece]:
    """Return what the flags are good for, and what they are not."""
    return [
        cited.say(
            "An image without a flag is an image that a machine did not pick out, and no more. An image with a flag and "
            "without a verdict is a suspicion."
        ),
        cited.say(
            "What offends differs between people, places and times. The classifier follows the words and the ratings that it "
            "was made with, and verdicts follow those who gave them."
        ),
        cited.say(
            "The list of flagged images leads straight to what may disturb. It was made for review; it should be given only "
            "to those who need it, and not be used as a collection of such images or as a statement about people in them."
        ),
        cited.say(
            "All figures describe the data set as it was scanned. What was removed or added afterwards is not part of them."
        ),
    ]


def leanings(cited: Cited) -> Piece:
    """Return why errors are not spread evenly."""
    return cited.say(
        "Encoders that were trained on pairs of images and texts from the web carry over its associations ({work} describe "
        "them, by groups of people, in their section on bias). So errors in either direction may be more frequent for images "
        "of some groups of people than of others; this was not measured here.",
        work=cited.work("clip"),
    )
