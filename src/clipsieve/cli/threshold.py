"""`clipsieve threshold`: decisions that keep a promise."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.promise_words import percentage, promise_lines, threshold_words

if TYPE_CHECKING:
    from clipsieve.engines import ThresholdReport
    from clipsieve.store import RunPath

__all__ = ["command"]

FRACTION = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(
    cls=Command,
    name="threshold",
    short_help="Choose thresholds that keep a promise.",
    examples=[
        "clipsieve threshold run --ratings rated.csv --recall 0.95",
        "clipsieve threshold run --ratings rated.csv --recall 0.95 --precision 0.9 --dry-run",
        "clipsieve threshold run --ratings rated.csv --recall 0.9 --classifier-file a.safetensors -o b.safetensors",
    ],
)
@options.run_argument
@options.ratings
@options.scores_name
@click.option("--recall", type=FRACTION, metavar="P", help="Flag at least this share of the unwanted images.")
@click.option("--precision", type=FRACTION, metavar="P", help="Remove only where at least this share is unwanted.")
@click.option(
    "--confidence",
    type=FRACTION,
    metavar="P",
    default=0.95,
    show_default=True,
    help="How often such a promise is kept, each by itself.",
)
@click.option("--dry-run", is_flag=True, help="Write nothing.")
@click.option(
    "--classifier-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With -o: the .safetensors file that made the scores.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --classifier-file: write it here with the thresholds.",
)
@options.as_json
def command(
    run: RunPath,
    name: str | None,
    recall: float | None,
    precision: float | None,
    confidence: float,
    classifier_file: Path | None,
    output: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
    **rating_options: Any,  # noqa: ANN401
) -> None:
    """Choose thresholds by people's ratings so that they keep a promise.

    Opens no image. --recall gives the threshold from which on a person looks, --precision the one from which on images are
    removed. The rated images should be a random sample of RUN; those that the classifier was tuned on are left out. Of a
    ledger, the random audit alone is taken.
    """
    if recall is None and precision is None:
        raise click.UsageError("give `--recall`, `--precision` or both")
    if (classifier_file is None) != (output is None):
        raise click.UsageError("`--classifier-file` and `-o` belong together")
    from clipsieve.cli.rating_options import load_ratings, show_join
    from clipsieve.engines import set_threshold
    from clipsieve.store import Run

    targets: dict[str, Any] = {"recall": recall, "precision": precision, "confidence": confidence, "dry_run": dry_run}
    files: dict[str, Any] = {"classifier_path": classifier_file, "output": output}
    opened = Run.open(run)
    ratings = load_ratings([opened], random_only=True, scores_name=name, **rating_options)
    report = set_threshold(opened, name, ratings, **targets, **files)
    show_join(report.join)
    for warning in report.warnings:
        render.print_warning(warning)
    render.emit_json(_facts(report, output)) if as_json else _show(report, run, output)


def _facts(report: ThresholdReport, output: Path | None) -> dict[str, Any]:
    return asdict(report) | {"output": None if output is None else str(output)}


def _show(report: ThresholdReport, run: RunPath, output: Path | None) -> None:
    _show_decisions(report)
    render.print_text()
    for i, line in enumerate(promise_lines(report.promises, report.threshold, report.remove_threshold)):
        render.print_text(f"{'' if i else 'promised':10}{line}")
    render.print_text(f"labels    {render.count(report.n_labels, 'image')}, {report.n_unwanted:,} of them unwanted")
    if report.n_tuned_on or report.n_undecided:
        render.print_text(f"left out  {_left_out(report)}")
    render.print_text()
    _show_observed(report)
    render.print_text()
    for line in _written(report, run, output):
        render.print_text(line)


def _show_decisions(report: ThresholdReport) -> None:
    low = threshold_words(report.threshold)
    high = None if report.remove_threshold is None else threshold_words(report.remove_threshold)
    rows = [
        ("keep", f"< {low}", report.n_keep),
        ("review", f">= {low}" if high is None else f"from {low} to < {high}", report.n_review),
        ("remove", f">= {high}" if high is not None else "never", report.n_remove),
    ]
    if report.remove_threshold == report.threshold:
        rows[1] = ("review", "never", 0)
    n_scored = max(report.n_keep + report.n_review + report.n_remove, 1)
    columns = [("decision", "left"), ("probability", "left"), ("images", "right"), ("share", "right")]
    render.print_table(columns, [(*words, f"{n:,}", render.percent(n / n_scored)) for *words, n in rows])


def _left_out(report: ThresholdReport) -> str:
    reasons = [
        (report.n_tuned_on, "that the classifier was tuned on"),
        (report.n_undecided, "that people were undecided about"),
    ]
    return ", ".join(f"{n:,} {why}" for n, why in reasons if n)


def _show_observed(report: ThresholdReport) -> None:
    """Show what the labels say at each threshold; the intervals are those of one that was chosen without them."""
    columns = [
        ("on the labels", "left"),
        ("flagged", "right"),
        ("recall", "right"),
        ("interval", "right"),
        ("precision", "right"),
        ("interval", "right"),
    ]
    rows = [
        (
            *(f">= {threshold_words(seen.threshold)}", f"{seen.n_flagged:,}"),
            *(_share(seen.recall), f"{100 * seen.recall_low:.1f}-{100 * seen.recall_high:.1f} %"),
            *(_share(seen.precision), f"{100 * seen.precision_low:.1f}-{100 * seen.precision_high:.1f} %"),
        )
        for seen in report.observed
    ]
    render.print_table(columns, rows)
    sure = percentage(report.observed[0].confidence)
    render.print_text(f"each interval holds the truth with {sure} confidence for a threshold chosen")
    render.print_text("beforehand; what holds for these, chosen on the same labels, is the promise")


def _share(fraction: float | None) -> str:
    return "-" if fraction is None else render.percent(fraction)


def _written(report: ThresholdReport, run: RunPath, output: Path | None) -> list[str]:
    if not report.is_written:
        return ["wrote     nothing: a dry run"]
    lines = [f"wrote     {run}/scores/{report.name}/classifier.json"]
    if output is not None:
        lines.append(f"          {output}")
    return [*lines, f"next      clipsieve summary {shlex.quote(str(run))} -c {report.name}"]
