"""`clipsieve prevalence`: how much of a data set is unwanted, by people's verdicts on a random sample."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command

if TYPE_CHECKING:
    from clipsieve.engines.prevalence import PrevalenceReport
    from clipsieve.engines.prevalence_plan import PrevalencePlan
    from clipsieve.store import Run, RunPath

__all__ = ["command"]

DEFAULT_CONFIDENCE = 0.95


@click.command(
    cls=Command,
    name="prevalence",
    examples=[
        "clipsieve prevalence run --plan sample.csv --width 0.02",
        "clipsieve prevalence run --verdicts sample.csv",
        "clipsieve prevalence run --verdicts sample.csv --json > prevalence.json",
    ],
)
@options.run_argument
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="Draw a sample and write it to this CSV.")
@click.option("--verdicts", metavar="FILE", help="Estimate from this CSV, filled in, or from a ledger, a file or URL.")
@click.option(
    "--width",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="W",
    help="With --plan: how wide the interval may be, as a share of all images.  [default: 0.02]",
)
@click.option("-c", "--classifier", "name", metavar="NAME", help="With --plan: whose scores.  [default: the only ones]")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="P",
    default=DEFAULT_CONFIDENCE,
    show_default=True,
    help="How often such an interval holds the truth.",
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="With --plan: decides the sample.  [default: 0]")
@options.as_json
def command(
    run: RunPath,
    plan: Path | None,
    verdicts: str | None,
    width: float | None,
    name: str | None,
    confidence: float,
    seed: int | None,
    *,
    as_json: bool,
) -> None:
    """Estimate how much of RUN is unwanted, with an interval.

    With --plan, draws a random sample of all images, also of those that were not flagged, so that misses count. Write 1
    (unwanted) or 0 into its last column, then give the file to --verdicts.
    """
    if (plan is None) == (verdicts is None):
        raise click.UsageError("give exactly one of `--plan` and `--verdicts`")
    if verdicts is not None and (width, name, seed) != (None, None, None):
        raise click.UsageError("`--width`, `-c` and `--seed` belong to `--plan`")
    from clipsieve.engines.prevalence_plan import plan_prevalence, write_plan
    from clipsieve.store import Run

    opened = Run.open(run)
    if plan is not None:
        planned = plan_prevalence(opened, name, width=width or 0.02, confidence=confidence, seed=seed or 0)
        write_plan(planned, plan, run=opened)
        _show_plan(planned, run, plan, as_json=as_json)
    elif verdicts is not None:
        report = _estimate(opened, verdicts, confidence)
        for warning in report.warnings:
            render.print_warning(warning)
        render.emit_json(asdict(report)) if as_json else _show_report(report)


def _estimate(run: Run, verdicts: str, confidence: float) -> PrevalenceReport:
    from clipsieve.cli.verdict_places import load_sample
    from clipsieve.engines.prevalence import estimate_from_verdicts, estimate_prevalence

    sample = load_sample(run, verdicts)
    if sample is None:
        return estimate_prevalence(run, verdicts, confidence=confidence)
    name, judged = sample
    return estimate_from_verdicts(run, name, list(judged), confidence=confidence)


def _show_plan(plan: PrevalencePlan, run: RunPath, path: Path, *, as_json: bool) -> None:
    if as_json:
        facts = asdict(plan)
        render.emit_json({key: value for key, value in facts.items() if key != "images"} | {"path": str(path)})
        return
    columns = [
        ("stratum", "right"),
        ("probability", "left"),
        ("flagged", "left"),
        ("images", "right"),
        ("look at", "right"),
    ]
    rows = [
        (f"{s.number}", f"{s.lowest:.3f}-{s.highest:.3f}", _yes(s.flagged), f"{s.n_images:,}", f"{s.n_sampled:,}")
        for s in plan.strata
    ]
    render.print_table(columns, rows)
    render.print_text()
    n = len(plan.images)
    render.print_text(f"look at   {n:,} of {render.count(plan.n_images, 'image')}, in the order of the file")
    render.print_text("write     1 (unwanted) or 0 into its last column, `verdict`")
    if plan.n_failed:
        render.print_text(f"left out  {_failed(plan.n_failed)}")
    render.print_text(f"sample    {path}")
    option = "" if plan.confidence == DEFAULT_CONFIDENCE else f" --confidence {plan.confidence:g}"
    files = f"{shlex.quote(str(run))} --verdicts {shlex.quote(str(path))}"
    render.print_text(f"next      clipsieve prevalence {files}{option}")


def _show_report(report: PrevalenceReport) -> None:
    found, recall = report.prevalence, report.recall
    sure = f"{100 * found.confidence:g} % confidence"
    render.print_text(f"unwanted  {_share(found.share)} of {render.count(found.n_images, 'image')}")
    render.print_text(f"          between {_share(found.low)} and {_share(found.high)} ({sure})")
    between = f"between {found.n_unwanted_low:,} and {found.n_unwanted_high:,}"
    render.print_text(f"          {render.count(found.n_unwanted, 'image')}: {between}")
    of_these = "unknown" if recall.share is None else _share(recall.share)
    render.print_text(f"flagged   {of_these} of the unwanted: between {_share(recall.low)} and {_share(recall.high)}")
    waiting = f"; {report.n_open:,} have no verdict yet" if report.n_open else ""
    render.print_text(f"judged    {render.count(report.n_judged, 'image')}{waiting}")
    if report.n_failed:
        render.print_text(f"left out  {_failed(report.n_failed)}")
    render.print_text()
    _show_strata(report)


def _show_strata(report: PrevalenceReport) -> None:
    columns = [
        ("stratum", "right"),
        ("flagged", "left"),
        ("images", "right"),
        ("judged", "right"),
        ("unwanted", "right"),
        ("share", "right"),
        ("at least", "right"),
        ("at most", "right"),
    ]
    rows = [
        (
            *(f"{s.number}", _yes(s.flagged), f"{s.prevalence.n_images:,}", f"{s.n_judged:,}", f"{s.n_hits:,}"),
            *(_share(part) for part in (s.prevalence.share, s.prevalence.low, s.prevalence.high)),
        )
        for s in report.strata
    ]
    render.print_table(columns, rows)


def _failed(n: int) -> str:
    return f"{render.count(n, 'image')} that could not be read: nothing is said of them"


def _yes(value: bool) -> str:  # noqa: FBT001
    return "yes" if value else "no"


def _share(fraction: float) -> str:
    """Return a percentage with two digits that count: rare is not the same as none."""
    percentage = 100 * fraction
    if 0 < percentage < 1:
        return f"{percentage:.2g} %" if percentage >= 1e-4 else "< 0.0001 %"
    return f"{percentage:.1f} %"
