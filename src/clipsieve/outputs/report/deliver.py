"""From a run to the files of its report: the page, `report.json`, tables, lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clipsieve.classifiers import builtin_taxonomy, load_taxonomy
from clipsieve.engines.base import Engine
from clipsieve.engines.concepts import ConceptVectors, build_concepts
from clipsieve.engines.verdict_files import ImageVerdicts, read_image_verdicts
from clipsieve.errors import UsageError
from clipsieve.outputs.apart import check_apart, taken_by
from clipsieve.outputs.report.build import build_report
from clipsieve.outputs.report.examples import choose_examples
from clipsieve.outputs.report.files import check_folder, write_report_files
from clipsieve.outputs.report.flagged import FlaggedImage, flagged_rows
from clipsieve.outputs.report.records import Report
from clipsieve.store import Run

if TYPE_CHECKING:
    from clipsieve.outputs.report.records import Example

__all__ = ["Findings", "ReportOptions", "check_places", "find", "write_report"]

NO_TAXONOMY = "none"


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report is told.

    Attributes
    ----------
    scores_name : str or None
        Whose scores; None for the only ones there are.
    verdicts : ImageVerdicts, str or Path, or None
        What people have said, or a file of it; see `read_image_verdicts`.
    taxonomy : str or None
        A file of concepts, "none" to leave them out, None for the built-in ones.
    model : str or None
        Where the run's encoder lies now; None for where it lay when the run was scanned.
    title : str or None
        The name of the data set; None for that of the source.
    has_thumbnails : bool
        Whether the page may hold small images.
    location : str or None
        Where the source lies now, if not where it was scanned.
    """

    scores_name: str | None = None
    verdicts: ImageVerdicts | str | Path | None = None
    taxonomy: str | None = None
    model: str | None = None
    title: str | None = None
    has_thumbnails: bool = True
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """A report, and what it was made of.

    Attributes
    ----------
    report : Report
        What is known of the whole.
    run : Run
        What it is about.
    verdicts, concepts
        What people have said, and what flagged images may show.
    warnings : tuple of str
        What a person should know before they use it.
    """

    report: Report
    run: Run
    verdicts: ImageVerdicts | None
    concepts: ConceptVectors | None
    warnings: tuple[str, ...]

    def flagged(self, scores_name: str | None) -> Iterator[FlaggedImage]:
        """Yield the flagged images one by one; RunConflictError at the end if these are not the scores of the report any more."""
        return flagged_rows(
            self.run,
            scores_name,
            concepts=self.concepts,
            verdicts=self.verdicts,
            scores_sha256=self.report.method["run"]["scores_sha256"],
        )


def find(
    run: Run,
    options: ReportOptions,
    *,
    with_examples: bool,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> Findings:
    """Gather what there is to say of a run; errors as for `write_report`."""
    given = options.verdicts
    verdicts = read_image_verdicts(given) if isinstance(given, str | Path) else given
    concepts = _concepts(run, options)
    report = build_report(
        run,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        scores_name=options.scores_name,
        verdicts=verdicts,
        concepts=concepts,
        title=options.title,
        has_thumbnails=with_examples and options.has_thumbnails,
        engine=engine,
        on_progress=on_progress,
    )
    problem = concepts.problem if concepts else None
    found = Findings(report, run, verdicts, concepts, (f"no concepts: {problem}",) if problem else ())
    return _with_examples(found, options) if with_examples else found


def _concepts(run: Run, options: ReportOptions) -> ConceptVectors | None:
    if options.taxonomy == NO_TAXONOMY:
        return None
    taxonomy = builtin_taxonomy() if options.taxonomy is None else load_taxonomy(options.taxonomy)
    return build_concepts(run, taxonomy, model=options.model)


def _with_examples(found: Findings, options: ReportOptions) -> Findings:
    """Return findings whose report shows images; why some cannot be shown is one of its limits."""
    examples: tuple[Example, ...] = choose_examples(found.flagged(options.scores_name))
    problem = None
    if options.has_thumbnails:
        from clipsieve.outputs.report.thumbnails import add_thumbnails

        examples, problem = add_thumbnails(found.run, examples, location=options.location)
    said = (f"{problem[:1].upper()}{problem[1:]}.",) if problem else ()
    report = replace(found.report, examples=examples, limits=found.report.limits + said)
    return replace(found, report=report, warnings=found.warnings + said)


def check_places(run: Run, options: ReportOptions, *paths: Path) -> None:
    """Raise UsageError if something would be written into the source or the run, or around them; then nothing is written."""
    taken = [*taken_by(run), *(taken_by(run, options.location) if options.location else ())]
    for path in paths:
        check_apart(str(path), taken)


def write_report(
    run: Run,
    output: str | Path,
    options: ReportOptions | None = None,
    *,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], object] = lambda _n_done, _n_total: None,
) -> Findings:
    """Write the report of a run as one HTML file, and the same for machines into a folder of the same name.

    Parameters
    ----------
    run : Run
        With scores.
    output : str or Path
        The page; it ends in `.html`.
    options : ReportOptions, optional
        Whose scores, verdicts, taxonomy, thumbnails.
    engine : Engine, optional
        What counts the parts of the run; by default this process, one after the other. Lists, thumbnails and the page are made
        by this process in any case.
    on_progress : callable
        Called with the number of images done and in all.

    Returns
    -------
    Findings
        The report as records, and what a person should know.

    Raises
    ------
    UsageError
        If no scores were named and there is not exactly one, the output is no name for a page or lies in the source or the run,
        or the verdicts make no sense.
    PromptSetError
        If the taxonomy's file is malformed.
    RunNotFoundError, RunCorruptError
        If the scores are not there, or are damaged.
    RunConflictError
        If the run was scored anew meanwhile, or another process writes to the same place.
    ExportError
        If a file cannot be written, or would replace what is no report's, or what people have written into a report's table.
    """
    from clipsieve.outputs.report.page import render_page

    path, told = Path(output), options or ReportOptions()
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"`{path}` is no name for a page", expected="a name that ends in `.html`")
    folder = path.with_suffix("")
    check_places(run, told, path, folder)
    check_folder(folder)
    found = find(run, told, with_examples=True, engine=engine, on_progress=on_progress)
    page = render_page(found.report)
    write_report_files(found.report, found.flagged(told.scores_name), folder, texts={path: page})
    return found
