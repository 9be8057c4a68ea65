"""From a run to the records of its report."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial

import numpy as np
import pyarrow as pa

from clipsieve.engines.base import Engine
from clipsieve.engines.concepts import ConceptVectors
from clipsieve.engines.decisions import Decider
from clipsieve.engines.private_places import as_printable
from clipsieve.engines.verdict_files import ImageVerdicts
from clipsieve.evaluation.class_rates import rate_classes
from clipsieve.evaluation.term_counts import TermCounter
from clipsieve.evaluation.terms import frequent_terms, rate_terms
from clipsieve.outputs.report.counts import RunCounts
from clipsieve.outputs.report.estimate import SampleEstimate, estimate_from_sample
from clipsieve.outputs.report.figures import build_figures
from clipsieve.outputs.report.limits import build_limits
from clipsieve.outputs.report.method import build_method
from clipsieve.outputs.report.part_counts import COLUMNS, N_BINS, PartCounts, count_part
from clipsieve.outputs.report.records import (
    ClassFlags,
    Concept,
    Failure,
    HistogramBin,
    Report,
    TaxonomySection,
    Term,
    TermSection,
)
from clipsieve.outputs.report.words import calibration_words, name_of_source, promise_words
from clipsieve.store import Run, RunManifest

__all__ = ["MAX_TERMS_SHOWN", "MIN_Z", "build_report"]

MAX_TERMS_SHOWN = 500
MIN_Z = 1.96


def build_report(
    run: Run,
    *,
    made: str,
    scores_name: str | None = None,
    verdicts: ImageVerdicts | None = None,
    concepts: ConceptVectors | None = None,
    title: str | None = None,
    has_thumbnails: bool = False,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> Report:
    """Gather all that a report says, part by part.

    Parameters
    ----------
    run : Run
        With scores.
    made : str
        Now, UTC, ISO 8601.
    scores_name, verdicts
        As for `Decider`.
    concepts : ConceptVectors, optional
        What the flagged images may show, as `build_concepts` gives it; without it, nothing is assigned.
    title : str, optional
        The name of the data set; by default the last part of the source's place.
    has_thumbnails
        As in `Report`, whose examples are added later.
    engine : Engine, optional
        What counts the parts; by default this process, one after the other. The workers of a cluster read the run where this
        process finds it.
    on_progress : callable
        Called with the number of images done and listed.

    Raises
    ------
    UsageError, RunNotFoundError, RunCorruptError
        As for `Decider`, or if a verdict is about no image of the run, or a part is missing, damaged, or older than the scan.
    """
    decider = Decider(run, scores_name=scores_name, verdicts=verdicts)
    counts = _count(decider, concepts, engine, on_progress)
    estimate = estimate_from_sample(run, verdicts, counts.is_flagged) if verdicts else SampleEstimate()
    manifest, facts, classes = run.manifest, decider.facts, _classes(counts)
    return Report(
        title=as_printable(title or _title(manifest)),
        made=made,
        source_location=as_printable(manifest.source_location),
        source_kind=manifest.source_kind,
        figures=build_figures(counts, classes, estimate, n_listed=manifest.n_images, n_ignored=manifest.n_ignored),
        failures=tuple(Failure(code, n) for code, n in _ranked(counts.failures)),
        histogram=_histogram(counts),
        threshold=facts.threshold,
        remove_threshold=facts.remove_threshold,
        calibration=calibration_words(facts.calibration),
        promises=promise_words(facts.promises),
        classes=classes,
        taxonomy=_taxonomy(counts, concepts),
        terms=_terms(counts),
        examples=(),
        has_thumbnails=has_thumbnails,
        method=build_method(run, counts, concepts.taxonomy if concepts else None, title),
        limits=build_limits(manifest, counts, estimate, concepts),
    )


def _count(
    decider: Decider,
    concepts: ConceptVectors | None,
    engine: Engine | None,
    on_progress: Callable[[int, int], object],
) -> RunCounts:
    counts, n_done, n_judged = RunCounts(decider, concepts), 0, 0
    with closing(_counted(decider, concepts, engine, counts.captions)) as parts:
        for part in parts:
            counts.merge(part)
            n_done, n_judged = n_done + part.n_rows, n_judged + part.n_judged
            on_progress(n_done, decider.run.manifest.n_images)
    decider.check_judged(n_judged)
    return counts


def _counted(
    decider: Decider, concepts: ConceptVectors | None, engine: Engine | None, captions: TermCounter
) -> Generator[PartCounts, None, None]:
    """Yield the counts of each part in order; without an engine, words are counted straight into those of the run."""
    if engine is None:
        yield from (count_part(decider, concepts, part, captions) for part in decider.parts(COLUMNS))
        return
    work = partial(_count_there, decider, concepts, decider.removed_contents())
    yield from engine.map(work, range(decider.run.manifest.n_parts))


def _count_there(decider: Decider, concepts: ConceptVectors | None, removed: pa.Array, index: int) -> PartCounts:
    return count_part(decider, concepts, decider.part(index, COLUMNS, removed))


def _title(manifest: RunManifest) -> str:
    has_patterns = manifest.source_kind not in ("folder", "huggingface")
    is_pattern = has_patterns and not os.path.exists(manifest.source_location)  # noqa: PTH110 - it may be a URL
    return name_of_source(manifest.source_location, is_pattern=is_pattern)


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _histogram(counts: RunCounts) -> tuple[HistogramBin, ...]:
    edges = [i / N_BINS for i in range(N_BINS + 1)]
    return tuple(HistogramBin(*each) for each in zip(edges, edges[1:], counts.histogram.tolist(), strict=False))


def _classes(counts: RunCounts) -> tuple[ClassFlags, ...]:
    labels = sorted(counts.label_scored)
    n_scored = np.array([counts.label_scored[label] for label in labels], dtype=np.int64)
    n_flagged = np.array([counts.label_flagged[label] for label in labels], dtype=np.int64)
    rates = rate_classes(n_scored, n_flagged, n_all=counts.n["scored"], n_all_flagged=counts.n["flagged"])
    columns = n_scored, n_flagged, rates.share, rates.low, rates.high, rates.p_value, rates.q_value
    rows = list(zip(labels, *(column.tolist() for column in columns), strict=True))
    return tuple(ClassFlags(*rows[place]) for place in rates.order.tolist())


def _taxonomy(counts: RunCounts, concepts: ConceptVectors | None) -> TaxonomySection | None:
    if concepts is None:
        return None
    found, made, n_flagged = concepts.taxonomy, counts.assignments, max(counts.n["flagged"], 1)
    rows = [] if made is None else [(made, place, each) for place, each in enumerate(found.concepts)]
    filled = (
        Concept(
            name=each.name,
            title=each.title,
            n=assigned.n(place),
            share=assigned.n(place) / n_flagged,
            median_margin=assigned.median_margin(place),
            prompts=each.prompts,
            is_other=each.is_other,
            n_too_close=assigned.n_too_close if each.is_other else 0,
        )
        for assigned, place, each in rows
    )
    return TaxonomySection(
        found.name, found.source, found.sha256, found.min_margin, tuple(filled), problem=concepts.problem
    )


def _terms(counts: RunCounts) -> tuple[TermSection, ...]:
    """Return the terms of the images with a probability, for each field that the source has."""
    names = TermCounter()
    names.add_names(counts.label_flagged.items(), flagged=True)
    names.add_names((counts.label_scored - counts.label_flagged).items(), flagged=False)
    fields = {"class names": (names, "with_label"), "captions": (counts.captions, "with_caption")}
    return tuple(_section(field, counter) for field, (counter, needed) in fields.items() if counts.n[needed])


def _section(field: str, counter: TermCounter) -> TermSection:
    rest = counter.rest
    rated = rate_terms(counter.flagged, rest)
    over = [term for term in rated if term.z_score >= MIN_Z][:MAX_TERMS_SHOWN]
    terms, frequent = (
        tuple(Term(**asdict(term)) for term in found) for found in (over, frequent_terms(rated, MAX_TERMS_SHOWN))
    )
    return TermSection(field, counter.flagged.total(), rest.total(), terms, frequent)
