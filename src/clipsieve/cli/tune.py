"""`clipsieve tune`: from a few rated images to a classifier."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.classifiers import Classifier
    from clipsieve.engines import TuneReport
    from clipsieve.store import RunPath

__all__ = ["command"]

METHODS = ("soft-prompts", "linear-probe", "context")


@click.command(
    cls=Command,
    name="tune",
    examples=[
        "clipsieve tune run --ratings SMID_norms.csv -o moral.safetensors",
        "clipsieve tune run --ratings mine.csv --image-column file --label-column bad -o mine.safetensors",
        "clipsieve tune run --ratings SMID_norms.csv --scale harm --hold-out 30% -o harm.safetensors",
    ],
)
@options.run_argument
@options.ratings
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The .safetensors file to write.",
)
@click.option("--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True, help="What is tuned.")
@click.option(
    "--optimizer",
    type=click.Choice(["lbfgs", "sgd"]),
    default="lbfgs",
    show_default=True,
    help="Of soft prompts; sgd is the published recipe, without a prior.",
)
@click.option(
    "--prompts",
    default="positive-negative",
    show_default=True,
    metavar="PROMPTS",
    help="Where tuning begins: a built-in set, a .toml file, or soft prompts.",
)
@click.option(
    "--strength",
    type=click.FloatRange(0),
    metavar="S",
    help="Hold on to the prompts so much.  [default: cross-validated]",
)
@click.option("--n-images", type=click.IntRange(0), metavar="N", help="Use only N of the images, drawn at random.")
@click.option("--hold-out", metavar="P%", default="0%", show_default=True, help="Leave this share for `threshold`.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Decides what is drawn."
)
@click.option("-m", "--model", metavar="NAME_OR_DIR", help="Where the run's encoder lies now, if it was moved.")
@options.as_json
def command(
    run: RunPath,
    output: Path,
    method: str,
    optimizer: str,
    prompts: str,
    strength: float | None,
    n_images: int | None,
    hold_out: str,
    seed: int,
    model: str | None,
    *,
    as_json: bool,
    **rating_options: Any,  # noqa: ANN401
) -> None:
    """Tune a classifier on rated images of RUN.

    Opens no image. Soft prompts begin with prompts in words and move only as far as the ratings ask for; with few of them,
    they stay near the words. Probabilities are calibrated on images that were held out in turn.
    """
    from clipsieve.classifiers import save_classifier
    from clipsieve.cli.rating_options import load_ratings, show_join
    from clipsieve.engines import tune
    from clipsieve.store import Run

    _check_output(output)
    chosen = _method(method, optimizer=optimizer, strength=strength, seed=seed)
    opened = Run.open(run)
    ratings = load_ratings([opened], **rating_options)
    share = parse_share(hold_out)
    given: dict[str, Any] = {"prompts": prompts, "model": model, "n_images": n_images, "hold_out": share, "seed": seed}
    report = tune(opened, ratings, chosen, **given)
    show_join(report.join)
    for note in report.notes:
        render.print_warning(note)
    save_classifier(report.classifier, output)
    render.emit_json(_facts(report, output)) if as_json else _show(report, run, output)


def _check_output(output: Path) -> None:
    """Refuse what cannot be written before any work is done."""
    if output.suffix != ".safetensors":
        raise UsageError(f"`{output}` is no name for a classifier", expected="a name that ends in .safetensors")
    if output.is_dir() or not output.parent.is_dir():
        found = "a folder of that name" if output.is_dir() else f"no folder `{output.parent}`"
        raise UsageError(f"cannot write `{output}`", found=found, state="nothing was written")


def _method(name: str, *, optimizer: str, strength: float | None, seed: int) -> Any:  # noqa: ANN401 - a Method
    from clipsieve.engines import ContextMethod, build_method

    if optimizer == "sgd" and name != "soft-prompts":
        raise UsageError(f"`--optimizer` does not belong to `--method {name}`")
    if strength is not None and (name == "context" or optimizer == "sgd"):
        words = "--method context" if name == "context" else "--optimizer sgd"
        raise UsageError(f"`--strength` does not belong to `{words}`")
    if name == "context":
        return ContextMethod(seed=seed)
    if name == "linear-probe":
        return build_method(name, strength=strength, seed=seed)
    return build_method(name, optimizer=optimizer, strength=strength, seed=seed)


def parse_share(text: str) -> float:
    """Read `30%` or `0.3`; UsageError if it is not from 0 to below 1."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = float("nan")
    if not 0 <= value < 1:
        raise UsageError("cannot read the share to hold out", expected="such as `30%`, below 100 %", found=f"`{text}`")
    return value


def _facts(report: TuneReport, output: Path) -> dict[str, Any]:
    classifier = report.classifier
    return {
        "file": str(output),
        "method": classifier.method,
        "encoder": classifier.encoder_name,
        "n_images": report.n_images,
        "n_unwanted": report.n_unwanted,
        "n_held_out": report.n_held_out,
        "elapsed_s": round(report.elapsed_s, 3),
        "tuning": classifier.provenance.get("tuning"),
        "calibration": classifier.provenance.get("calibration"),
        "join": asdict(report.join),
        "notes": list(report.notes),
    }


def _show(report: TuneReport, run: RunPath, output: Path) -> None:
    import shlex

    tuned = f"{render.count(report.n_images, 'image')}, {report.n_unwanted:,} of them unwanted"
    render.print_text(f"tuned      {report.classifier.method} on {tuned}, in {render.seconds(report.elapsed_s)}")
    for line in _lines(report.classifier):
        render.print_text(line)
    if report.n_held_out:
        render.print_text(f"held out   {render.count(report.n_held_out, 'rated image')}, for `clipsieve threshold`")
    render.print_text(f"wrote      {output}")
    typed = shlex.quote(str(run))
    render.print_text(f"next       clipsieve score {typed} -c {shlex.quote(str(output))}")


def _lines(classifier: Classifier) -> list[str]:
    tuning, calibration = (classifier.provenance.get(name, {}) for name in ("tuning", "calibration"))
    lines = []
    if "strength" in tuning:
        how = {"cross-validation": "chosen by cross-validation", "the caller": "as told"}
        lines.append(f"strength   {tuning['strength']}, {how.get(tuning['strength_from'], 'for want of images')}")
    losses = calibration.get("held_out_loss", {})
    if classifier.calibration is not None:
        better = f"held-out loss {losses['none']:.3f} without, {losses[calibration['method']]:.3f} with it"
        lines.append(f"calibrated {calibration['method']}, {better}")
    elif losses:
        lines.append(f"calibrated no: held-out loss {losses['none']:.3f} without, {losses['platt']:.3f} with it")
    else:
        lines.append("calibrated no: a probability of 0.9 does not mean nine in ten")
    return lines
