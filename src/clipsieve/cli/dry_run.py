"""`clipsieve scan --dry-run`: the plan of a scan, checked and measured, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clipsieve.cli import render
from clipsieve.cli.options import currency, money
from clipsieve.cli.progress import ProgressBar

if TYPE_CHECKING:
    from clipsieve.cli.scan_choices import ScanChoices
    from clipsieve.engines import ScanOptions
    from clipsieve.engines.dry_run import DryRun
    from clipsieve.engines.forecast import Forecast
    from clipsieve.engines.probe import Probe
    from clipsieve.sources import Source
    from clipsieve.store import RunPath

__all__ = ["dry_run_options", "lines", "show_dry_run"]

F = TypeVar("F", bound=Callable[..., Any])


def dry_run_options(command: F) -> F:
    """Add `--dry-run`, `--price` and `--currency`."""
    for option in (
        currency,
        click.option(
            "--price",
            type=float,
            metavar="MONEY",
            help="With --dry-run: of the whole machine or cluster for an hour.",
        ),
        click.option(
            "--dry-run",
            is_flag=True,
            help="Check everything, try 200 images, say what the scan would take; write nothing.",
        ),
    ):
        command = option(command)
    return command


def show_dry_run(
    images: Source, run: RunPath, choices: ScanChoices, options: ScanOptions, *, quiet: bool, as_json: bool
) -> None:
    """Make the dry run of a scan, and print what it says."""
    from clipsieve.engines.dry_run import dry_run

    with ProgressBar("trying images", quiet=quiet) as bar:
        found = dry_run(
            images,
            run,
            choices.open(),
            device="auto" if choices.cluster.engine == "ray" else choices.device,
            options=options,
            redo=choices.redo,
            retry_failed=choices.retry_failed,
            price=choices.price,
            on_progress=bar.update,
        )
    now = datetime.now().astimezone()
    ends = None if found.forecast is None else now + timedelta(seconds=found.forecast.elapsed_s)
    unit = money(choices.price, choices.currency)
    if as_json:
        facts = asdict(found) | {"ends": ends and ends.isoformat(timespec="seconds")}
        render.emit_json(facts | {"price": choices.price, "currency": unit})
        return
    for line in lines(found, ends, choices.price, unit):
        render.print_text(line)


def lines(found: DryRun, ends: datetime | None, price: float | None, currency: str | None) -> Iterator[str]:
    """Yield the answer line by line, for a terminal of 80 columns."""
    return render.labelled(_answers(found, ends, price, currency))


def _answers(
    found: DryRun, ends: datetime | None, price: float | None, currency: str | None
) -> Iterator[tuple[str, str]]:
    ignored = f", {render.count(found.n_ignored, 'other file')} ignored" if found.n_ignored else ""
    yield "source", f"{found.source_kind} {found.source_location}"
    yield "images", f"{found.n_images:,}, of these {found.n_done:,} done and {found.n_left:,} left{ignored}"
    yield "run", f"{found.run}: can be written"
    yield "parts", f"{found.n_parts:,} of {found.part_size:,} images at most; {found.n_parts_left:,} to be made"
    yield "encoder", f"{found.encoder}: loads and encodes"
    yield "engine", _engine(found)
    if found.probe is None or found.forecast is None or ends is None:
        yield "time", "none: everything is done"
    else:
        yield from _measured(found.probe, found.forecast)
        yield from _forecast(found.forecast, ends, price, currency, on_gpu=found.workplace.gpus > 0)
    yield "", "nothing was written"


def _engine(found: DryRun) -> str:
    place = found.workplace
    there = "this machine" if place.engine == "local" else f"Ray, {render.count(place.machines, 'machine')}"
    each = f"of {render.count(place.threads, 'thread')}"
    if place.gpus:
        each = "on a GPU each" if place.gpus_per_encoder == 1 else f"on {place.gpus_per_encoder:g} GPUs each"
    decoders = f"{render.count(place.decoders, 'decoder')} on {render.count(place.cores - place.gpus, 'core')}"
    return f"{there}: {render.count(place.encoders, 'encoder')} {each}; {decoders}"


def _measured(probe: Probe, forecast: Forecast) -> Iterator[tuple[str, str]]:
    each = f"{render.size(round(probe.image_bytes))} and {probe.megapixels:.2g} megapixels on average"
    yield "probe", f"{render.count(probe.n_images, 'image')} of {each}; {probe.n_failed:,} failed"
    times = f"{_short(probe.decode_s)} of a core to decode one, {_short(probe.encode_s)} to encode it"
    yield "", f"{times}; {render.rate(forecast.reading_images_per_s, 1)} read one after the other"


def _forecast(
    found: Forecast, ends: datetime, price: float | None, currency: str | None, *, on_gpu: bool
) -> Iterator[tuple[str, str]]:
    low, high = (render.size(round(each)) for each in (found.read_bytes_low, found.read_bytes_high))
    yield "to read", f"about {render.size(round(found.read_bytes))}, estimated from the probe ({low} to {high})"
    yield "to write", f"{render.size(round(found.run_bytes))}, {render.size(round(found.part_bytes))} a part"
    yield "rate", f"{render.rate(found.images_per_s, 1)}, {'the bound is' if on_gpu else 'most of it'} {found.bound}"
    if found.reading_images_per_s < found.images_per_s:
        yield "", "the source gave files more slowly than that; what reads ahead may make up for it"
    spread = f"{render.seconds(found.least_s)} to {render.seconds(found.most_s)}"
    yield "time", f"about {render.seconds(found.elapsed_s)} ({spread}), until {ends:%Y-%m-%d %H:%M} if begun now"
    if found.cost is not None and price is not None:
        low, high = (f"{price * each / 3600:,.2f}" for each in (found.least_s, found.most_s))
        yield "cost", f"about {found.cost:,.2f} {currency} ({low} to {high}), at {price:,g} {currency} an hour"
    expected = f"{found.n_failures_low:,} to {found.n_failures_high:,}"
    yield "failures", f"about {found.n_failures:,} to be expected ({expected}, with 95 % confidence)"


def _short(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else render.seconds(seconds)
