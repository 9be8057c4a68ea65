"""`clipsieve evaluate`: how good methods are on rated images, or anyone's predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.progress import ProgressBar
from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.engines import Evaluation, JoinReport
    from clipsieve.store import RunPath

__all__ = ["command"]

IDLE = (  # of a file of predictions
    *("methods", "classifiers", "ratings", "image_column", "rating_column", "label_column", "scale", "prompts"),
    *("protocol", "folds", "split_column", "fractions", "seed", "model"),
)
DEFAULT_METHODS = ("zero-shot", "soft-prompts", "linear-probe")


@click.command(
    cls=Command,
    name="evaluate",
    examples=[
        "clipsieve evaluate run --ratings SMID_norms.csv",
        "clipsieve evaluate run-b32 run-l14 --ratings SMID_norms.csv --protocol paper -o smid",
        "clipsieve evaluate run --ratings SMID_norms.csv --fractions 1%,10%,100% --method soft-prompts",
        "clipsieve evaluate --predictions theirs.csv --json",
    ],
)
@click.argument("runs", nargs=-1, type=options.RunLocation(), metavar="[RUN]...")
@options.ratings
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice([*DEFAULT_METHODS, "sgd", "context"]),
    help="What to train and test; repeatable.  [default: zero-shot, soft-prompts, linear-probe]",
)
@click.option(
    "-c", "--classifier", "classifiers", multiple=True, metavar="CLASSIFIER", help="Test this as well; repeatable."
)
@click.option(
    "--prompts", default="positive-negative", show_default=True, metavar="PROMPTS", help="Where methods begin."
)
@click.option(
    "--protocol",
    type=click.Choice(["kfold", "paper", "hold-out"]),
    help="How images are divided.  [default: kfold; hold-out with --split-column]",
)
@click.option("--folds", type=click.IntRange(2, 1000), default=10, show_default=True, metavar="N", help="How often.")
@click.option("--split-column", metavar="NAME", help="Column that says `train` or names a test set.")
@click.option(
    "--fractions", default="100%", show_default=True, metavar="P%,...", help="Of the training images, for a curve."
)
@click.option("--seed", type=click.IntRange(0), default=42, show_default=True, metavar="N", help="Decides the splits.")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    metavar="P",
    help="Of the intervals.",
)
@click.option("--predictions", type=click.Path(path_type=Path), metavar="FILE", help="Evaluate these instead of a RUN.")
@click.option("-m", "--model", metavar="NAME_OR_DIR", help="Where the run's encoder lies now, if it was moved.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Write JSON, predictions and pictures."
)
@options.quiet
@options.as_json
def command(
    runs: tuple[RunPath, ...],
    methods: tuple[str, ...],
    classifiers: tuple[str, ...],
    predictions: Path | None,
    output: Path | None,
    *,
    quiet: bool,
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Evaluate methods on rated images of one or several RUNs.

    All methods and runs are tested on the same splits: `kfold` tests every image once, `paper` draws the splits of the
    published figures, `hold-out` follows a column. Figures are for the unwanted class: the mean over the splits, its
    standard deviation, and an interval by image. With --predictions, evaluates a file with the columns fold, rating or
    label, and probability, where unwanted means a probability above 0.5.
    """
    if (predictions is None) == (not runs):
        raise click.UsageError("give RUNs with `--ratings`, or `--predictions` alone")
    if output is not None:
        from clipsieve.outputs.evaluation_files import check_evaluation_folder

        check_evaluation_folder(output)
    if predictions is not None:
        _refuse_idle_options()
        if output is not None and predictions.absolute().parent == output.absolute():
            raise UsageError(
                f"`{predictions}` lies in `{output}`, where it would be replaced", state="nothing was written"
            )
        found = _evaluate_file(predictions, given)
    else:
        chosen = methods or (() if classifiers else DEFAULT_METHODS)
        found = _evaluate_runs(runs, chosen, classifiers, given, quiet=quiet)
    written = []
    if output is not None:
        from clipsieve.outputs.evaluation_files import write_evaluation

        written = write_evaluation(found, output)
    if as_json:
        render.emit_json(found.to_json())
        return
    from clipsieve.cli.evaluation_tables import show_evaluation

    show_evaluation(found)
    if written:
        render.print_text()
        n_pictures = sum(path.suffix == ".png" for path in written)
        files = f"evaluation.json, predictions.parquet, {render.count(n_pictures, 'picture')}"
        render.print_text(f"wrote     {files} into {output}")


def _refuse_idle_options() -> None:
    """Refuse options that say nothing of a file of predictions: who gave them expects something of them."""
    context = click.get_current_context()
    given = [name for name in IDLE if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        words = ", ".join(
            f"`--{name.removesuffix('s') if name in ('methods', 'classifiers') else name}`" for name in given
        )
        raise click.UsageError(f"{words.replace('_', '-')}: a file of predictions has no use for it; a RUN has")


def _evaluate_file(path: Path, given: dict[str, Any]) -> Evaluation:
    from clipsieve.engines import evaluate_predictions

    cuts = {name: given[name] for name in ("low", "high", "reverse") if given[name] is not None}
    return evaluate_predictions(path, confidence=given["confidence"], **cuts)


def _evaluate_runs(
    runs: tuple[RunPath, ...],
    methods: tuple[str, ...],
    classifiers: tuple[str, ...],
    given: dict[str, Any],
    *,
    quiet: bool,
) -> Evaluation:
    from clipsieve.cli.rating_options import RATING_OPTIONS, load_ratings, show_join
    from clipsieve.engines import EvaluationOptions, Protocol, evaluate_runs, parse_fractions
    from clipsieve.store import Run

    split_column = given["split_column"]
    protocol = given["protocol"] or ("hold-out" if split_column else "kfold")
    if split_column and protocol != "hold-out":
        raise click.UsageError("`--split-column` belongs to `--protocol hold-out`")
    chosen = EvaluationOptions(
        methods=methods,
        classifiers=classifiers,
        prompts=given["prompts"],
        model=given["model"],
        protocol=Protocol(protocol, parse_fractions(given["fractions"]), given["folds"], given["seed"]),
        confidence=given["confidence"],
    )
    opened = [Run.open(path) for path in runs]
    ratings = load_ratings(opened, **{name: given[name] for name in RATING_OPTIONS}, split_column=split_column)

    def on_join(run: Run, report: JoinReport) -> None:
        show_join(report, of=run.path if len(runs) > 1 else None)

    with ProgressBar("evaluating", quiet=quiet) as progress:
        return evaluate_runs(opened, ratings, chosen, on_join=on_join, on_fit=progress.update)
