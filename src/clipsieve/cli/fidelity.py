"""How an int8 encoder compares with fp32, in words and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsieve.cli import render

if TYPE_CHECKING:
    from clipsieve.engines import Fidelity, Int8Report

__all__ = ["fidelity_lines", "show_fidelity"]


def fidelity_lines(report: Int8Report) -> list[str]:
    """Return what a person should know before a scan in int8 goes on."""
    found = report.fidelity
    images = render.count(found.n_measured, "image")
    flips = f"{found.n_flipped:,} decided otherwise, {found.n_flipped_clear:,} of them clear cases"
    return [
        f"int8 on {images}: cosine to fp32 {found.cosine_mean:.4f} in the mean, {found.cosine_least:.4f} at least;",
        f"{flips}; {_times(found):.1f} times as fast",
        *_advice(found),
    ]


def show_fidelity(report: Int8Report) -> None:
    """Print all of it."""
    found = report.fidelity
    render.print_text(f"{'made' if report.is_new else 'found'} {report.precision}: {report.graph}")
    others = "" if report.is_apart else ", those for calibration among them"
    skipped = (
        f"; {render.count(report.n_skipped, 'image')} left out: unreadable, or blocked" if report.n_skipped else ""
    )
    render.print_text(f"measured on {render.count(found.n_measured, 'image')}{others}{skipped}")
    render.print_text()
    rows = [
        ("cosine to fp32, mean", f"{found.cosine_mean:.4f}"),
        ("cosine to fp32, 1st percentile", f"{found.cosine_1st:.4f}"),
        ("cosine to fp32, least", f"{found.cosine_least:.4f}"),
        ("decisions flipped", f"{found.n_flipped:,}"),
        ("of them clear ones", f"{found.n_flipped_clear:,}"),
        ("images close to the threshold", f"{found.n_close:,}"),
        ("fp32", render.rate(found.fp32_images_per_s, 1)),
        ("int8", render.rate(found.int8_images_per_s, 1)),
    ]
    render.print_table([("int8 against fp32", "left"), ("", "right")], rows)
    for line in _advice(found):
        render.print_note(line)


def _times(found: Fidelity) -> float:
    return found.int8_images_per_s / max(found.fp32_images_per_s, 1e-9)


def _advice(found: Fidelity) -> list[str]:
    if _times(found) > 1:
        return []
    return ["int8 is not faster than fp32 on this machine: stay with fp32, or try `--precision bf16`"]
