"""`clipsieve scan`: from images to stored embeddings."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clipsieve.cli import engine_options, options, render
from clipsieve.cli.command import Command
from clipsieve.cli.dry_run import dry_run_options, show_dry_run
from clipsieve.cli.fidelity import fidelity_lines
from clipsieve.cli.progress import ProgressBar
from clipsieve.cli.scan_choices import ScanChoices
from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.engines import Int8Report, MaxFailures, Redo, ScanOptions, ScanReport
    from clipsieve.sources import Columns, Source
    from clipsieve.store import RunPath

__all__ = ["command"]


@click.command(
    cls=Command,
    name="scan",
    examples=[
        "clipsieve scan photos -o run",
        "clipsieve scan photos -o run --model models/my-clip --max-failures 1%",
        "clipsieve scan 's3://bucket/laion/{00000..00099}.tar' -o run",
        "clipsieve scan images.parquet -o run --image-column url --id-column key",
        "clipsieve scan laion -o run --model immich-app/ViT-B-32__openai",
        "clipsieve scan 's3://bucket/laion/{00000..09999}.tar' -o s3://bucket/run --engine ray",
        "clipsieve scan photos -o run --dry-run --price 1.20",
    ],
)
@click.argument("source", metavar="SOURCE")
@click.option(
    "-o",
    "--output",
    "run",
    type=options.RunLocation(),
    required=True,
    metavar="RUN",
    help="The run folder, or its URL.",
)
@options.source_kind
@options.columns
@options.model
@options.backend
@options.device
@options.precision
@options.exact
@options.batch_size
@options.workers
@options.part_size
@options.limits
@options.hash_list
@click.option(
    "--max-failures", metavar="N|P%", default="100%", show_default=True, help="Stop when more images failed than this."
)
@click.option("--stale-only", is_flag=True, help="Make anew the parts of another encoder or other options.")
@click.option("--overwrite", is_flag=True, help="Make everything in RUN anew.")
@click.option("--retry-failed", is_flag=True, help="Try again what could not be read before.")
@engine_options.engine
@engine_options.cluster
@dry_run_options
@options.quiet
@options.as_json
def command(source: str, run: RunPath, kind: str, *, quiet: bool, as_json: bool, **told: Any) -> None:  # noqa: ANN401
    """Scan a data set once into embeddings.

    SOURCE is a folder of images, nested or not; WebDataset tar files; a CSV or Parquet table of paths, URLs or images; a
    folder from `save_to_disk`; or embeddings as clip-retrieval writes them. Each may be a URL such as s3:// or https://, and
    tar files and tables a pattern with `{00..99}` or `*`. What lies there tells the kind.

    Every image ends as one row of RUN, with its embedding or with the reason why it has none. The same command again goes
    on where an interrupted one stopped. With --engine ray, the machines of a Ray cluster do the work; RUN is then best a URL.
    """
    from clipsieve.engines import MaxFailures, scan
    from clipsieve.sources import Columns, open_source, recognise

    choices = ScanChoices.of(told)
    choices.check()
    found = recognise(source) if kind == "auto" else kind
    named = Columns(**{name.removesuffix("_column"): told[name] for name in told if name.endswith("_column")})
    if found == "embeddings":
        _refuse_unused()
        allowed = MaxFailures.parse(choices.max_failures)
        adopted = _adopt(source, run, choices.model, named, choices.part_size, choices.redo, allowed, quiet=quiet)
        _show(adopted, run, "embeddings", as_json=as_json)
        return
    images = open_source(source, found, columns=named, max_bytes=choices.max_bytes)
    options, compared = choices.scan_options(), None
    if choices.dry_run:
        show_dry_run(images, run, choices, options, quiet=quiet, as_json=as_json)
        return
    if choices.precision == "int8":
        precision, compared = _prepare_int8(images, run, choices, options, quiet=quiet)
        choices = replace(choices, precision=precision)
    with choices.open() as (encoder, engine), ProgressBar(f"scanning {found}", quiet=quiet) as bar:
        report = scan(
            images,
            run,
            encoder,
            options=options,
            engine=engine,
            redo=choices.redo,
            retry_failed=choices.retry_failed,
            int8=compared,
            on_progress=bar.update,
        )
    _show(report, run, found, int8=compared, as_json=as_json)


def _prepare_int8(
    images: Source, run: RunPath, choices: ScanChoices, options: ScanOptions, *, quiet: bool
) -> tuple[str, Int8Report | None]:
    """Return the int8 form to take: the run's own if the run goes on in it, else one that is compared with fp32 first."""
    from clipsieve.engines import int8_of_run, prepare_int8

    begun = int8_of_run(run, choices.model) if choices.redo == "never" else None
    if begun is not None:
        return begun, None
    with ProgressBar("comparing int8 with fp32", quiet=quiet) as bar:
        report = prepare_int8(
            images,
            choices.model,
            workers=choices.workers,
            limits=options.limits,
            block_list=options.block_list,
            exact=options.exact,
            on_progress=bar.update,
        )
    for line in fidelity_lines(report):
        render.print_note(line)
    return report.precision, report


