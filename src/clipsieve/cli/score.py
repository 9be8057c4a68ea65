"""`clipsieve score`: from embeddings to probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clipsieve.cli import engine_options, options, render
from clipsieve.cli.command import Command
from clipsieve.cli.progress import ProgressBar
from clipsieve.cli.promise_words import calibration_words, threshold_words

if TYPE_CHECKING:
    from clipsieve.engines import ScoreReport
    from clipsieve.store import RunPath

__all__ = ["command"]


@click.command(
    cls=Command,
    name="score",
    examples=[
        "clipsieve score run -c positive-negative",
        "clipsieve score run -c my-prompts.toml --name mine",
        "clipsieve score run -c q16.safetensors --json | head",
    ],
)
@options.run_argument
@click.option(
    "-c",
    "--classifier",
    required=True,
    metavar="CLASSIFIER",
    help="A name from `clipsieve prompts list`, a .toml file of prompts, or a tuned .safetensors file.",
)
@click.option("--name", metavar="NAME", help="What to call the scores.  [default: the classifier's name]")
@click.option(
    "-m", "--model", metavar="NAME_OR_DIR", help="Where the run's encoder lies now, if it was moved since the scan."
)
@engine_options.engine
@options.quiet
@options.as_json
def command(
    run: RunPath,
    classifier: str,
    name: str | None,
    model: str | None,
    engine: str,
    ray_address: str | None,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score every embedding in RUN with a classifier.

    Opens no image. Prompts in words go through the text tower of the encoder that made the run; a tuned classifier must
    have been made for the same weights. With --json, prints one line for each image.
    """
    from clipsieve.engines import load_classifier_for, score
    from clipsieve.store import Run

    opened = Run.open(run)
    scorer = load_classifier_for(opened, classifier, model=model)
    with (
        engine_options.open_engine(engine, ray_address) as workers,
        ProgressBar("scoring", quiet=quiet) as progress,
    ):
        report = score(opened, scorer.classifier, name=name or scorer.name, engine=workers, on_progress=progress.update)
    for warning in report.warnings:
        render.print_warning(warning)
    if as_json:
        for images, scores in opened.iter_scores(report.name, ["image_id", "label"]):
            for row, scored in zip(images.to_pylist(), scores.to_pylist(), strict=True):
                render.emit_json(row | scored, lines=True)
        return
    _show(report)


def _show(report: ScoreReport) -> None:
    scored = max(report.n_scored, 1)
    render.print_text(
        f"scored {render.count(report.n_scored, 'image')} with `{report.name}` in {render.seconds(report.elapsed_s)}: "
        f"{report.n_flagged:,} ({render.percent(report.n_flagged / scored)}) at or above {threshold_words(report.threshold)}"
    )
    if report.remove_threshold is not None:
        share = render.percent(report.n_remove / scored)
        rule = f"at or above {threshold_words(report.remove_threshold)}"
        render.print_text(f"of these, {report.n_remove:,} ({share}) {rule} are to be removed")
    render.print_text(f"probabilities are {calibration_words(report.calibration)}")
