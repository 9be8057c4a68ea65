"""What was done, in sentences: what was scanned and with what, the thresholds, the verdicts."""

from __future__ import annotations

from clipsieve.outputs.datasheet.cited import Cited, Piece, inflect
from clipsieve.outputs.datasheet.names import last_part
from clipsieve.outputs.report.method_tree import is_promised_elsewhere
from clipsieve.outputs.report.records import Report

__all__ = ["calibration", "changes", "people", "promises", "source", "text_of", "thresholds", "tools"]

_KINDS = {
    "folder": "a folder of image files",
    "webdataset": "WebDataset archives",
    "table": "tables of images",
    "huggingface": "a data set of the Hugging Face format",
    "embeddings": "embeddings that were made elsewhere",
}


def text_of(report: Report, *keys: str) -> str | None:
    """Return a text of the method; None if there is none, since anything may stand there."""
    found: object = report.method
    for key in keys:
        found = found.get(key) if hasattr(found, "get") else None
    return found if isinstance(found, str) and found else None


def source(cited: Cited) -> Piece:
    """Return what was listed, and what the source says of it."""
    report = cited.report
    return cited.say(
        "The data set was read from "
        + _KINDS.get(report.source_kind, "a source")
        + ", {location}. {listed} {were} listed; "
        "{classes} came with a class, and {captions} with a caption.",
        location=cited.name(last_part(report.source_location)),
        listed=cited.count("figures/n_listed", "image"),
        were=inflect(cited.known("figures/n_listed"), "was", "were"),
        classes=cited.number("figures/n_with_label"),
        captions=cited.number("figures/n_with_caption"),
    )


def tools(cited: Cited) -> Piece:
    """Return which encoder and classifier gave the probabilities, so that another person can find the same."""
    report = cited.report
    encoder = _named(cited, ("encoder", "name"), ("encoder", "weights_sha256"))
    classifier = _named(cited, ("classifier", "name"), ("classifier", "arrays_sha256"))
    made = text_of(report, "classifier", "method")
    version = text_of(report, "versions", "clipsieve")
    return cited.say(
        "The probabilities come from the classifier {classifier}{made}, on embeddings of the encoder {encoder}, computed "
        "with clipsieve{version}.",
        classifier=classifier,
        made=cited.say(" of the method {method}", method=cited.name(made)) if made else cited.say(""),
        encoder=encoder,
        version=cited.say(" {version}", version=cited.name(version)) if version else cited.say(""),
    )


def _named(cited: Cited, name: tuple[str, ...], digest: tuple[str, ...]) -> Piece:
    found, sha256 = text_of(cited.report, *name), text_of(cited.report, *digest)
    shown = cited.name(found) if found else cited.say("of a name that is not recorded")
    return cited.join([shown, _hashed(cited, sha256, " (of unknown weights)")], "")


def _hashed(cited: Cited, sha256: str | None, otherwise: str = "") -> Piece:
    return cited.say(" ({digest})", digest=cited.name(f"sha256:{sha256}")) if sha256 else cited.say(otherwise)


def thresholds(cited: Cited) -> Piece:
    """Return the thresholds, and how many images lie where."""
    low = cited.say("An image is flagged at a probability of {low} or more.", low=cited.level("threshold"))
    if cited.report.remove_threshold is None:
        high = cited.say("No threshold for removal by the machine was set: flagged images are left to people.")
    else:
        high = cited.say(
            "From {high} on the machine may remove it without a person: that holds for {remove}, and {review} {are} left to "
            "people.",
            high=cited.level("remove_threshold"),
            remove=cited.count("figures/n_remove", "image"),
            review=cited.count("figures/n_review", "flagged image"),
            are=inflect(cited.known("figures/n_review"), "is", "are"),
        )
    return cited.join([low, high, promises(cited)])


def promises(cited: Cited) -> Piece:
    """Return what the thresholds promise, each promise in the words of the report."""
    quoted = [cited.quote(f"promises/{i}") for i in range(len(cited.report.promises))]
    if not quoted:
        elsewhere = ""
        if is_promised_elsewhere(cited.report.method):
            elsewhere = (
                " They were chosen on rated images of another run; what was promised there is not promised here."
            )
        return cited.say(
            "The thresholds come with no promise of how many unwanted images they find, or of how many flags are right."
            + elsewhere
        )
    these = "a promise" if len(quoted) == 1 else "these promises"
    return cited.say("The thresholds come with " + these + ": {quoted}.", quoted=cited.join(quoted, "; "))


def calibration(cited: Cited) -> Piece:
    """Return whether a probability means how often."""
    is_calibrated = not cited.report.calibration.casefold().startswith(("not ", "un"))
    meaning = (
        "they say how often an image like this one was unwanted among the rated images, and hold for images like those."
        if is_calibrated
        else "they put images in an order, and do not say how often an image like this one is unwanted."
    )
    return cited.say("On the probabilities the report notes {quoted}: " + meaning, quoted=cited.quote("calibration"))


def people(cited: Cited) -> Piece:
    """Return where the verdicts come from, as far as that is known."""
    if not cited.known("figures/n_verdicts"):
        return cited.say("No verdicts of people were used: {n} have one.", n=cited.count("figures/n_verdicts", "image"))
    sha256 = text_of(cited.report, "verdicts", "sha256")
    return cited.say(
        "Verdicts of people on {n} were read from a file{file}. Who these people are, how they were found and what they were "
        "told is for the makers of the data set to say.",
        n=cited.count("figures/n_verdicts", "image"),
        file=_hashed(cited, sha256),
    )


def changes(cited: Cited) -> Piece:
    """Return what was done to the data set itself: nothing."""
    return cited.say(
        "Scanning and scoring changed nothing in the data set and removed nothing from it. If images were removed "
        "afterwards, the manifest of that export names each of them, with the reason."
    )