def _adopt(
    source: str,
    run: RunPath,
    model: str,
    columns: Columns,
    part_size: int | None,
    redo: Redo,
    max_failures: MaxFailures,
    *,
    quiet: bool,
) -> ScanReport:
    from clipsieve.engines import adopt_embeddings
    from clipsieve.engines.adopt import PART_SIZE

    if _is_default("model"):
        raise UsageError(
            "embeddings do not say which encoder made them",
            expected="its name or folder: `--model immich-app/ViT-B-32__openai`",
            hint="`clipsieve models list` shows the names that are known",
        )
    with ProgressBar("checking embeddings", quiet=quiet) as bar:
        return adopt_embeddings(
            source,
            run,
            model=model,
            columns=columns.named(),
            part_size=part_size or PART_SIZE,
            redo=redo,
            max_failures=max_failures,
            on_progress=bar.update,
        )


def _refuse_unused() -> None:
    """Refuse options that embeddings have no use for: a block list that is passed over would protect nobody."""
    unused = ["hash_list", "workers", "batch_size", "max_pixels", "max_bytes", "max_seconds", "retry_failed", "exact"]
    unused += ["backend", "device", "precision", "engine", "ray_address", "dry_run"]
    given = [name for name in unused if not _is_default(name)]
    if given:
        listed = ", ".join(f"`--{name.replace('_', '-')}`" for name in given)
        raise UsageError(f"embeddings that exist already take no {listed}", hint="no image is opened: leave it away")


def _is_default(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.DEFAULT


def _show(report: ScanReport, run: RunPath, kind: str, *, int8: Int8Report | None = None, as_json: bool) -> None:
    for warning in report.warnings:
        render.print_warning(warning)
    if as_json:
        render.emit_json(asdict(report) | {"int8": asdict(int8) if int8 else None})
        return
    done = "nothing new"
    if report.n_new:
        rate = render.rate(report.n_new, report.elapsed_s)
        reused = f" ({report.n_reused:,} known from before)" if report.n_reused else ""
        done = f"{report.n_new:,} new{reused} in {render.seconds(report.elapsed_s)}, {rate}"
    images = render.count(report.n_listed, "image")
    scanned = f"scanned {report.n_scanned:,} of {images} into {run}"
    ignored = f", {render.count(report.n_ignored, 'other file')} ignored" if report.n_ignored else ""
    render.print_text(f"read as {kind}{ignored}")
    render.print_text(f"{scanned}: {report.n_failed:,} failed, {done}")
    if kind != "embeddings" and _is_default("model"):
        render.print_text(
            "the encoder was `pictogram`, which knows emoji alone: for photographs, choose another --model"
        )
