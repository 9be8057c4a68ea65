"""What was not looked at, in words: a report says it before anybody has to ask."""

from __future__ import annotations

from collections.abc import Iterator

from clipsieve.engines.concepts import ConceptVectors
from clipsieve.outputs.report.counts import RunCounts
from clipsieve.outputs.report.estimate import NOT_ESTIMATED, SampleEstimate
from clipsieve.outputs.report.words import as_percent, count_of
from clipsieve.store import RunManifest

__all__ = ["build_limits"]


def build_limits(
    manifest: RunManifest, counts: RunCounts, estimate: SampleEstimate, concepts: ConceptVectors | None
) -> tuple[str, ...]:
    """Return the sentences, with their numbers; what does not apply is not said."""
    sentences = (
        *_not_seen(manifest, counts),
        *_not_reviewed(counts, estimate),
        *_not_learned(counts),
        *_not_told(manifest, counts),
        *_not_described(counts, concepts),
    )
    return tuple(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in sentences)


def _not_seen(manifest: RunManifest, counts: RunCounts) -> Iterator[str]:
    n = counts.n
    n_unreadable = n["failed"] - n["blocked"]
    if n_unreadable:
        codes = {code: n_images for code, n_images in counts.failures.items() if code != "blocked"}
        ranked = sorted(codes.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{n_images:,} {code.replace('_', ' ')}" for code, n_images in ranked)
        yield f"{count_of(n_unreadable, 'image')} could not be read, decoded or encoded ({reasons}): nothing is said of them"
    if n["blocked"]:
        yield f"{count_of(n['blocked'], 'image')} on the block list {_was(n['blocked'])} never opened"
    if manifest.source_kind == "embeddings":
        yield "the images were not at hand: only embeddings that somebody else had computed were read"
        return
    if n["not_hashed"]:
        yield f"{count_of(n['not_hashed'], 'image')} {_has(n['not_hashed'])} no hash, because the content could not be read"
    if manifest.n_ignored:
        yield f"{count_of(manifest.n_ignored, 'other file')} in the source {_was(manifest.n_ignored)} not looked at"
    yield "of an animation or a file with several pages, only the first frame was seen"
    recipe = manifest.encoder.preprocessing
    if recipe is not None and recipe.resize_mode == "shortest":
        yield "of an image that is not square, only the square in the middle was seen"
    if recipe is not None:
        yield f"the encoder saw every image at {recipe.size_px} x {recipe.size_px} pixels: small things are lost"


def _not_reviewed(counts: RunCounts, estimate: SampleEstimate) -> Iterator[str]:
    n, n_unsure = counts.n, counts.n_of("unsure")
    n_open, n_unflagged = n["flagged"] - n["flagged_reviewed"], n["scored"] - n["flagged"]
    if n["flagged"] and n_open == n["flagged"]:
        yield f"nobody has looked at the flagged images ({n_open:,})"
    elif n_open:
        yield f"nobody has looked at {n_open:,} of the {count_of(n['flagged'], 'flagged image')}"
        yield from _speak_for_others(estimate)
    if n_unflagged and not n["unflagged_reviewed"]:
        yield f"nobody has looked at the images that are not flagged ({n_unflagged:,}): what was missed is not known"
    elif n_unflagged > n["unflagged_reviewed"]:
        n_unseen = n_unflagged - n["unflagged_reviewed"]
        yield f"nobody has looked at {n_unseen:,} of the {count_of(n_unflagged, 'image')} that {_is(n_unflagged)} not flagged"
    if n_unsure:
        yield (
            f"people were unsure of {count_of(n_unsure, 'image')}, or differ about {'it' if n_unsure == 1 else 'them'}: no share "
            "of those that people decided on counts such images"
        )
    if n["unscored_reviewed"]:
        n_unscored = n["unscored_reviewed"]
        yield (
            f"{count_of(n_unscored, 'image')} with a verdict {_has(n_unscored)} no probability, and {_is(n_unscored)} in no share"
        )
    yield from _not_estimated(counts, estimate)


def _speak_for_others(estimate: SampleEstimate) -> Iterator[str]:
    if not estimate.is_sample:
        yield "those with a verdict speak for the others only if they were drawn at random"
    elif estimate.precision is None:
        yield "those with a verdict do not speak for the others: from some strata more were drawn than from others"


def _not_estimated(counts: RunCounts, estimate: SampleEstimate) -> Iterator[str]:
    """Say why the share of unwanted images is not known, unless people judged every image."""
    both = "flagged", "unflagged"
    n_scored, n_unwanted, n_unsure = counts.n["scored"], counts.n_of("unwanted"), counts.n_of("unsure")
    if counts.is_decided(*both):
        return
    if n_scored and counts.n_of("reviewed") == n_scored and estimate.found is None:
        low, high = (as_percent(n / n_scored) for n in (n_unwanted, n_unwanted + n_unsure))
        yield f"every scored image has a verdict, but people were unsure of some: from {low} to {high} of them are unwanted"
        return
    yield from estimate.problems
    if estimate.found is None and not estimate.problems:
        yield f"{NOT_ESTIMATED}: that takes verdicts on a random sample"


def _not_learned(counts: RunCounts) -> Iterator[str]:
    """Say which images the classifier has seen before: on those it looks better than it is."""
    facts, n_here = counts.decider.facts, counts.n["tuned_on"]
    if n_here:
        yield (
            f"the classifier was tuned on {count_of(n_here, 'image')} of this run: it knows what people said of "
            f"{'it' if n_here == 1 else 'them'}, so figures that count {'it' if n_here == 1 else 'them'} flatter it"
        )
    if not facts.is_origin_known:
        yield "on which images the classifier was tuned is not known: some of this run may be among them"


def _not_told(manifest: RunManifest, counts: RunCounts) -> Iterator[str]:
    yield "text inside images was not read as text"
    facts, n = counts.decider.facts, counts.n
    names = ", ".join(f'"{name}"' for name, _ in facts.classes)
    if facts.calibration is None:
        among = f" among its classes ({names})" if names else ""
        yield (
            f"a probability is the classifier's choice{among} and is not calibrated: 0.9 does not mean that nine of ten such "
            "images are unwanted"
        )
    else:
        yield "probabilities are calibrated for images like those that were rated, and for no others"
    missing = [words for words, name in (("classes", "with_label"), ("captions", "with_caption")) if not n[name]]
    if missing:
        yield f"the source gives no {' and no '.join(missing)}"
    for name, thing in (("with_label", "class"), ("with_caption", "caption")):
        n_without = manifest.n_images - n[name]
        if n[name] and n_without:
            yield f"{count_of(n_without, 'image')} {_has(n_without)} no {thing}"


def _not_described(counts: RunCounts, concepts: ConceptVectors | None) -> Iterator[str]:
    if concepts is not None and concepts.problem:
        yield f"what the flagged images show was not looked into: {concepts.problem}"
    elif concepts is not None:
        yield "concepts were assigned by the encoder from words: no person has checked them"
    if counts.captions.n_forgotten:
        yield f"{count_of(counts.captions.n_forgotten, 'count')} of rare words in captions were forgotten to save memory"
    yield "that an image is not flagged does not mean that it is harmless"


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def _has(n: int) -> str:
    return "has" if n == 1 else "have"


def _is(n: int) -> str:
    return "is" if n == 1 else "are"
