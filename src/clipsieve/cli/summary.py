"""`clipsieve summary`: what a run holds, in words."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.promise_words import calibration_words, promise_lines, threshold_words
from clipsieve.outputs import Summary, summarize

if TYPE_CHECKING:
    from clipsieve.store import RunPath

__all__ = ["command"]

FAILURES_SHOWN = 6


@click.command(
    cls=Command,
    name="summary",
    examples=["clipsieve summary run", "clipsieve summary run -c offensive --top 25", "clipsieve summary run --json"],
)
@options.run_argument
@options.scores_name
@click.option(
    "--top", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="How many classes to show."
)
@options.as_json
def command(run: RunPath, name: str | None, top: int, *, as_json: bool) -> None:
    """Sum up a run: scanned, failed, flagged.

    Classes are ordered by `at least`, the lower end of the 95 % interval of their flagged share, so that a class of
    three images does not top the list by luck.
    """
    from clipsieve.store import Run

    summary = summarize(Run.open(run), name)
    if as_json:
        promises = [promise.to_json() for promise in summary.promises]
        render.emit_json(asdict(summary) | {"failures": dict(summary.failures), "promises": promises})
        return
    for line in _facts(summary):
        render.print_text(line)
    if summary.classes and top:
        render.print_text()
        _show_classes(summary, top)
    render.print_text()
    for line in _next_steps(summary, run):
        render.print_text(line)


def _facts(summary: Summary) -> list[str]:
    speed = ""
    if summary.elapsed_s:
        speed = f" in {render.seconds(summary.elapsed_s)}, {render.rate(summary.n_encoded, summary.elapsed_s)}"
    lines = [
        f"source    {summary.source} ({summary.kind})",
        f"encoder   {summary.encoder}",
        f"scanned   {summary.n_scanned:,} of {render.count(summary.n_listed, 'image')}{speed}",
        f"failed    {summary.n_failed:,}{_reasons(summary)}",
    ]
    if summary.n_ignored:
        lines.append(f"ignored   {render.count(summary.n_ignored, 'other file')}")
    if summary.n_flagged is not None:
        lines += _decisions(summary, summary.n_flagged, summary.threshold or 0.0)
    return lines


def _decisions(summary: Summary, n_flagged: int, threshold: float) -> list[str]:
    def share(n: int) -> str:
        return f"{n:,} ({render.percent(n / max(summary.n_scanned, 1))})"

    rule = f"probability of unwanted >= {threshold_words(threshold)}"
    lines = [f"flagged   {share(n_flagged)} by `{summary.classifier}`: {rule}"]
    if summary.remove_threshold is not None and summary.n_remove is not None:
        at = threshold_words(summary.remove_threshold)
        lines.append(
            f"          review {share(n_flagged - summary.n_remove)}, remove {share(summary.n_remove)}: >= {at}"
        )
    lines.append(f"          probabilities are {calibration_words(summary.calibration)}")
    points = [promise.point for promise in summary.promises]
    promised = promise_lines(points, threshold, summary.remove_threshold)
    return lines + [f"{'' if i else 'promised':10}{line}" for i, line in enumerate(promised)]


def _reasons(summary: Summary) -> str:
    shown = ", ".join(f"{code} {n:,}" for code, n in summary.failures[:FAILURES_SHOWN])
    return f" ({shown}{', ...' if len(summary.failures) > FAILURES_SHOWN else ''})" if shown else ""


def _show_classes(summary: Summary, top: int) -> None:
    columns = [
        ("most flagged classes", "left"),
        ("flagged", "right"),
        ("of", "right"),
        ("share", "right"),
        ("at least", "right"),
    ]
    rows = [
        (c.label, f"{c.n_flagged:,}", f"{c.n_scored:,}", render.percent(c.flagged_share), render.percent(c.rank))
        for c in summary.classes[:top]
    ]
    render.print_table(columns, rows)
    if len(summary.classes) > top:
        render.print_text(f"and {len(summary.classes) - top:,} more with a flagged image")


def _next_steps(summary: Summary, run: RunPath) -> list[str]:
    lines = [f"results   {run}/images/*.parquet"]
    typed = shlex.quote(str(run))
    if summary.classifier is None:
        return [*lines, f"next      clipsieve score {typed} -c positive-negative"]
    other = "positive-negative" if summary.classifier == "offensive" else "offensive"
    return [
        f"{lines[0]}, {run}/scores/{summary.classifier}/*.parquet",
        f"next      ask in other words: clipsieve score {typed} -c {other}",
        "          ask in your own: clipsieve prompts show positive-negative > mine.toml",
        f"          report it: clipsieve report {typed} -c {summary.classifier}",
        "          a flag asks a person to look; an image without one may still offend",
    ]
